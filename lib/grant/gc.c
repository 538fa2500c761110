// SPDX-License-Identifier: Apache-2.0
#include "grant/gc.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "grant/claim_limits.h"
#include "grant/grant.h"
#include "grant/pool.h"
#include "grant/program_group.h"
#include "grant/repin_end.h"
#include "grant/threads.h"
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
	struct stow_first first = { .err = err };

	stow_first_note(&first, stow_apply(context, &options, ret_problems, first.err));
	stow_first_note(&first, stow_apply_mems(context, 0, first.err));
	return first.code;
}

void stow_gc_result_done(struct stow_gc_result *result)
{
	stow_adoption_done(&result->found);
	stow_apply_result_done(&result->problems);
}

int stow_gc(const struct stow_grant_context *context, struct stow_gc_result *ret,
	    struct stow_err *err)
{
	struct stow_first first = { .err = err };
	uint64_t before = pages_added(context);
	struct stow_record **records;
	size_t n;
	int r;

	*ret = (struct stow_gc_result){ 0 };
	r = stow_ledger_records(context->ledger, NULL, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		stow_first_note(&first, collect(context, records[i], ret, first.err));
	stow_records_free(records, n);
	r = stow_first_note(&first,
			    stow_unmanaged_sweep(context->root, &ret->strangers, first.err));
	ret->unmanaged = r > 0 ? (size_t)r : 0;
	r = stow_first_note(&first, stow_programs_sweep(context->root, first.err));
	ret->groups = r > 0 ? (size_t)r : 0;
	stow_first_note(&first, stow_adopt(context, &ret->found, first.err));
	stow_first_note(&first, stow_pool_settle_all(context->root, context->ledger, first.err));
	ret->pages = stow_saturating_sub(before, pages_added(context));
	stow_first_note(&first, stow_claim_keep_limits(context, first.err));
	stow_first_note(&first, apply_everything(context, &ret->problems, first.err));
	r = stow_first_note(&first, stow_threads_confine(context, &ret->problems, first.err));
	ret->threads = r > 0 ? (size_t)r : 0;
	return first.code;
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
	struct stow_first first = { .err = err };
	struct stow_record **records;
	struct stow_gc_result swept;
	size_t n;
	int r;

	stow_first_note(&first, stow_gc(context, &swept, first.err));
	stow_gc_result_done(&swept);
	r = stow_ledger_records(context->ledger, NULL, &records, &n, first.err);
	if (stow_first_note(&first, r) < 0)
		return first.code;
	/* Delete a claim's records after those of its containers. */
	for (int claims = 0; claims < 2; claims++)
		for (size_t i = 0; i < n; i++)
			if (stow_record_is_share(records[i]) == claims)
				stow_first_note(&first,
						stow_restore(context, records[i], "restored",
							     "restore --all", first.err));
	stow_records_free(records, n);
	return first.code ? first.code : (int)n;
}
