// SPDX-License-Identifier: Apache-2.0
/* What both formats of `numastow topology` need. */
#include "cli/topology_view.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

void topology_given(const struct stow_usage *usage, const struct stow_node *node,
		    struct topology_given *ret)
{
	struct topology_given given = { .exclusive = usage->exclusive };

	stow_idset_and(&given.exclusive, &node->cpus);
	given.fenced = stow_idset_has(&usage->fenced, node->id);
	for (size_t i = 0; i < usage->n_nodes; i++) {
		if (usage->nodes[i].id != node->id)
			continue;
		given.shared_cpus = usage->nodes[i].shared_cpus;
		given.memory = usage->nodes[i].memory;
		given.pools = &usage->nodes[i];
	}
	*ret = given;
}

static int level_of(const struct stow_cpu *cpu, enum topology_level level)
{
	return level == TOPOLOGY_CORE ? cpu->core : level == TOPOLOGY_LLC ? cpu->llc : cpu->package;
}

int topology_groups(const struct stow_topology *topology, const struct stow_idset *cpus,
		    enum topology_level level, struct stow_idset **ret)
{
	_cleanup_free_ int *slot = NULL; /* the group of each id, from 1; 0: none yet */
	struct stow_idset *groups;
	int n = 0;

	slot = calloc(topology->n_cpus + 1, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	STOW_IDSET_FOR(id, cpus) {
		const struct stow_cpu *cpu = stow_topology_cpu(topology, id);

		if (cpu && !slot[level_of(cpu, level)])
			slot[level_of(cpu, level)] = ++n;
	}
	groups = calloc((size_t)n + 1, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	STOW_IDSET_FOR(id, cpus) {
		const struct stow_cpu *cpu = stow_topology_cpu(topology, id);

		if (cpu)
			stow_idset_add(&groups[slot[level_of(cpu, level)] - 1], id);
	}
	*ret = groups;
	return n;
}

bool topology_wants(const struct topology_view *view, int node)
{
	return !view->wanted || stow_idset_has(view->wanted, node);
}
