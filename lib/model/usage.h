/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What has been promised on each node. Filled by the ledger, read by the planner.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/idset.h"
#include "base/math.h"
#include "node/hugepage.h"

struct stow_node_usage {
	int id;
	uint32_t shared_cpus; /* CPUs promised to containers in cpu-mode shared */
	uint64_t memory;      /* bytes promised */
	/* Bytes promised but not yet used, if measured; otherwise equal to `memory`, the worst
	 * case. */
	uint64_t memory_outstanding;
	struct {
		uint64_t size;	      /* bytes per page */
		uint64_t promised;    /* pages */
		uint64_t outstanding; /* pages promised and not yet faulted in; worst case: all */
	} pools[STOW_POOLS_MAX];
	size_t n_pools;
};

/* Return what is outstanding of the promises to all containers, after one of them has used `used`
 * of the `promised` to it. Use beyond a container's promise does not count. */
static inline uint64_t stow_usage_outstanding(uint64_t outstanding, uint64_t used,
					      uint64_t promised)
{
	used = STOW_MIN(used, promised);
	return stow_saturating_sub(outstanding, used);
}

/* Subtract what a container has used of its share from what is outstanding: bytes, and pages. */
static inline void stow_usage_note_memory(struct stow_node_usage *node, uint64_t used,
					  uint64_t promised)
{
	node->memory_outstanding = stow_usage_outstanding(node->memory_outstanding, used, promised);
}

static inline void stow_usage_note_pages(struct stow_node_usage *node, uint64_t size, uint64_t used,
					 uint64_t promised)
{
	for (size_t i = 0; i < node->n_pools; i++)
		if (node->pools[i].size == size)
			node->pools[i].outstanding =
				stow_usage_outstanding(node->pools[i].outstanding, used, promised);
}

struct stow_usage {
	struct stow_idset exclusive;   /* CPUs of exclusive containers */
	struct stow_idset pinned;      /* CPUs that must not become exclusive: a container without
					  annotations was started on a CPU set of its own */
	struct stow_idset fenced;      /* nodes on which nothing new is placed */
	struct stow_node_usage *nodes; /* in any order; a node without usage may be missing */
	size_t n_nodes;
};
