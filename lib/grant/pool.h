/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Settling of hugepage pools.
 *
 * A pool's size is one absolute number that several programs write. numastow never computes it from
 * its own earlier writes; it settles the pool, under one lock for each (node, size), from the
 * present state:
 *
 *     outstanding = pages promised to live records and not yet faulted in by them
 *     free < outstanding: the pool grows by the difference
 *     free > outstanding: it shrinks, by at most the pages that numastow has added
 *
 * Any program may settle a pool, any number of times; a hook can therefore be killed at any point.
 * The ledger has the number of added pages. The intention is written there before the kernel's
 * file, so that the write of a killed program is still counted. A page that a file in hugetlbfs
 * holds after the container has ended is not free: it stays counted as added, which is a debt, and
 * a later settling collects it.
 *
 * The kernel's reservations (resv_hugepages) belong to no node and no cpuset: pages that another
 * program has reserved with mmap(2) and not touched are not counted here. docs/hugepages.md has the
 * consequences.
 */

#include <stdint.h>

#include "base/err.h"
#include "base/root.h"
#include "ledger/ledger.h"

struct stow_pool_result {
	uint64_t wanted; /* pages by which the pool had to grow, 0 when it had enough */
	uint64_t got;	 /* pages that the kernel gave */
	uint64_t debt;	 /* added pages that no live record accounts for */
	uint64_t gone;	 /* added pages that the pool no longer has */
};

/*
 * Settle the pool for the record `key` (only records up to that key count, so that of two starting
 * containers the later one is refused), or for all records with key 0. -ENOSPC: the kernel gave
 * fewer pages than wanted, also after compaction; the caller undoes the record and settles again
 * with key 0.
 */
int stow_pool_settle(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		     int64_t key, struct stow_pool_result *ret, struct stow_err *err);

/* Take the pool's lock, which is held over reading, writing and reading back its size. Return a
 * descriptor to close. */
int stow_pool_lock(struct stow_root *root, int node, uint64_t size, struct stow_err *err);

/* Settle, for a record, the pools of its shares, or of its move's. */
int stow_pool_settle_shares(struct stow_root *root, struct stow_ledger *ledger,
			    const struct stow_record *record, const struct stow_share *shares,
			    size_t n_shares, struct stow_err *err);

/* Settle every pool of the ledger; debts and their collection go into the history. Continue after a
 * failure and return the first. */
int stow_pool_settle_all(struct stow_root *root, struct stow_ledger *ledger, struct stow_err *err);
