// SPDX-License-Identifier: Apache-2.0
/* Finding a node, a distance and what was assumed in a topology. */
#include "base/cleanup.h"
#include "node/topology_internal.h"

static int node_index(const struct stow_topology *t, int id)
{
	size_t lo = 0, hi = t->n_nodes;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (t->nodes[mid].id == id)
			return (int)mid;
		if (t->nodes[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return -1;
}

const struct stow_node *stow_topology_node(const struct stow_topology *topology, int id)
{
	int at = node_index(topology, id);

	return at < 0 ? NULL : &topology->nodes[at];
}

static int by_cpu_id(const void *id, const void *cpu)
{
	return *(const int *)id - ((const struct stow_cpu *)cpu)->id;
}

const struct stow_cpu *stow_topology_cpu(const struct stow_topology *topology, int id)
{
	return topology->n_cpus ? bsearch(&id, topology->cpus, topology->n_cpus,
					  sizeof(*topology->cpus), by_cpu_id)
				: NULL;
}

int stow_topology_distance(const struct stow_topology *topology, int from, int to)
{
	int i = node_index(topology, from), j = node_index(topology, to);

	if (i < 0 || j < 0)
		return -1;
	return topology->distance[(size_t)i * topology->n_nodes + (size_t)j];
}

void stow_topology_assume(struct stow_topology *topology, int node, unsigned int what)
{
	int at = node_index(topology, node);

	if (at >= 0)
		topology->nodes[at].assumed |= what;
	topology->assumed |= what;
}

const char *stow_topology_assumed_name(unsigned int what)
{
	static const struct {
		unsigned int what;
		const char *name;
	} names[] = {
		{ STOW_ASSUMED_CPUS, "cpus" },		 { STOW_ASSUMED_CORES, "cores" },
		{ STOW_ASSUMED_CACHES, "caches" },	 { STOW_ASSUMED_PACKAGES, "packages" },
		{ STOW_ASSUMED_MEMORY, "memory" },	 { STOW_ASSUMED_AVAILABLE, "available" },
		{ STOW_ASSUMED_DISTANCES, "distances" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(names); i++)
		if (names[i].what == what)
			return names[i].name;
	return NULL;
}
