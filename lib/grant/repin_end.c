// SPDX-License-Identifier: Apache-2.0
#include "grant/repin_end.h"

#include <errno.h>

#include "base/cleanup.h"
#include "grant/apply.h"
#include "grant/pool.h"

int stow_repin_apply_cpus(const struct stow_grant_context *context,
			  const struct stow_record *record, struct stow_err *err)
{
	const struct stow_apply_options options = { .focus = record->key };
	struct stow_apply_result problems = { 0 };
	int r;

	if (!record->exclusive)
		return stow_apply_start(context, record->key, err);
	r = stow_apply(context, &options, &problems, err);
	if (r == 0 && record->move && record->move->step != STOW_MOVE_PLANNED)
		r = stow_apply_check(&problems, &record->move->cpus, err);
	stow_apply_result_done(&problems);
	return r;
}

int stow_repin_end(const struct stow_grant_context *context, struct stow_record *record,
		   bool arrived, const char *why, struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *now = NULL;
	int r;

	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_move_end(context->ledger, record->key, arrived, err);
	if (r == 0 && arrived) /* released meanwhile */
		r = stow_err_set(err, ESRCH, "container %s has ended", record->id);
	if (r > 0)
		r = stow_ledger_record(context->ledger, record->key, &now, err);
	if (r == 0 && now)
		r = stow_ledger_event(context->ledger, arrived ? "repinned" : "undone", now->id,
				      now, arrived ? now->reason : why, err);
	return stow_ledger_end(context->ledger, r, err);
}

int stow_repin_settle(const struct stow_grant_context *context, bool pages, struct stow_err *err)
{
	static const struct stow_apply_options options = { 0 };
	struct stow_first first = { .err = err };

	if (pages)
		stow_first_note(&first,
				stow_pool_settle_all(context->root, context->ledger, first.err));
	stow_first_note(&first, stow_apply(context, &options, NULL, first.err));
	return first.code;
}

/* Make the caller the worker: of several programs that find a dead worker, one succeeds. */
static int take_over(const struct stow_grant_context *context, const struct stow_record *record,
		     struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *now = NULL;
	int r;

	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_record(context->ledger, record->key, &now, err);
	if (r == 0 && (!now->move || stow_pidref_alive(context->root, &now->move->worker)))
		r = -EALREADY;
	if (r == 0)
		r = stow_ledger_move_adopt(context->ledger, record->key, &context->self, err);
	if (r == 0)
		r = stow_ledger_move_step(context->ledger, record->key, STOW_MOVE_PLANNED, err);
	return stow_ledger_end(context->ledger, r, err);
}

int stow_repin_recover(const struct stow_grant_context *context, const struct stow_record *record,
		       struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *now = NULL;
	int r;

	r = take_over(context, record, err);
	if (r == -EALREADY || r == -ENOENT)
		return 0;
	if (r == 0)
		r = stow_ledger_record(context->ledger, record->key, &now, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	/* The kernel moves the remaining pages at once: no container waits for this. */
	r = stow_repin_apply_cpus(context, now, err);
	if (r == 0 || r == -ESRCH)
		r = stow_apply_mems(context, now->key, err);
	if (r == 0 || r == -ESRCH)
		r = stow_repin_end(context, now, false, "the repin was killed", err);
	return r < 0 ? r : stow_repin_settle(context, now->n_pages > 0, err);
}
