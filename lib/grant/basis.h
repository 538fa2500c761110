/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a plan is made from: between the files of lib/grant that reserve. */

#include "cgroup/cpuset.h"
#include "grant/grant.h"

/* Read before the transaction, except what the ledger has given away. */
struct stow_basis {
	struct stow_topology *topology;
	struct stow_cpuset cpuset; /* what the container's cgroup may use */
	bool have_cpuset;
	struct stow_idset pinned; /* CPUs that unmanaged containers need */
	int near_node;
};

/* `cgroup`: the container's, or NULL for what has none yet. With scope=pod the other members of the
 * pod are planned in the same transaction. */
int stow_basis_read(const struct stow_grant_context *context, const struct stow_cgroup *cgroup,
		    const struct stow_request *request, const struct stow_member *members,
		    size_t n_members, struct stow_basis *basis, struct stow_err *err);
void stow_basis_done(struct stow_basis *basis);

enum stow_plan_how {
	STOW_PLAN_REFINE = 1 << 0,    /* count what containers have used of what they were promised:
				       * a look into each one's cgroup */
	STOW_PLAN_ANY_CORES = 1 << 1, /* half cores, too: for the sum of several requests, and for a
				       * container that has half a core already */
};

/* As stow_plan_make(), with what the ledger has given away at this moment. */
int stow_basis_plan(const struct stow_grant_context *context, const struct stow_basis *basis,
		    const struct stow_request *request, unsigned int how,
		    struct stow_plan **ret_plan, struct stow_refusal **ret_refusal,
		    struct stow_err *err);

/* The nodes of a plan for cpuset.mems. */
void stow_basis_mems(const struct stow_basis *basis, const struct stow_plan *plan,
		     const struct stow_request *request, struct stow_idset *ret);

/* What is tried within a transaction, at most twice: see stow_reserve_try(). */
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
	struct stow_record *record; /* what comes out, or what is to be moved */
	struct stow_move *move;
};

/*
 * Tries once as cheaply as it goes, taking every container for alive and every promise for unused.
 * A request that is refused then is tried once more, after what is dead was reclaimed and what is
 * used was counted.
 */
int stow_reserve_try(struct stow_attempt *attempt, struct stow_refusal **ret_refusal,
		     struct stow_err *err);
