// SPDX-License-Identifier: Apache-2.0
/*
 * Measures how long a plan takes on machines with an increasing number of nodes, as the median of
 * several.
 *
 * Half of each node is in use, each time differently, so that no plan is obvious. Prints one line
 * for each machine and request: nodes, request, median in ns, nodes of the plan.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/idlist.h"
#include "place/plan.h"
#include "tests/unit/machine.h"

#define RUNS 21

static struct stow_usage *half_taken(int nodes)
{
	struct stow_usage *usage = calloc(1, sizeof(*usage));

	if (!usage || !(usage->nodes = calloc((size_t)nodes, sizeof(*usage->nodes))))
		exit(1);
	usage->n_nodes = (size_t)nodes;
	for (int i = 0; i < nodes; i++) {
		usage->nodes[i].id = i;
		usage->nodes[i].shared_cpus = (uint32_t)(2 + i * 7 % 4);
		usage->nodes[i].memory = (uint64_t)(1 + i * 5 % 8) << 30;
		usage->nodes[i].memory_outstanding = usage->nodes[i].memory;
	}
	return usage;
}

static void measure(const struct stow_topology *machine, const struct stow_usage *usage, int nodes,
		    const char *name, const struct stow_request *request)
{
	uint64_t ns[RUNS];
	size_t used = 0;

	for (int i = 0; i < RUNS; i++) {
		_cleanup_(stow_capacity_free_ptr) struct stow_capacity *capacity = NULL;
		_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
		_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
		struct stow_err err = { 0 };
		uint64_t start = stow_clock_monotonic();

		if (stow_capacity_build(machine, NULL, usage, NULL, NULL, &capacity, &err) < 0)
			exit(1);
		(void)stow_plan_make(capacity, request, -1, &plan, &refusal, &err);
		ns[i] = stow_clock_monotonic() - start;
		used = plan ? stow_idset_count(&plan->nodes) : 0;
	}
	stow_idlist_sort(ns, RUNS);
	printf("%d\t%s\t%llu\t%zu\n", nodes, name, (unsigned long long)ns[RUNS / 2], used);
	fflush(stdout);
}

int main(void)
{
	static const int sizes[] = { 2, 8, 64, 128, 256, 512, 1024 };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(sizes); i++) {
		int nodes = sizes[i], per_node = nodes <= 512 ? 4 : 2;
		struct stow_topology *machine =
			machine_new(nodes, per_node, 2, 0, UINT64_C(16) << 30);
		struct stow_usage *usage = half_taken(nodes);
		struct stow_request request = { .nodes_auto = true,
						.cpus = 2,
						.memory = UINT64_C(1) << 30 };

		for (int a = 0; a < nodes; a++) /* a ring */
			for (int b = 0; b < nodes; b++)
				machine->distance[a * nodes + b] =
					10 + 2 * (abs(a - b) < nodes - abs(a - b)
							  ? abs(a - b)
							  : nodes - abs(a - b));

		measure(machine, usage, nodes, "one node", &request);
		request.cpu_mode = STOW_CPU_EXCLUSIVE;
		measure(machine, usage, nodes, "one node, exclusive", &request);
		request.cpu_mode = STOW_CPU_SHARED;
		request.policy = STOW_POLICY_BEST_EFFORT;
		request.cpus = 8;
		request.memory = UINT64_C(24) << 30;
		measure(machine, usage, nodes, "two nodes or few", &request);
		request.cpus = (uint32_t)nodes;
		request.memory = (uint64_t)nodes << 30;
		measure(machine, usage, nodes, "as many as it takes", &request);
		request.policy = STOW_POLICY_SPREAD;
		measure(machine, usage, nodes, "spread", &request);
		request.policy = STOW_POLICY_SINGLE_NUMA_NODE;
		request.cpus = 1000;
		measure(machine, usage, nodes, "refused", &request);
		stow_topology_free(machine);
		free(usage->nodes);
		free(usage);
	}
	return 0;
}
