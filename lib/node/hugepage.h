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
#include "base/root.h"

#define STOW_POOLS_MAX 16 /* page sizes that one machine has; arm64 has four, powerpc a few more */

/* A node's pool of hugepages of one size (Documentation/admin-guide/mm/hugetlbpage.rst). */
struct stow_pool {
	uint64_t size;	  /* bytes a page */
	uint64_t total;	  /* pages, surplus included */
	uint64_t free;	  /* pages that nobody has faulted in */
	uint64_t surplus; /* pages beyond the persistent pool; they go when they are freed */
};

/* The page sizes that the machine has pools for, in bytes, ascending; none without hugetlbfs.
 * Returns how many. */
int stow_pool_sizes(struct stow_root *root, uint64_t sizes[STOW_POOLS_MAX], struct stow_err *err);

/* The pool of one size. -ENOENT: the node, or its pool of that size, does not exist (a node
 * without memory may have none). */
int stow_pool_read(struct stow_root *root, int node, uint64_t size, struct stow_pool *ret,
		   struct stow_err *err);

/*
 * Asks for `persistent_pages` pages in the pool, surplus not counted: one write to nr_hugepages,
 * with all signals blocked, since a pending signal cuts the kernel's allocation loop short, with
 * success. The kernel gives what it can and reports success: read back. The caller holds the lock
 * for (node, size): the number is absolute and others write it too.
 */
int stow_pool_write(struct stow_root *root, int node, uint64_t size, uint64_t persistent_pages,
		    struct stow_err *err);
