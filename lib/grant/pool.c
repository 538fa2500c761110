// SPDX-License-Identifier: Apache-2.0
#include "grant/pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "cgroup/cgroup.h"
#include "cgroup/limits.h"
#include "cgroup/numa_own.h"
#include "grant/claim_used.h"
#include "grant/pool_internal.h"
#include "ledger/drains.h"
#include "node/hugepage.h"
#include "node/reclaim.h"

/* Account for a write, by whichever program: add how far the pool moved from `before` towards
 * `target`. Any change beyond the target was made by another program. */
static void account(struct stow_ledger_pool *row, uint64_t now)
{
	if (row->target > row->before) {
		uint64_t top = STOW_MIN(now, row->target);

		if (top > row->before)
			row->added += top - row->before;
	} else {
		uint64_t bottom = STOW_MAX(now, row->target);
		uint64_t removed = stow_saturating_sub(row->before, bottom);

		row->added -= STOW_MIN(removed, row->added);
	}
	row->writing = false;
}

/* Change the pool's size: intention, write, reading back, account. If the program is killed after
 * any of these, the next settling sees `writing` and does the rest. */
static int resize(struct stow_settling *s, uint64_t target, struct stow_err *err)
{
	struct stow_first first = { .err = err };
	int r;

	s->row.writing = true;
	s->row.before = stow_pool_persistent(&s->kernel);
	s->row.target = target;
	r = stow_ledger_pool_put(s->ledger, &s->row, err);
	if (r < 0)
		return r;
	stow_first_note(&first,
			stow_pool_write(s->root, s->row.node, s->row.size, target, first.err));
	r = stow_pool_read(s->root, s->row.node, s->row.size, &s->kernel, first.err);
	if (stow_first_note(&first, r) < 0)
		return first.code;
	account(&s->row, stow_pool_persistent(&s->kernel));
	stow_first_note(&first, stow_ledger_pool_put(s->ledger, &s->row, first.err));
	return first.code;
}

static uint64_t pages_of(const struct stow_settling *s, const struct stow_record *record,
			 const struct stow_share *shares, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t p = 0; p < record->n_pages; p++)
			if (shares[i].node == s->row.node && record->pages[p].size == s->row.size)
				sum += shares[i].pages[p];
	return sum;
}

/* Count the pages of this pool that the record has been promised, at its place and at its target,
 * and has not faulted in. Where the kernel does not show what was faulted in, return the promise:
 * rather too many pages than too few. */
static uint64_t outstanding_of(struct stow_settling *s, const struct stow_record *record)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	uint64_t promised = pages_of(s, record, record->shares, record->n_shares), used = 0;

	if (record->move)
		promised += pages_of(s, record, record->move->shares, record->move->n_shares);
	if (stow_cgroup_open(s->root, &record->cgroup, &cgroup, NULL) < 0 ||
	    stow_hugetlb_used(cgroup, s->row.size, s->row.node, &used, NULL) < 0)
		used = 0;
	return stow_usage_outstanding(promised, used, promised);
}

/* Add the pages that claims have been promised and their containers have not faulted in: those are
 * set aside before there is a container. */
