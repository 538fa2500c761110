/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A node's pools of hugepages (Documentation/admin-guide/mm/hugetlbpage.rst).
 *
 * On a kernel without NUMA, node 0 stands for the machine and its pools are those of
 * /sys/kernel/mm/hugepages.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/math.h"
#include "base/root.h"

#define STOW_POOLS_MAX 16 /* page sizes of one machine; arm64 has four, powerpc a few more */

/* A node's pool of hugepages of one size. */
struct stow_pool {
	uint64_t size;	  /* bytes per page */
	uint64_t total;	  /* pages, surplus included */
	uint64_t free;	  /* pages that no process has faulted in */
	uint64_t surplus; /* pages beyond the persistent pool; removed when they are freed */
};

/* Return the number of pages without surplus: what nr_hugepages sets. */
static inline uint64_t stow_pool_persistent(const struct stow_pool *pool)
{
	return stow_saturating_sub(pool->total, pool->surplus);
}

/* List the machine's page sizes in bytes, ascending; none without hugetlbfs. Return how many. */
int stow_pool_sizes(struct stow_root *root, uint64_t sizes[STOW_POOLS_MAX], struct stow_err *err);

/* Read the size in bytes of the pages that MAP_HUGETLB gives without a size ("Hugepagesize" in
 * /proc/meminfo). -ENOENT: the kernel has no hugepages. */
int stow_pool_default_size(struct stow_root *root, uint64_t *ret, struct stow_err *err);

/* Read the pool of one size. -ENOENT: the node, or its pool of that size, does not exist (a node
 * without memory may have none). */
int stow_pool_read(struct stow_root *root, int node, uint64_t size, struct stow_pool *ret,
		   struct stow_err *err);

/*
 * Set the number of persistent pages of a pool, surplus not counted: one write to nr_hugepages. All
 * signals are blocked, since a pending signal ends the kernel's allocation loop early, with
 * success. The kernel gives what it can and reports success: read the pool back. The caller holds
 * the lock for (node, size), because the number is absolute and other programs write it, too.
 */
int stow_pool_write(struct stow_root *root, int node, uint64_t size, uint64_t persistent_pages,
		    struct stow_err *err);
