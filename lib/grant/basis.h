/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a plan is computed from. Used by the files of lib/grant that reserve. */

#include "cgroup/cpuset.h"
#include "grant/grant.h"

/* All of it is read before the transaction; only the ledger is read inside. */
struct stow_basis {
	struct stow_topology *topology;
	struct stow_cpuset cpuset; /* what the container's cgroup may use */
	bool have_cpuset;
	struct stow_idset pinned; /* CPUs that unmanaged containers need */
	int near_node;
};

/* Read the basis. `cgroup`: the container's, or NULL when it has none yet. With scope=pod,
 * `members` are planned in the same transaction. */
int stow_basis_read(const struct stow_grant_context *context, const struct stow_cgroup *cgroup,
		    const struct stow_request *request, const struct stow_member *members,
		    size_t n_members, struct stow_basis *basis, struct stow_err *err);
void stow_basis_done(struct stow_basis *basis);

enum stow_plan_how {
	STOW_PLAN_REFINE = 1 << 0, /* count what containers have used of their promises: reads each
				      container's cgroup */
	STOW_PLAN_ANY_CORES = 1 << 1,  /* allow half cores: for the sum of several requests, and for
					  a container that has half a core already */
	STOW_PLAN_KEEP_POOLS = 1 << 2, /* use hugepages that are in the pools already, and free: for
					  claims */
};

/* Plan as stow_plan_make() does, against the present content of the ledger. */
int stow_basis_plan(const struct stow_grant_context *context, const struct stow_basis *basis,
		    const struct stow_request *request, unsigned int how,
		    struct stow_plan **ret_plan, struct stow_refusal **ret_refusal,
		    struct stow_err *err);

/* Compute the NUMA nodes of a plan for cpuset.mems. */
void stow_basis_mems(const struct stow_basis *basis, const struct stow_plan *plan,
		     const struct stow_request *request, struct stow_idset *ret);

/* One attempt to reserve or to move, made at most twice: see stow_reserve_try(). */
struct stow_attempt {
	const struct stow_grant_context *context;
	const struct stow_basis *basis;
	unsigned int how;
	int (*locked)(struct stow_attempt *attempt, struct stow_refusal **ret_refusal,
		      struct stow_err *err);
	const struct stow_subject *subject;
	const struct stow_request *request;
	const struct stow_member *members;
	size_t n_members;
	struct stow_record *record; /* the new record, or the record to move */
	struct stow_move *move;
};

/*
 * Try once the cheap way: take every container for alive and every promise for unused. When the
 * request is refused, reclaim what ended containers and dead programs hold, count what is used, and
 * try once more.
 */
int stow_reserve_try(struct stow_attempt *attempt, struct stow_refusal **ret_refusal,
		     struct stow_err *err);

/* Plan and insert one record, within the attempt's transaction. `asked` is what was asked for;
 * `request` is the same on the nodes that were chosen. */
int stow_reserve_planned(const struct stow_attempt *attempt, const struct stow_subject *subject,
			 const struct stow_request *asked, const struct stow_request *request,
			 struct stow_record **ret_record, struct stow_refusal **ret_refusal,
			 struct stow_err *err);
/* Check the administrator's caps against what the namespace has. */
int stow_reserve_check_caps(const struct stow_grant_context *context, const char *ns,
			    const struct stow_request *request, struct stow_err *err);
