// SPDX-License-Identifier: Apache-2.0
/* The second half of a grant: enacting a record in the kernel, and undoing it. */
#include "grant/grant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "grant/apply.h"
#include "grant/enforce.h"
#include "grant/pool.h"
#include "grant/saved.h"
#include "grant/unmanaged.h"

static int set_limits(const struct stow_record *record, const struct stow_request *request,
		      bool limit, const struct stow_cgroup *cgroup, struct stow_err *err)
{
	struct stow_page_request pages[STOW_POOLS_MAX];
	size_t n = stow_record_pages(record, pages);
	int r = 0;

	for (size_t p = 0; p < n && r >= 0; p++)
		r = stow_enforce_hugetlb(cgroup, pages[p].size, pages[p].size * pages[p].count,
					 err);
	if (r >= 0 && limit && request->memory)
		r = stow_enforce_memory(cgroup, request->memory, err);
	return r < 0 ? r : 0;
}

/* Make the record active, and write the history. */
static int activate(const struct stow_grant_context *context, struct stow_record *record,
		    struct stow_err *err)
{
	int r;

	record->state = STOW_STATE_ACTIVE;
	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_activate(context->ledger, record->key, err);
	if (r == 0)
		r = stow_ledger_event(context->ledger, "placed", record->id, record, record->reason,
				      err);
	return stow_ledger_end(context->ledger, r, err);
}

/* Move other containers off the CPUs, then give the CPUs to this one. A container that could not be
 * moved is a reason to refuse only when it may run on these CPUs. */
static int set_cpus(const struct stow_grant_context *context, struct stow_record *record,
		    const struct stow_cgroup *cgroup, struct stow_apply_result *ret_problems,
		    struct stow_err *err)
{
	const struct stow_apply_options options = {
		.focus = record->key,
		.cgroup = cgroup,
		.unit_cpus = context->made ? &context->made->cpus : NULL,
	};
	int r;

	if (!record->exclusive)
		return stow_apply_pending(context, record, cgroup, ret_problems, err);
	r = stow_apply(context, &options, ret_problems, err);
	return r < 0 ? r : stow_apply_check(ret_problems, &record->cpus, err);
}

int stow_grant_enact(const struct stow_grant_context *context, struct stow_record *record,
		     const struct stow_request *request, bool limit,
		     const struct stow_cgroup *cgroup, struct stow_apply_result *ret_problems,
		     struct stow_err *err)
{
	struct stow_apply_result problems = { 0 };
	int r;

	r = stow_pool_settle_shares(context->root, context->ledger, record, record->shares,
				    record->n_shares, err);
	if (r == 0)
		r = stow_apply_pending_mems(record, cgroup, err);
	if (r == 0)
		r = set_limits(record, request, limit, cgroup, err);
	if (r == 0)
		r = set_cpus(context, record, cgroup, &problems, err);
	if (r == 0)
		r = activate(context, record, err);
	if (ret_problems)
		*ret_problems = problems;
	else
		stow_apply_result_done(&problems);
	return r;
}

static int delete_record(const struct stow_grant_context *context, const struct stow_record *record,
			 const char *kind, const char *text, struct stow_err *err)
{
	char label[STOW_RECORD_LABEL_MAX];
	int r;

	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_delete(context->ledger, record->key, err);
	/* The program that deleted the record has written the history. */
	if (r > 0)
		r = stow_ledger_event(context->ledger, kind, stow_record_label(record, label),
				      record, text, err);
	/* The leases for members of the pod go with the pod's last container. */
	if (r >= 0)
		r = stow_ledger_drop_members(context->ledger, record->pod, err);
	return stow_ledger_end(context->ledger, r, err);
}

/* A container that continues to run without its grant is unmanaged from now on: give it the CPUs
 * that it was started with, as far as they belong to no other container. Write its file before the
 * record goes. */
static int make_unmanaged(const struct stow_grant_context *context,
			  const struct stow_record *record, const struct stow_cgroup *cgroup,
			  struct stow_err *err)
{
	struct stow_unmanaged entry = { .init = record->init,
					.cgroup = record->cgroup,
					.given = *stow_record_given_cpus(record),
					.reset = true };
	struct stow_first first = { .err = err };

	snprintf(entry.id, sizeof(entry.id), "%s", record->id);
	stow_first_note(&first, stow_apply_given_mems(context, record, cgroup, first.err));
	stow_first_note(&first, stow_saved_restore(cgroup, record, first.err));
	stow_first_note(&first, stow_unmanaged_write(context->root, &entry, first.err));
	return first.code;
}

int stow_grant_undo(const struct stow_grant_context *context, const struct stow_record *record,
		    const struct stow_cgroup *cgroup, const char *kind, const char *text,
		    struct stow_err *err)
{
	/* Reset its partition, too, even if the configuration has partitions off by now. */
	const struct stow_apply_options options = { .thorough = record->isolated };
	struct stow_first first = { .err = err };

	if (cgroup)
		stow_first_note(&first, make_unmanaged(context, record, cgroup, first.err));
	stow_first_note(&first, delete_record(context, record, kind, text, first.err));
	if (record->n_pages)
		stow_first_note(&first,
				stow_pool_settle_all(context->root, context->ledger, first.err));
	if (record->exclusive || cgroup)
		stow_first_note(&first, stow_apply(context, &options, NULL, first.err));
	return first.code;
}

bool stow_grant_ended(struct stow_root *root, const struct stow_record *record)
{
	if (record->state == STOW_STATE_LEASE)
		return record->expires && record->expires <= stow_clock_boot();
	if (stow_pidref_alive(root, &record->init))
		return false;
	return stow_cgroup_populated(root, &record->cgroup, NULL) == 0;
}

int stow_grant_release(const struct stow_grant_context *context, const char *id,
		       struct stow_err *err)
{
	struct stow_record **records;
	int released = 0, r;
	size_t n;

	r = stow_ledger_records(context->ledger, id, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r >= 0; i++) {
		if (records[i]->state == STOW_STATE_LEASE ||
		    !stow_grant_ended(context->root, records[i]))
			continue;
		r = stow_grant_undo(context, records[i], NULL, "released", "its container ended",
				    err);
		released++;
	}
	stow_records_free(records, n);
	return r < 0 ? r : released;
}
