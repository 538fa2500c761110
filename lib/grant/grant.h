/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A grant: reserved in the ledger, enacted in the kernel, committed; or undone.
 *
 *	stow_grant_reserve()	one short transaction: capacity, plan, a pending record
 *	stow_grant_enact()	outside of it: hugepages, cpuset, limits; commits at its end
 *	stow_grant_undo()	undoes everything, in reverse order
 *	stow_grant_release()	when the container has ended
 *
 * A hook may be killed between any two system calls. Its pending record then remains; stow_gc()
 * (lib/grant/gc.h), or the next hook that finds no room, undoes it.
 */

#include "base/clock.h"
#include "base/err.h"
#include "cgroup/cgroup.h"
#include "grant/context.h"
#include "place/plan.h"
#include "place/request.h"

/* The container that the grant is for. Strings may be NULL; none is owned. */
struct stow_subject {
	const char *id; /* the runtime's container id */
	const char *pod, *ns, *name;
	const char *pod_id;	   /* equal for all containers of one pod */
	const char *reservation;   /* of a lease: the reservation's id; see lib/grant/lease.h */
	enum stow_lease_kind kind; /* of a lease: what it waits for */
	const struct stow_claim_key *claim; /* of a claim's share */
	uint64_t lifetime;		    /* of a lease: ns from now on; 0: as configured */
	struct stow_pidref init;	    /* pid 0 for a lease */
	const struct stow_cgroup *cgroup;   /* NULL for a lease */
	struct stow_limits pod_limits;	    /* limits of all containers of the pod together */
	/* The sets in its config.json; empty for none. */
	struct stow_idset given_cpus, given_mems;
};

/* Longest lifetime of a lease, whatever the caller asks for: ns of boot time. */
#define STOW_LEASE_MAX (24 * 3600 * STOW_SECOND)

#define STOW_MEMBERS_MAX 64 /* containers of one pod that annotations name */

/* Another container of the same pod, for scope=pod: its share is reserved together with the first
 * container's, as far as the pod's limits and the administrator's caps allow. */
struct stow_member {
	char name[64];
	struct stow_request request;
};

/*
 * Reserve a grant, or adopt a lease: a lease for the container (from precreate, or from the pod's
 * first container) becomes its record. When the container's process has an active grant already,
 * return that, because hooks.d and CDI may both call the hook. With `members` (scope=pod), all are
 * placed on the same nodes, or none is. With pid 0 in the subject the record is a lease. -ENOSPC
 * with *ret_refusal when the request does not fit. -EPERM when the administrator's configuration
 * forbids it.
 *
 * A container whose request names a reservation gets exactly what the reservation's lease holds.
 * -ENOENT, -ESTALE, -EBUSY, -EXDEV: it cannot have that lease; -E2BIG: it asks for more.
 */
int stow_grant_reserve(const struct stow_grant_context *context, const struct stow_subject *subject,
		       const struct stow_request *request, const struct stow_member *members,
		       size_t n_members, struct stow_record **ret_record,
		       struct stow_refusal **ret_refusal, struct stow_err *err);

/* Reserve room elsewhere for a running container, as the target of a repin: record->move, in the
 * ledger and in the record. The namespace's caps are not checked again, because the container has
 * its grant already. -EBUSY: it is being moved already. Other errors as above. */
int stow_grant_reserve_move(const struct stow_grant_context *context, struct stow_record *record,
			    const struct stow_cgroup *cgroup, const struct stow_request *request,
			    struct stow_refusal **ret_refusal, struct stow_err *err);
/* Plan the same without reserving anything. */
int stow_grant_plan_move(const struct stow_grant_context *context, const struct stow_record *record,
			 const struct stow_cgroup *cgroup, const struct stow_request *request,
			 struct stow_plan **ret_plan, struct stow_refusal **ret_refusal,
			 struct stow_err *err);

/* Plan as stow_grant_reserve() would, without reserving anything: for mode observe, and for
 * explain. `cgroup` and the context's `ledger` may be NULL. */
int stow_grant_plan(const struct stow_grant_context *context, const struct stow_subject *subject,
		    const struct stow_request *request, struct stow_plan **ret_plan,
		    struct stow_refusal **ret_refusal, struct stow_err *err);

struct stow_apply_result; /* lib/grant/apply.h */

/* Enact a pending record in the kernel and make it active. On failure the caller calls
 * stow_grant_undo(). `limit`: the container has no memory limit of its own and gets the request's.
 * `ret_problems` (may be NULL): other containers whose sets are not as they must be, which is no
 * reason to refuse this one; free it with stow_apply_result_done(), also on failure. -EBUSY: a
 * container that could not be moved away may run on the CPUs; the message names it. */
int stow_grant_enact(const struct stow_grant_context *context, struct stow_record *record,
		     const struct stow_request *request, bool limit,
		     const struct stow_cgroup *cgroup, struct stow_apply_result *ret_problems,
		     struct stow_err *err);

/* Undo a record: restore the values of the cgroup if its container still runs (`cgroup`, or NULL),
 * delete the record, settle its pools, and give the CPUs back to other containers. A container that
 * still runs is unmanaged from then on. `kind` and `text` go into the history. Continue after a
 * failure and return the first. */
int stow_grant_undo(const struct stow_grant_context *context, const struct stow_record *record,
		    const struct stow_cgroup *cgroup, const char *kind, const char *text,
		    struct stow_err *err);

/* Return whether the record's container has provably ended: its first process is gone and its
 * cgroup is gone or empty. A lease has ended when it has expired. */
bool stow_grant_ended(struct stow_root *root, const struct stow_record *record);

/* Release every grant of that container id whose container has ended. Return how many. */
int stow_grant_release(const struct stow_grant_context *context, const char *id,
		       struct stow_err *err);
