// SPDX-License-Identifier: Apache-2.0
#include "machine.h"

#include <stdlib.h>
#include <string.h>

static void add_cpus(struct stow_topology *t, int nodes, int cores, int threads, int per_cache)
{
	size_t n = 0;
	int caches = per_cache ? (cores + per_cache - 1) / per_cache : 1;

	for (int thread = 0; thread < threads; thread++)
		for (int node = 0; node < nodes; node++)
			for (int core = 0; core < cores; core++) {
				struct stow_cpu *cpu = &t->cpus[n];

				cpu->id = (int)n++;
				cpu->node = node;
				cpu->core = node * cores + core;
				cpu->llc = node * caches + (per_cache ? core / per_cache : 0);
				cpu->package = node;
				stow_idset_add(&t->online, cpu->id);
				stow_idset_add(&t->nodes[node].cpus, cpu->id);
			}
	t->n_cpus = n;
}

struct stow_topology *machine_new(int nodes, int cores, int threads, int per_cache, uint64_t memory)
{
	struct stow_topology *t = calloc(1, sizeof(*t));

	t->n_nodes = (size_t)nodes;
	t->nodes = calloc((size_t)nodes, sizeof(*t->nodes));
	t->distance = calloc((size_t)(nodes * nodes), sizeof(*t->distance));
	t->cpus = calloc((size_t)(nodes * cores * threads) + 1, sizeof(*t->cpus));
	t->numa = nodes > 1;
	for (int i = 0; i < nodes; i++) {
		struct stow_node *node = &t->nodes[i];

		node->id = i;
		node->mem_total = node->mem_free = node->mem_available = memory;
		node->n_pools = 2;
		node->pools[0].size = UINT64_C(2) << 20;
		node->pools[1].size = UINT64_C(1) << 30;
		for (int j = 0; j < nodes; j++)
			t->distance[i * nodes + j] = i == j ? 10 : 21;
	}
	add_cpus(t, nodes, cores, threads, per_cache);
	return t;
}

void machine_without_cpus(struct stow_topology *machine, int node)
{
	size_t n = 0;

	stow_idset_minus(&machine->online, &machine->nodes[node].cpus);
	memset(&machine->nodes[node].cpus, 0, sizeof(machine->nodes[node].cpus));
	for (size_t i = 0; i < machine->n_cpus; i++)
		if (machine->cpus[i].node != node)
			machine->cpus[n++] = machine->cpus[i];
	machine->n_cpus = n;
}

void machine_without_memory(struct stow_topology *machine, int node)
{
	struct stow_node *n = &machine->nodes[node];

	n->mem_total = n->mem_free = n->mem_available = 0;
	n->n_pools = 0;
}

void machine_distance(struct stow_topology *machine, int a, int b, int distance)
{
	machine->distance[(size_t)a * machine->n_nodes + (size_t)b] = distance;
	machine->distance[(size_t)b * machine->n_nodes + (size_t)a] = distance;
}
