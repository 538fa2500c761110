// SPDX-License-Identifier: Apache-2.0
/* Reserving the target of a repin. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "grant/basis.h"

/* Read what the planner needs. A container that moves may use whatever the cgroup above and its
 * config.json allow: its present set does not limit it. */
static int read_move_basis(const struct stow_grant_context *context,
			   const struct stow_record *record, const struct stow_cgroup *cgroup,
			   const struct stow_request *request, struct stow_basis *basis,
			   struct stow_err *err)
{
	int r = stow_basis_read(context, NULL, request, NULL, 0, basis, err);

	if (r == 0)
		r = stow_cpuset_read_allowed(cgroup, stow_record_given_cpus(record),
					     stow_record_given_mems(record), &basis->cpuset, err);
	basis->have_cpuset = r == 0;
	return r;
}

static void take_plan(const struct stow_basis *basis, const struct stow_request *request,
		      struct stow_plan *plan, struct stow_move *move)
{
	*move = (struct stow_move){ .step = STOW_MOVE_PLANNED };
	if (plan->exclusive)
		move->cpus = plan->cpus;
	stow_basis_mems(basis, plan, request, &move->nodes);
	move->reason = strdup(plan->reason);
	move->shares = STOW_TAKE_PTR(plan->shares);
	move->n_shares = plan->n_shares;
	plan->n_shares = 0;
}

static int attempt_move(struct stow_attempt *attempt, struct stow_refusal **ret_refusal,
			struct stow_err *err)
{
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	struct stow_move move = { 0 };
	int r;

	r = stow_basis_plan(attempt->context, attempt->basis, attempt->request,
			    attempt->how | STOW_PLAN_ANY_CORES, &plan, ret_refusal, err);
	if (r < 0)
		return r;
	take_plan(attempt->basis, attempt->request, plan, &move);
	move.worker = attempt->context->self;
	r = move.reason ? stow_ledger_move_begin(attempt->context->ledger, attempt->record->key,
						 &move, err)
			: stow_err_sys(err, ENOMEM, "moving %s", attempt->record->id);
	if (r < 0) {
		stow_move_done(&move);
		return r;
	}
	*attempt->move = move;
	return 0;
}

int stow_grant_reserve_move(const struct stow_grant_context *context, struct stow_record *record,
			    const struct stow_cgroup *cgroup, const struct stow_request *request,
			    struct stow_refusal **ret_refusal, struct stow_err *err)
{
	_cleanup_(stow_basis_done) struct stow_basis basis = { 0 };
	struct stow_move *move = calloc(1, sizeof(*move));
	struct stow_attempt attempt = { .context = context,
					.basis = &basis,
					.locked = attempt_move,
					.request = request,
					.record = record,
					.move = move };
	int r;

	*ret_refusal = NULL;
	if (!move)
		return stow_err_sys(err, ENOMEM, "moving %s", record->id);
	r = read_move_basis(context, record, cgroup, request, &basis, err);
	if (r == 0)
		r = stow_reserve_try(&attempt, ret_refusal, err);
	if (r < 0) {
		free(move);
		return r;
	}
	record->move = move;
	return 0;
}

int stow_grant_plan_move(const struct stow_grant_context *context, const struct stow_record *record,
			 const struct stow_cgroup *cgroup, const struct stow_request *request,
			 struct stow_plan **ret_plan, struct stow_refusal **ret_refusal,
			 struct stow_err *err)
{
	_cleanup_(stow_basis_done) struct stow_basis basis = { 0 };
	int r;

	*ret_refusal = NULL;
	r = read_move_basis(context, record, cgroup, request, &basis, err);
	return r < 0 ? r
		     : stow_basis_plan(context, &basis, request,
				       STOW_PLAN_REFINE | STOW_PLAN_ANY_CORES, ret_plan,
				       ret_refusal, err);
}
