/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who is in a memory block: what kinds of pages, and whose.
 *
 * Read in bulk from /proc/kpageflags and kpagecgroup (the inode of a page's memory cgroup), see
 * Documentation/admin-guide/mm/pagemap.rst. kpagecount is left alone: whether a page is mapped at
 * all is among its flags. (It has the count of mappings, not of references, so that a pin is not
 * seen.) Root of the machine reads them; a kernel in lockdown, and most containers, have none.
 *
 * What the kernel's files do not say, and how it is guessed:
 *   a transparent hugepage   only its head has flags that count, and a cgroup: its tails get theirs
 *   hugetlb pages            no cgroup; free when nobody maps it and its head has no references: a
 *                            head that is neither mapped nor in use by a file cannot be told from a
 *                            free one, so that "free" is what the pool says at most
 *   pages without a flag     the kernel's own (or a driver's): nobody can move them. Pages on the
 *                            CPUs' lists of free pages look the same, and count as the kernel's: at
 *                            most the sum of "count:" in /proc/zoneinfo, some MiB a CPU and zone.
 *                            The other free pages are told, each of a chunk (KPF_BUDDY)
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
	uint64_t inode; /* of the memory cgroup's directory; 0: nobody's */
	uint64_t pages[STOW_PAGE_KINDS];
};

struct stow_block_use {
	uint64_t id;
	uint64_t pages[STOW_PAGE_KINDS];
	uint64_t unevictable; /* of them: mlocked, or otherwise off the LRU for good */
	uint64_t mapped;      /* of them: mapped by somebody */
	/* Heads of hugepages by size; a head whose page begins in another block is not counted. */
	struct {
		uint64_t size; /* bytes */
		uint64_t pages, used;
	} pools[STOW_POOLS_MAX];
	size_t n_pools;
	struct stow_owner *owners; /* by descending number of pages; nobody's is among them */
	size_t n_owners;
};

struct stow_use {
	uint64_t page_size;
	struct stow_block_use *blocks; /* in the order asked for */
	size_t n_blocks;
	bool owners_known; /* kpagecgroup is there */
};

/* Scans `n` blocks of `blocks` by their ids. In zone Movable (where `blocks` was read with its
 * zones) there are no pages of the kernel's own: those without a flag are free. An offline block is
 * all STOW_PAGE_OFFLINE and is not read. -EOPNOTSUPP: there is no /proc/kpageflags (the message
 * says what that may mean); -EPERM. */
int stow_use_read(struct stow_root *root, const struct stow_memblocks *blocks, const uint64_t *ids,
		  size_t n, struct stow_use *ret, struct stow_err *err);
void stow_use_done(struct stow_use *use);

/* The sum of a block's pages of the kinds that can't (`moves` false) or can and must be moved
 * (true: free ones are not counted). */
uint64_t stow_block_use_sum(const struct stow_block_use *use, bool moves);

/*
 * The pure part, for tests and fuzzing: what `n` pages are, whose flags (and map counts, cgroups,
 * each may be NULL) are given. `before` is the flags and cgroup of the page before the first, whose
 * tails may go on here (zero: none); it is left for the next call. Adds to `use`, whose owners are
 * in no order. The size of a hugepage is known when it is over: with n = 0 the last one ends.
 */
struct stow_use_carry {
	uint64_t flags, cgroup;
	bool mapped;
	uint64_t open; /* pages so far of a hugepage that is to be counted; 0: none */
};
int stow_use_count(struct stow_block_use *use, struct stow_use_carry *carry, const uint64_t *flags,
		   const uint64_t *counts, const uint64_t *cgroups, size_t n, uint64_t page_size,
		   struct stow_err *err);

static inline void stow_use_done_ptr(struct stow_use *use)
{
	stow_use_done(use);
}
