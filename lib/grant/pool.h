/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Hugepage pools, settled.
 *
 * A pool's size is one absolute number that several programs write. numastow never computes it from
 * what it once did; it settles it, under one lock for each (node, size), from what is true now:
 *
 *     outstanding = pages promised to live records and not yet faulted in by them
 *     free < outstanding: the pool grows by the difference
 *     free > outstanding: it shrinks, but by no more than numastow has put in
 *
 * Any program may settle a pool, twice, or late; therefore a hook can be killed anywhere. What was
 * put in is in the ledger. The intention is written there before the kernel's file is, so that a
 * write whose author died is still counted. A page that a file in hugetlbfs holds after the
 * container's end is not free: it stays counted as put in, which is a debt, and a later settling
 * collects it.
 *
 * The kernel's reservations (resv_hugepages) know no node and no cpuset: what mmap(2) of another
 * program reserves and has not touched is not seen here. docs/hugepages.md says what follows.
 */

#include <stdint.h>

#include "base/err.h"
#include "base/root.h"
#include "ledger/ledger.h"

struct stow_pool_result {
	uint64_t wanted; /* pages by which the pool had to grow, 0 when it had enough */
	uint64_t got;	 /* pages that the kernel gave */
	uint64_t debt;	 /* pages put in that no live record accounts for */
};

/*
 * Settles the pool for the record `key` (only records up to it count, so that of two newcomers the
 * later one is refused), or for all records with key 0. -ENOSPC: the kernel gave less than wanted,
 * also after compaction; the caller undoes the record and settles again with key 0.
 */
int stow_pool_settle(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		     int64_t key, struct stow_pool_result *ret, struct stow_err *err);

/* Settles every pool that the ledger knows; debts and their collection go into the history.
 * Returns the number of pages taken out, or the first error, after having tried all. */
int64_t stow_pool_settle_all(struct stow_root *root, struct stow_ledger *ledger,
			     struct stow_err *err);
