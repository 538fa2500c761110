// SPDX-License-Identifier: Apache-2.0
#include "grant/gc.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "grant/pool.h"
#include "grant/repin.h"
#include "grant/unmanaged.h"

/* Collect one record, if needed. */
static int collect(const struct stow_grant_context *context, const struct stow_record *record,
		   struct stow_gc_result *result, struct stow_err *err)
{
	struct stow_root *root = context->root;

	if (record->move && !stow_pidref_alive(root, &record->move->worker)) {
		int r = stow_repin_recover(context, record, err);

		result->undone++;
		if (r < 0)
			return r;
	}
	if (record->state == STOW_STATE_LEASE) {
		if (!stow_grant_ended(root, record))
			return 0;
		result->expired++;
		return stow_grant_undo(context, record, NULL, "expired",
				       "no container used the lease", err);
	}
	if (record->state == STOW_STATE_PENDING) {
		if (stow_pidref_alive(root, &record->worker))
			return 0;
		result->undone++;
		return stow_restore(context, record, "undone", "the hook was killed", err);
	}
	if (!stow_grant_ended(root, record))
		return 0;
	result->reclaimed++;
	return stow_grant_undo(context, record, NULL, "reclaimed",
			       "its container ended without a poststop", err);
}

/* Count the pages that numastow has in all pools. A statistic only: a failure counts as 0. */
static uint64_t pages_added(const struct stow_grant_context *context)
{
	_cleanup_free_ struct stow_ledger_pool *pools = NULL;
	uint64_t sum = 0;
	size_t n;

	if (stow_ledger_pools(context->ledger, &pools, &n, NULL) < 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		sum += pools[i].added;
	return sum;
}

static int apply_everything(const struct stow_grant_context *context,
			    struct stow_apply_result *ret_problems, struct stow_err *err)
{
	static const struct stow_apply_options options = { .thorough = true };
	int first, r;

	first = stow_apply(context, &options, ret_problems, err);
	r = stow_apply_mems(context, 0, first ? NULL : err);
	return first ? first : r;
}

void stow_gc_result_done(struct stow_gc_result *result)
{
	stow_adoption_done(&result->found);
	stow_apply_result_done(&result->problems);
}

int stow_gc(const struct stow_grant_context *context, struct stow_gc_result *ret,
	    struct stow_err *err)
{
	uint64_t before = pages_added(context), after;
	struct stow_record **records;
	int first = 0, r;
	int64_t pages;
	size_t n;

	*ret = (struct stow_gc_result){ 0 };
	r = stow_ledger_records(context->ledger, NULL, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		r = collect(context, records[i], ret, first ? NULL : err);
		first = first ? first : r;
	}
	stow_records_free(records, n);
	r = stow_unmanaged_sweep(context->root, first ? NULL : err);
	ret->unmanaged = r > 0 ? (size_t)r : 0;
	first = first ? first : r < 0 ? r : 0;
	r = stow_adopt(context, &ret->found, first ? NULL : err);
	first = first ? first : r;
	pages = stow_pool_settle_all(context->root, context->ledger, first ? NULL : err);
	after = pages_added(context);
	ret->pages = stow_saturating_sub(before, after);
	first = first ? first : pages < 0 ? (int)pages : 0;
	r = apply_everything(context, &ret->problems, first ? NULL : err);
	return first ? first : r;
}

int stow_restore(const struct stow_grant_context *context, const struct stow_record *record,
		 const char *kind, const char *text, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	int r;

	/* A container runs as long as its cgroup has processes, wherever its first process is. */
	if (stow_pidref_alive(context->root, &record->init) ||
	    stow_cgroup_populated(context->root, &record->cgroup, NULL) == 1) {
		r = stow_cgroup_open(context->root, &record->cgroup, &cgroup, err);
		if (r < 0 && r != -ESRCH)
			return r;
	}
	return stow_grant_undo(context, record, cgroup, kind, text, err);
}

int stow_restore_all(const struct stow_grant_context *context, struct stow_err *err)
{
	struct stow_record **records;
	struct stow_gc_result swept;
	int first, r;
	size_t n;

	first = stow_gc(context, &swept, err);
	stow_gc_result_done(&swept);
	r = stow_ledger_records(context->ledger, NULL, &records, &n, first ? NULL : err);
	if (r < 0)
		return first ? first : r;
	for (size_t i = 0; i < n; i++) {
		r = stow_restore(context, records[i], "restored", "restore --all",
				 first ? NULL : err);
		first = first ? first : r;
	}
	stow_records_free(records, n);
	return first ? first : (int)n;
}
