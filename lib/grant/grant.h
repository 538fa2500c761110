/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A grant: reserved in the ledger, enacted in the kernel, committed; or undone.
 *
 *	stow_grant_reserve()	one short transaction: capacity, plan, a pending record
 *	stow_grant_enact()	outside of it: hugepages, cpuset, limits; commits at its end
 *	stow_grant_undo()	everything back, in reverse order
 *	stow_grant_release()	when the container has ended
 *
 * A hook may be killed between any two system calls. What then remains is a pending record whose
 * hook is dead; stow_gc() (lib/grant/gc.h), or the next hook that is short of room, undoes it.
 */

#include "base/err.h"
#include "base/root.h"
#include "ledger/ledger.h"
#include "node/cgroup.h"
#include "place/config.h"
#include "place/plan.h"
#include "place/request.h"

/* Who the grant is for. Strings may be NULL; nothing is owned. */
struct stow_subject {
	const char *id; /* the runtime's container id */
	const char *pod, *ns, *name;
	const char *pod_id;	 /* what the containers of one pod share */
	const char *reservation; /* a lease's: the id it is held under; see lib/grant/lease.h */
	uint64_t expires;	 /* a lease's, s since the epoch; 0: as configured */
	struct stow_life init;	 /* pid 0 for a lease */
	const struct stow_cgroup *cgroup; /* NULL for a lease */
};

/* What to plan within. */
struct stow_grant_context {
	struct stow_root *root;
	struct stow_ledger *ledger;
	const struct stow_config *config;
	struct stow_life self; /* the program that works on the record */
	/* Plans on fenced nodes, too: for what goes back to where it was when a drain, whose fence
	 * (or a scheduler's for it) still stands, is undone. */
	bool past_fences;
};

/* Another container of the same pod, for scope=pod: its place is reserved together with ours. */
struct stow_member {
	char name[64];
	struct stow_request request;
};

/*
 * Reserves, or adopts: a lease for the container (from precreate, or from the pod's first
 * container) becomes its record; a grant that its process has already is returned as it is (state
 * active), for hooks.d and CDI may both call the hook. With `members` (scope=pod) all are placed on
 * the same nodes or none is. With pid 0 in the subject the record is a lease. -ENOSPC with
 * *ret_refusal when it does not fit. -EPERM when the administrator forbids it.
 *
 * A container whose request names a reservation gets what the reservation's lease holds, and nothing
 * else: -ENOENT, -ESTALE, -EBUSY, -EXDEV when it cannot have that, -E2BIG when it wants more.
 */
int stow_grant_reserve(const struct stow_grant_context *context, const struct stow_subject *subject,
		       const struct stow_request *request, const struct stow_member *members,
		       size_t n_members, struct stow_record **ret_record,
		       struct stow_refusal **ret_refusal, struct stow_err *err);

/* Plans as stow_grant_reserve() would, and reserves nothing: mode observe, and explain. `cgroup`
 * and `ledger` (in the context) may be NULL. */
int stow_grant_plan(const struct stow_grant_context *context, const struct stow_subject *subject,
		    const struct stow_request *request, struct stow_plan **ret_plan,
		    struct stow_refusal **ret_refusal, struct stow_err *err);

/* Makes a pending record true and active. On failure the caller calls stow_grant_undo(). `limit`:
 * the container has no memory limit of its own and gets the request's. */
int stow_grant_enact(const struct stow_grant_context *context, struct stow_record *record,
		     const struct stow_request *request, bool limit,
		     const struct stow_cgroup *cgroup, struct stow_err *err);

/* Takes a record back: the cgroup's values when it still exists (`cgroup` may be NULL), the record,
 * its pools, the others' CPUs. `kind` and `text` go into the history. Goes on after a failure and
 * returns the first. */
int stow_grant_undo(const struct stow_grant_context *context, const struct stow_record *record,
		    const struct stow_cgroup *cgroup, const char *kind, const char *text,
		    struct stow_err *err);

/* Whether the record's container has provably ended: its first process is gone and its cgroup is
 * gone or empty. A lease has ended when it has run out. */
bool stow_grant_ended(struct stow_root *root, const struct stow_record *record);

/* Gives back every grant of that id whose container has ended. Returns how many. */
int stow_grant_release(const struct stow_grant_context *context, const char *id,
		       struct stow_err *err);
