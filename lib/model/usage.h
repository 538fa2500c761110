/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What has been given away on each node. Filled by the ledger, read by the planner.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/idset.h"
#include "node/hugepage.h"

struct stow_node_usage {
	int id;
	uint32_t shared_cpus; /* CPUs promised to containers in cpu-mode shared */
	uint64_t memory;      /* bytes promised */
	/* Bytes promised but not yet used, when somebody has measured it; else equal to `memory`:
	 * the worst case. */
	uint64_t memory_outstanding;
	struct {
		uint64_t size;	      /* bytes a page */
		uint64_t promised;    /* pages */
		uint64_t outstanding; /* pages promised and not yet faulted in; worst case: all */
	} pools[STOW_POOLS_MAX];
	size_t n_pools;
};

/* What is outstanding of promises to all, once one container has used `used` of the `promised` to
 * it: what it uses beyond its promise was promised to no container. */
static inline uint64_t stow_usage_outstanding(uint64_t outstanding, uint64_t used,
					      uint64_t promised)
{
	used = used < promised ? used : promised;
	return outstanding > used ? outstanding - used : 0;
}

/* Takes what a container has used of its share off what is outstanding: bytes, and pages. */
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
	struct stow_idset exclusive;   /* CPUs that belong to one container each */
	struct stow_idset pinned;      /* CPUs that may not become exclusive: a container without
					* annotations was started on a CPU set of its own */
	struct stow_idset fenced;      /* nodes that get nothing new */
	struct stow_node_usage *nodes; /* in any order; a node without usage may be missing */
	size_t n_nodes;
};
