// SPDX-License-Identifier: Apache-2.0
/* The applier's second half: memory nodes. A write takes as long as the pages take to move. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cgroup/cpuset.h"
#include "cgroup/kubelet.h"
#include "grant/agent.h"
#include "grant/apply.h"
#include "grant/enforce.h"

/* Take the lock of one record: a byte of a file that only root can open. The kernel drops it when
 * the holder dies. */
static int mems_lock(struct stow_root *root, int64_t key, struct stow_err *err)
{
	return stow_root_lock_byte(root, key, STOW_RUN_DIR "/mems.lock", err);
}

/* Compute the nodes that a record's container must have; empty: as given. */
static void wanted_mems(const struct stow_record *record, struct stow_idset *ret)
{
	*ret = record->nodes;
	if (!record->move || record->move->step == STOW_MOVE_PLANNED)
		return;
	if (record->move->step == STOW_MOVE_NARROWED)
		*ret = record->move->nodes;
	else
		stow_idset_or(ret, &record->move->nodes);
}

/* v1 accepts only nodes that have memory now. */
static void limit_to_memory(const struct stow_cgroup *cgroup, struct stow_idset *wanted)
{
	struct stow_idset there, both = *wanted;

	if (cgroup->at[STOW_CGROUP_CPUSET].version != 1 ||
	    stow_root_read_idset(cgroup->root, &there, NULL,
				 "/sys/devices/system/node/has_memory") < 0)
		return;
	stow_idset_and(&both, &there);
	if (!stow_idset_empty(&both))
		*wanted = both;
}

static int write_mems(const struct stow_cgroup *cgroup, const struct stow_idset *wanted,
		      struct stow_err *err)
{
	struct stow_idset effective, now;
	char a[128], b[128];
	int r, written;

	r = stow_cpuset_read_mems(cgroup, false, &now, err);
	if (r < 0)
		return r;
	if (stow_idset_equal(&now, wanted))
		return 0;
	written = stow_cpuset_write_mems(cgroup, wanted, err);
	if (written < 0)
		return written;
	/* v1: while the set was empty, the kernel moved the cgroup's processes away. */
	if (stow_idset_empty(&now) && cgroup->at[STOW_CGROUP_CPUSET].version == 1) {
		r = stow_cpuset_take_back(cgroup, err);
		if (r < 0)
			return r;
	}
	if (!written)
		return 0;
	r = stow_cpuset_read_mems(cgroup, true, &effective, err);
	if (r == 0 && !stow_idset_equal(&effective, wanted))
		r = stow_err_set(err, EBUSY,
				 "cpuset.mems of cgroup %s: %s was written, the kernel gave %s",
				 cgroup->path, stow_idset_format(wanted, a, sizeof(a)),
				 stow_idset_format(&effective, b, sizeof(b)));
	if (r == 0)
		r = stow_enforce_unit(cgroup, false, wanted, err);
	return r < 0 ? r : 0;
}

static int apply_record(const struct stow_grant_context *context, int64_t key, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_unlock_ int lock = mems_lock(context->root, key, err);
	struct stow_idset wanted;
	int r;

	if (lock < 0)
		return lock;
	/* Read under the lock, so that the latest decision is written last. */
	r = stow_ledger_record(context->ledger, key, &record, err);
	if (r < 0)
		return r;
	wanted_mems(record, &wanted);
	if (stow_idset_empty(&wanted))
		return 0;
	r = stow_cgroup_open(context->root, &record->cgroup, &cgroup, err);
	if (r < 0)
		return r;
	if (stow_kubelet_owns(context->root, cgroup->path))
		return 0;
	limit_to_memory(cgroup, &wanted);
	return write_mems(cgroup, &wanted, err);
}

/* Return whether all nodes that a set lacks have come online since. */
static bool lacks_only(const struct stow_idset *now, const struct stow_idset *wanted,
		       const struct stow_idset *came)
{
	struct stow_idset lacking = *wanted;

	stow_idset_minus(&lacking, now);
	return came && stow_idset_subset(now, wanted) && stow_idset_subset(&lacking, came);
}

int stow_apply_pending_mems(const struct stow_record *record, const struct stow_cgroup *cgroup,
			    struct stow_err *err)
{
	struct stow_idset wanted;

	wanted_mems(record, &wanted);
	if (stow_idset_empty(&wanted) || stow_kubelet_owns(cgroup->root, cgroup->path))
		return 0;
	limit_to_memory(cgroup, &wanted);
	return write_mems(cgroup, &wanted, err);
}

/* Return, without a lock, whether the cgroup's set differs from the wanted one: usually it does
 * not. A change by another tool is left to the agent, if one runs. */
static bool differs(const struct stow_grant_context *context, const struct stow_record *record,
		    bool agent, const struct stow_idset *came)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_idset wanted, now;

	wanted_mems(record, &wanted);
	if (stow_idset_empty(&wanted) ||
	    stow_cpuset_open(context->root, &record->cgroup, &cgroup, NULL) < 0 ||
	    stow_cpuset_read_mems(cgroup, false, &now, NULL) < 0)
		return false;
	limit_to_memory(cgroup, &wanted);
	if (stow_idset_equal(&now, &wanted))
		return false;
	return !agent || record->move || stow_idset_empty(&now) || lacks_only(&now, &wanted, came);
}

/* `came`: nodes that have come online; NULL: none. */
static int apply_records(const struct stow_grant_context *context, const struct stow_idset *came,
			 struct stow_err *err)
{
	struct stow_first first = { .err = err };
	struct stow_record **records;
	bool agent;
	size_t n;
	int r;

	r = stow_ledger_records(context->ledger, NULL, &records, &n, err);
	if (r < 0)
		return r;
	agent = stow_agent_lives(context->root);
	for (size_t i = 0; i < n; i++) {
		if (records[i]->state != STOW_STATE_ACTIVE ||
		    !differs(context, records[i], agent, came))
			continue;
		r = apply_record(context, records[i]->key, first.err);
		stow_first_note(&first, r == -ESRCH || r == -ENOENT ? 0 : r);
	}
	stow_records_free(records, n);
	return first.code;
}

int stow_apply_mems(const struct stow_grant_context *context, int64_t key, struct stow_err *err)
{
	return key ? apply_record(context, key, err) : apply_records(context, NULL, err);
}

int stow_apply_mems_back(const struct stow_grant_context *context, const struct stow_idset *came,
			 struct stow_err *err)
{
	return apply_records(context, came, err);
}

int stow_apply_given_mems(const struct stow_grant_context *context,
			  const struct stow_record *record, const struct stow_cgroup *cgroup,
			  struct stow_err *err)
{
	_cleanup_unlock_ int lock = mems_lock(context->root, record->key, err);
	struct stow_idset given = *stow_record_given_mems(record), now;
	int r = 0;

	if (lock < 0)
		return lock;
	if (stow_idset_empty(&record->nodes))
		return 0;
	if (stow_idset_empty(&given)) {
		/* v2 does not let the set of a cgroup with processes become empty again; on v1 the
		 * set was a copy of the one above. */
		r = stow_cpuset_read_mems(cgroup, false, &now, err);
		if (r < 0 || stow_idset_empty(&now))
			return r;
		r = stow_cpuset_read_above(cgroup, false, &given, err);
	}
	return r < 0 ? r : write_mems(cgroup, &given, err);
}
