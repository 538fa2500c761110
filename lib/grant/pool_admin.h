/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An administrator's changes of hugepage pools: under the pools' locks, and never at the cost of
 * pages that the ledger has promised.
 *
 * Of a pool in which nothing is promised, every number of pages can be set, and the kernel makes
 * pages that are in use surplus. Otherwise all pages in use stay, and those that are promised and
 * not yet faulted in (by containers, claims and reservations).
 *
 * A number that was set is the administrator's: numastow does not take back what it had added to
 * this pool before, only what it adds later.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"
#include "ledger/ledger.h"

struct stow_pool_change {
	int node;
	uint64_t size;		/* bytes per page */
	uint64_t wanted;	/* persistent pages; of a split: pages to split */
	uint64_t before, after; /* persistent pages; after a split: those that are left */
	uint64_t surplus;	/* pages in use beyond the pool, freed with their last user */
	uint64_t split_size;	/* of a split: bytes of the new pages */
	uint64_t got;		/* of a split: how many new pages the node has */
};

/* Return whether the kernel did all of it. */
static inline bool stow_pool_change_is_whole(const struct stow_pool_change *change)
{
	return change->split_size ? change->before - change->after == change->wanted
				  : change->after == change->wanted;
}

/* Check whether a pool can have `pages`, without changing anything. -ENOENT: the node has no pool
 * of that size; -EBUSY: pages are promised, the message names to whom; or a drain is working on the
 * node. */
int stow_pool_may_set(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		      uint64_t pages, struct stow_err *err);
/* Set a pool, with `compact` after compacting the node. The kernel gives what it can: `ret` has
 * what was read back. Errors as above. */
int stow_pool_set(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		  uint64_t pages, bool compact, struct stow_pool_change *ret, struct stow_err *err);
/* Release the pages that are neither in use nor promised. */
int stow_pool_shrink(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		     struct stow_pool_change *ret, struct stow_err *err);

/* The same for splitting `pages` free pages into the machine's next smaller size. -EBUSY: so many
 * are not free, or promised. -EOPNOTSUPP: the kernel cannot split pages of this size. */
int stow_pool_may_split(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
			uint64_t pages, struct stow_err *err);
int stow_pool_split(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		    uint64_t pages, struct stow_pool_change *ret, struct stow_err *err);
