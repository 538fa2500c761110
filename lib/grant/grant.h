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
 * A hook may be killed between any two system calls. Then a pending record remains whose hook is
 * dead; stow_gc() (lib/grant/gc.h), or the next hook that is short of room, undoes it.
 */

#include "base/clock.h"
#include "base/err.h"
#include "base/root.h"
#include "cgroup/cgroup.h"
#include "ledger/ledger.h"
#include "place/config.h"
#include "place/plan.h"
#include "place/request.h"

/* Who the grant is for. Strings may be NULL; nothing is owned. */
struct stow_subject {
	const char *id; /* the runtime's container id */
	const char *pod, *ns, *name;
	const char *pod_id;	   /* what the containers of one pod share */
	const char *reservation;   /* a lease's: the reservation's id; see lib/grant/lease.h */
	enum stow_lease_kind kind; /* a lease's: what it waits for */
	uint64_t lifetime;	   /* a lease's, ns from now on; 0: as configured */
	struct stow_pidref init;   /* pid 0 for a lease */
	const struct stow_cgroup *cgroup; /* NULL for a lease */
	struct stow_limits pod_limits;	  /* what all containers of its pod may have together */
	/* The sets that its config.json gave; empty for none. */
	struct stow_idset given_cpus, given_mems;
};

/* No lease waits longer than this, whatever was asked for: ns of boot time. */
#define STOW_LEASE_MAX (24 * 3600 * STOW_SECOND)

/* What to plan within. */
struct stow_grant_context {
	struct stow_root *root;
	struct stow_ledger *ledger;
	const struct stow_config *config; /* NULL only where nothing is planned: undoing, looking */
	struct stow_pidref self;	  /* the program that works on the record */
	/* Plan on fenced nodes, too: a container goes back to where it was when a drain is undone,
	 * while the drain's fence (or a scheduler's for it) still stands. */
	bool past_fences;
	/* Where stow_grant_reserve() leaves the topology that it has read, for stow_grant_enact();
	 * NULL: nowhere. The caller frees it. */
	struct stow_topology **topology;
};

#define STOW_MEMBERS_MAX 64 /* containers of one pod that annotations name */

/* Another container of the same pod, for scope=pod: its place is reserved together with ours, as
 * far as the pod's limits and the administrator's caps allow. */
struct stow_member {
	char name[64];
	struct stow_request request;
};

/*
 * Reserves, or adopts: a lease for the container (from precreate, or from the pod's first
 * container) becomes its record. A grant that its process has already is returned as it is (state
 * active), because hooks.d and CDI may both call the hook. With `members` (scope=pod) all are
 * placed on the same nodes, or none is. With pid 0 in the subject the record is a lease. -ENOSPC
 * with *ret_refusal when it does not fit. -EPERM when the administrator forbids it.
 *
 * A container whose request names a reservation gets what the reservation's lease holds, and
 * nothing else: -ENOENT, -ESTALE, -EBUSY, -EXDEV when it cannot have that, -E2BIG when it wants
 * more.
 */
int stow_grant_reserve(const struct stow_grant_context *context, const struct stow_subject *subject,
		       const struct stow_request *request, const struct stow_member *members,
		       size_t n_members, struct stow_record **ret_record,
		       struct stow_refusal **ret_refusal, struct stow_err *err);

/* Promises a running container room elsewhere, as the target of a repin: record->move, in the
 * ledger and in the record. The namespace's caps are not checked again, because the container has
 * its grant already. -EBUSY: it is being moved already. Other errors as above. */
int stow_grant_reserve_move(const struct stow_grant_context *context, struct stow_record *record,
			    const struct stow_cgroup *cgroup, const struct stow_request *request,
			    struct stow_refusal **ret_refusal, struct stow_err *err);
/* Does the same without promising anything. */
int stow_grant_plan_move(const struct stow_grant_context *context, const struct stow_record *record,
			 const struct stow_cgroup *cgroup, const struct stow_request *request,
			 struct stow_plan **ret_plan, struct stow_refusal **ret_refusal,
			 struct stow_err *err);

/* Plans as stow_grant_reserve() would, and reserves nothing: mode observe, and explain. `cgroup`
 * and `ledger` (in the context) may be NULL. */
int stow_grant_plan(const struct stow_grant_context *context, const struct stow_subject *subject,
		    const struct stow_request *request, struct stow_plan **ret_plan,
		    struct stow_refusal **ret_refusal, struct stow_err *err);

struct stow_apply_result; /* lib/grant/apply.h */

/* Makes the kernel obey a pending record, and the record active. On failure the caller calls
 * stow_grant_undo(). `limit`: the container has no memory limit of its own and gets the request's.
 * `ret_problems` (may be NULL): other containers that are not where they should be, which is no
 * reason to refuse this one; freed with stow_apply_result_done(), also on failure. -EBUSY: a
 * container that could not be moved away may run on the CPUs; the line names it. */
int stow_grant_enact(const struct stow_grant_context *context, struct stow_record *record,
		     const struct stow_request *request, bool limit,
		     const struct stow_cgroup *cgroup, struct stow_apply_result *ret_problems,
		     struct stow_err *err);

/* Takes a record back: restores the cgroup's values when its container lives on (`cgroup`, else
 * NULL), deletes the record, settles its pools, and gives other containers their CPUs back. A
 * container that lives on is unmanaged from then on. `kind` and `text` go into the history. Goes on
 * after a failure and returns the first. */
int stow_grant_undo(const struct stow_grant_context *context, const struct stow_record *record,
		    const struct stow_cgroup *cgroup, const char *kind, const char *text,
		    struct stow_err *err);

/* Says whether the record's container has provably ended: its first process is gone and its cgroup
 * is gone or empty. A lease has ended when it has run out. */
bool stow_grant_ended(struct stow_root *root, const struct stow_record *record);

/* Gives back every grant of that id whose container has ended. Returns how many. */
int stow_grant_release(const struct stow_grant_context *context, const char *id,
		       struct stow_err *err);
