// SPDX-License-Identifier: Apache-2.0
/* The second half of a grant: from a record to a kernel that obeys, and back. */
#include "grant/grant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "grant/enforce.h"
#include "grant/pool.h"
#include "grant/saved.h"
#include "grant/shared.h"

static int settle_pools(const struct stow_grant_context *context, const struct stow_record *record,
			struct stow_err *err)
{
	for (size_t i = 0; i < record->n_shares; i++)
		for (size_t p = 0; p < record->n_pages; p++) {
			int r;

			if (!record->shares[i].pages[p])
				continue;
			r = stow_pool_settle(context->root, context->ledger, record->shares[i].node,
					     record->pages[p].size, record->key, NULL, err);
			if (r < 0)
				return r;
		}
	return 0;
}

static int set_limits(const struct stow_record *record, const struct stow_request *request,
		      bool limit, const struct stow_cgroup *cgroup, struct stow_err *err)
{
	int r = 0;

	for (size_t p = 0; p < record->n_pages && r >= 0; p++)
		r = stow_enforce_hugetlb(cgroup, record->pages[p].size,
					 record->pages[p].size * record->pages[p].count, err);
	if (r >= 0 && limit && request->memory)
		r = stow_enforce_memory(cgroup, request->memory, err);
	return r < 0 ? r : 0;
}

/* The record is true: active, with its line in the history. */
static int activate(const struct stow_grant_context *context, struct stow_record *record,
		    struct stow_err *err)
{
	int r;

	record->state = STOW_STATE_ACTIVE;
	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_update(context->ledger, record, err);
	if (r == 0)
		r = stow_ledger_event(context->ledger, "placed", record->id, record, record->reason,
				      err);
	return stow_ledger_end(context->ledger, r, err);
}

/* CPUs come last: with them the record becomes active, and from then on others may change them. */
static int set_cpus(const struct stow_grant_context *context, struct stow_record *record,
		    const struct stow_cgroup *cgroup, struct stow_err *err)
{
	_cleanup_close_ int lock = -EBADF;
	struct stow_idset before;
	int r;

	if (record->exclusive) {
		/* First the others leave, then we come. */
		r = stow_shared_sync(context->root, context->ledger, err);
		stow_saved_idset(record->saved, "cpuset.cpus", &before);
		if (r == 0)
			r = stow_enforce_cpus(cgroup, &record->cpus, !stow_idset_empty(&before),
					      err);
	} else {
		lock = stow_shared_lock(context->root, err);
		if (lock < 0)
			return lock;
		r = stow_shared_place(context->root, record, cgroup, err);
	}
	return r < 0 ? r : activate(context, record, err);
}

int stow_grant_enact(const struct stow_grant_context *context, struct stow_record *record,
		     const struct stow_request *request, bool limit,
		     const struct stow_cgroup *cgroup, struct stow_err *err)
{
	struct stow_idset before;
	int r;

	r = settle_pools(context, record, err);
	stow_saved_idset(record->saved, "cpuset.mems", &before);
	if (r == 0 && !stow_idset_empty(&record->nodes))
		r = stow_enforce_mems(cgroup, &record->nodes, !stow_idset_empty(&before), err);
	if (r == 0)
		r = set_limits(record, request, limit, cgroup, err);
	if (r == 0)
		r = set_cpus(context, record, cgroup, err);
	return r;
}

/* Remembers the first of several failures; later ones find `err` taken. */
static struct stow_err *only_first(int first, struct stow_err *err)
{
	return first ? NULL : err;
}

static int delete_record(const struct stow_grant_context *context, const struct stow_record *record,
			 const char *kind, const char *text, struct stow_err *err)
{
	int r;

	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_delete(context->ledger, record->key, err);
	/* Whoever else has deleted it has written the history, too. */
	if (r > 0)
		r = stow_ledger_event(context->ledger, kind, record->id, record, text, err);
	return stow_ledger_end(context->ledger, r, err);
}

/* A container that lives on without its grant is one without annotations from now on: it goes back
 * to the CPUs it had, as far as they are nobody's alone. */
static int let_go(const struct stow_grant_context *context, const struct stow_record *record,
		  const struct stow_cgroup *cgroup, struct stow_err *err)
{
	struct stow_idset was, mems;
	int first, r;

	stow_saved_idset(record->saved, "cpuset.mems", &mems);
	first = stow_saved_restore(cgroup, record->saved, err);
	if (!stow_idset_empty(&mems)) {
		r = stow_enforce_mems(cgroup, &mems, true, only_first(first, err));
		first = first ? first : r;
	}
	stow_saved_idset(record->saved, "cpuset.cpus", &was);
	r = stow_shared_enter(context->root, record->id, &record->init, &was,
			      only_first(first, err));
	return first ? first : r < 0 ? r : 0;
}

int stow_grant_undo(const struct stow_grant_context *context, const struct stow_record *record,
		    const struct stow_cgroup *cgroup, const char *kind, const char *text,
		    struct stow_err *err)
{
	int first = 0, r;

	if (cgroup) {
		r = let_go(context, record, cgroup, err);
		/* Its own exclusive CPUs may be all it had; they are nobody's in a moment. */
		first = r == -EBUSY && record->exclusive ? 0 : r;
	}
	r = delete_record(context, record, kind, text, only_first(first, err));
	first = first ? first : r < 0 ? r : 0;
	if (record->n_pages) {
		int64_t taken = stow_pool_settle_all(context->root, context->ledger,
						     only_first(first, err));

		first = first ? first : taken < 0 ? (int)taken : 0;
	}
	if (record->exclusive) {
		r = stow_shared_sync(context->root, context->ledger, only_first(first, err));
		first = first ? first : r;
	}
	return first;
}

bool stow_grant_ended(struct stow_root *root, const struct stow_record *record)
{
	if (record->state == STOW_STATE_LEASE)
		return record->expires && record->expires <= (uint64_t)time(NULL);
	if (stow_life_alive(root, &record->init))
		return false;
	return stow_cgroup_populated(root, record->cgroup, record->inode, NULL) == 0;
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
