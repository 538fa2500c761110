/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The pages of a memory block: their kinds, and the cgroups that own them.
 *
 * Read in bulk from /proc/kpageflags and kpagecgroup (the inode of a page's memory cgroup), see
 * Documentation/admin-guide/mm/pagemap.rst. kpagecount is not needed: the flags show whether a page
 * is mapped. (It counts mappings, not references, so it does not show a pin.) Only root of the
 * machine may read these files; a kernel in lockdown, and most containers, do not have them.
 *
 * What the kernel's files do not show, and how it is inferred:
 *   transparent hugepages    only the head has flags that count, and a cgroup: its tails get these
 *   hugetlb pages            no cgroup; free when no process maps it and its head has no references.
 *                            A head that is neither mapped nor in use by a file looks like a free
 *                            one, so that "free" is at most what the pool has
 *   pages without a flag     the kernel's own (or a driver's): they cannot be moved. Pages on the
 *                            CPUs' lists of free pages look the same, and count as the kernel's: at
 *                            most the sum of "count:" in /proc/zoneinfo, some MiB a CPU and zone.
 *                            Other free pages are marked, the head of each chunk (KPF_BUDDY)
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"
#include "node/hugepage.h"
#include "node/memblock.h"
#include "pages/kind.h"

/* What one memory cgroup has in one block. */
struct stow_owner {
	uint64_t inode; /* of the memory cgroup's directory; 0: no owner */
	uint64_t pages[STOW_PAGE_KINDS];
};

struct stow_block_use {
	uint64_t id;
	uint64_t pages[STOW_PAGE_KINDS];
	uint64_t unevictable; /* of all pages: mlocked, or otherwise off the LRU for good */
	uint64_t mapped;      /* of all pages: mapped by a process */
	/* Hugepages by size, counted by their heads in this block. */
	struct {
		uint64_t size; /* bytes */
		uint64_t pages, used;
	} pools[STOW_POOLS_MAX];
	size_t n_pools;
	struct stow_owner *owners; /* by descending number of pages; inode 0 is one of them */
	size_t n_owners;
};

struct stow_use {
	uint64_t page_size;
	struct stow_block_use *blocks; /* in the order asked for */
	size_t n_blocks;
	bool owners_known; /* /proc/kpagecgroup exists */
};

/* Scan `n` blocks of `blocks` by their ids. Zone Movable (where `blocks` was read with its zones)
 * has no pages of the kernel's own: pages without a flag are free there. An offline block is all
 * STOW_PAGE_OFFLINE and is not read. -EOPNOTSUPP: there is no /proc/kpageflags (the message says
 * what that may mean); -EPERM. */
int stow_use_read(struct stow_root *root, const struct stow_memblocks *blocks, const uint64_t *ids,
		  size_t n, struct stow_use *ret, struct stow_err *err);
void stow_use_done(struct stow_use *use);

/* Sum an owner's pages that can be moved. */
uint64_t stow_owner_moving(const struct stow_owner *owner);
/* Find the paths of the owners' cgroups, each of which may be NULL. -ENOMEM. */
int stow_owner_paths(struct stow_root *root, const struct stow_block_use *use, char ***ret_paths);
void stow_owner_paths_free(char **paths, size_t n);

/* Sum a block's pages: with `moves`, of the kinds that can and must be moved (free pages are not
 * counted); without, of the kinds that cannot. */
uint64_t stow_block_use_sum(const struct stow_block_use *use, bool moves);

/*
 * Count pages, without reading any file (public for tests and fuzzing). `n` pages have these flags,
 * and map counts and cgroups (each may be NULL). `carry` has the page before the first, whose tails
 * may continue here (zero: none); it is updated for the next call. Add to `use`, whose owners are
 * in no order. The size of a hugepage is known at its end; call with n = 0 to end the last one.
 */
struct stow_use_carry {
	uint64_t flags, cgroup;
	bool mapped;
	uint64_t open; /* pages so far of a hugepage that is being counted; 0: none */
};
int stow_use_count(struct stow_block_use *use, struct stow_use_carry *carry, const uint64_t *flags,
		   const uint64_t *counts, const uint64_t *cgroups, size_t n, uint64_t page_size,
		   struct stow_err *err);