static int add_claims(struct stow_settling *s, struct stow_record *const *records, size_t n,
		      uint64_t *sum, struct stow_err *err)
{
	struct stow_record **holders;
	size_t n_holders, claims = 0;
	int r;

	for (size_t i = 0; i < n; i++)
		claims += stow_record_is_share(records[i]);
	if (!claims)
		return 0;
	r = stow_ledger_holders(s->ledger, NULL, &holders, &n_holders, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (stow_record_is_share(records[i]))
			*sum += pages_of(s, records[i], records[i]->shares, records[i]->n_shares) -
				stow_claim_used(s->root, holders, n_holders, records[i],
						s->row.node, s->row.size);
	stow_records_free(holders, n_holders);
	return 0;
}

int stow_pool_sum(struct stow_settling *s, int64_t key, bool leases, uint64_t *ret,
		  struct stow_err *err)
{
	struct stow_record **records;
	uint64_t sum = 0;
	size_t n;
	int r;

	r = stow_ledger_pool_records(s->ledger, s->row.node, s->row.size, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		/* A lease has no process yet, so it needs no pages now. */
		if (records[i]->state == STOW_STATE_LEASE &&
		    (!leases || stow_record_is_share(records[i])))
			continue;
		if (key && records[i]->state == STOW_STATE_PENDING && records[i]->key > key)
			continue;
		sum += outstanding_of(s, records[i]);
	}
	r = add_claims(s, records, n, &sum, err);
	stow_records_free(records, n);
	*ret = sum;
	return r;
}

static int grow(struct stow_settling *s, uint64_t outstanding, struct stow_pool_result *result,
		struct stow_err *err)
{
	uint64_t start = stow_pool_persistent(&s->kernel);
	uint64_t target = start + (outstanding - s->kernel.free);
	struct stow_idset node = { 0 };
	struct stow_err why;
	char size[32];
	bool narrow;
	int r;

	result->wanted = outstanding - s->kernel.free;
	r = resize(s, target, err);
	if (r == 0 && stow_pool_persistent(&s->kernel) < target) {
		/* Free memory may be fragmented: compact it, and try again. */
		(void)stow_node_compact(s->root, s->row.node, NULL);
		r = resize(s, target, err);
	}
	if (r < 0)
		return r;
	result->got = stow_pool_persistent(&s->kernel) - start;
	if (s->kernel.free >= outstanding)
		return 0;
	stow_idset_add(&node, s->row.node);
	narrow = stow_own_mems_check(s->root, &node, &why) < 0;
	return stow_err_set(err, ENOSPC,
			    "node %d gave %" PRIu64 " of %" PRIu64 " hugepages of %s%s%s",
			    s->row.node, result->got, result->wanted,
			    stow_format_size(s->row.size, size, sizeof(size)), narrow ? ": " : "",
			    narrow ? why.msg : "");
}

int stow_pool_begin(struct stow_settling *s, struct stow_err *err)
{
	int r;

	r = stow_pool_read(s->root, s->row.node, s->row.size, &s->kernel, err);
	if (r == 0)
		r = stow_ledger_pool_get(s->ledger, s->row.node, s->row.size, &s->row, err);
	if (r < 0 || !s->row.writing)
		return r;
	account(&s->row, stow_pool_persistent(&s->kernel));
	return stow_ledger_pool_put(s->ledger, &s->row, err);
}

/* Forget added pages that the pool no longer has: their memory went offline, or another program
 * removed them. They would be taken from pages that an administrator adds later. Not while a drain
 * is under way, which makes such pages again. */
static int forget_gone(struct stow_settling *s, uint64_t *ret, struct stow_err *err)
{
	uint64_t there = STOW_MIN(s->row.added, stow_pool_persistent(&s->kernel));

	*ret = s->row.added - there;
	s->row.added = there;
	return *ret ? stow_ledger_pool_put(s->ledger, &s->row, err) : 0;
}

static int settle_locked(struct stow_settling *s, int64_t key, struct stow_pool_result *result,
			 struct stow_err *err)
{
	uint64_t outstanding = 0, promised = 0, excess;
	int r = stow_pool_begin(s, err);

	if (r == 0 && !key)
		r = forget_gone(s, &result->gone, err);
	if (r == 0)
		r = stow_pool_sum(s, key, false, &outstanding, err);
	if (r < 0)
		return r;
	if (outstanding > s->kernel.free && key)
		return grow(s, outstanding, result, err);
	excess = stow_saturating_sub(s->kernel.free, outstanding);
	if (excess > s->row.added)
		excess = s->row.added;
	/* With a key, other containers may be starting, too: pages that look free may be meant for
	 * them. */
	if (excess && !key)
		r = resize(s, stow_pool_persistent(&s->kernel) - excess, err);
	if (r == 0)
		r = stow_ledger_pool_promised(s->ledger, s->row.node, s->row.size, &promised, err);
	if (r == 0)
		result->debt = stow_saturating_sub(s->row.added, promised);
	return r;
}

int stow_pool_lock(struct stow_root *root, int node, uint64_t size, struct stow_err *err)
{
	return stow_root_lock(root, err, STOW_RUN_DIR "/pool-%d-%" PRIu64 ".lock", node, size);
}

int stow_pool_settle(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		     int64_t key, struct stow_pool_result *ret, struct stow_err *err)
{
	struct stow_settling s = { .root = root,
				   .ledger = ledger,
				   .row = { .node = node, .size = size } };
	struct stow_pool_result result = { 0 };
	_cleanup_unlock_ int lock = -EBADF;
	int r;

	lock = stow_pool_lock(root, node, size, err);
	if (lock < 0)
		return lock;
	r = settle_locked(&s, key, &result, err);
	if (ret)
		*ret = result;
	return r;
}

int stow_pool_settle_shares(struct stow_root *root, struct stow_ledger *ledger,
			    const struct stow_record *record, const struct stow_share *shares,
			    size_t n_shares, struct stow_err *err)
{
	int r = 0;

	for (size_t i = 0; i < n_shares && r == 0; i++)
		for (size_t p = 0; p < record->n_pages && r == 0; p++)
			if (shares[i].pages[p])
				r = stow_pool_settle(root, ledger, shares[i].node,
						     record->pages[p].size, record->key, NULL, err);
	return r;
}

static int note(struct stow_ledger *ledger, const char *kind, const struct stow_ledger_pool *pool,
		uint64_t pages, const char *what, struct stow_err *err)
{
	char text[160], id[64], size[32];

	stow_format_size(pool->size, size, sizeof(size));
	snprintf(id, sizeof(id), "pool-%d-%s", pool->node, size);
	snprintf(text, sizeof(text), "%" PRIu64 " hugepages of %s on node %d %s", pages, size,
		 pool->node, what);
	return stow_ledger_event(ledger, kind, id, NULL, text, err);
}

/*
 * Find the nodes whose pools a drain is working on. While a block goes offline, which may take
 * long, the drain holds their locks; and when the drain was killed, the missing pages have to be
 * counted before the pool changes. These pools are settled when the drain is over.
 */
int stow_pool_drained(struct stow_root *root, struct stow_ledger *ledger, struct stow_idset *ret,
		      struct stow_err *err)
{
	struct stow_drain_row *rows;
	size_t n;
	int r;

	*ret = (struct stow_idset){ 0 };
	r = stow_drain_rows(ledger, &rows, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		enum stow_drain_step step = rows[i].step;

		if (stow_drain_step_is_end(step) || rows[i].node < 0 ||
		    rows[i].node >= STOW_IDSET_MAX)
			continue;
		if (step == STOW_DRAIN_STEP_OFFLINING || step == STOW_DRAIN_STEP_RETURNING ||
		    step == STOW_DRAIN_STEP_UNDOING || !stow_pidref_alive(root, &rows[i].worker))
			stow_idset_add(ret, rows[i].node);
	}
	stow_drain_rows_free(rows, n);
	return 0;
}

int stow_pool_settle_all(struct stow_root *root, struct stow_ledger *ledger, struct stow_err *err)
{
	_cleanup_free_ struct stow_ledger_pool *pools = NULL;
	struct stow_idset drained;
	struct stow_first first = { .err = err };
	size_t n;
	int r;

	r = stow_pool_drained(root, ledger, &drained, err);
	if (r == 0)
		r = stow_ledger_pools(ledger, &pools, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct stow_pool_result result;
		struct stow_ledger_pool after;
		uint64_t removed;

		if (stow_idset_has(&drained, pools[i].node))
			continue;
		r = stow_pool_settle(root, ledger, pools[i].node, pools[i].size, 0, &result,
				     first.err);
		if (r == 0)
			r = stow_ledger_pool_get(ledger, pools[i].node, pools[i].size, &after,
						 first.err);
		if (stow_first_note(&first, r) < 0)
			continue;
		removed = stow_saturating_sub(pools[i].added, after.added + result.gone);
		if (result.gone)
			r = note(ledger, "gone", &after, result.gone,
				 "are gone: their memory is offline, or another program removed "
				 "them",
				 first.err);
		/* Report a debt when it changes, not at every settling. */
		if (r == 0 && removed && result.debt)
			r = note(ledger, "debt", &after, result.debt,
				 "are still held by files in hugetlbfs", first.err);
		else if (r == 0 && removed)
			r = note(ledger, "paid", &after, removed, "were released", first.err);
		stow_first_note(&first, r);
	}
	return first.code;
}
