// SPDX-License-Identifier: Apache-2.0
#include "grant/program.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cgroup/cpuset.h"
#include "grant/basis.h"
#include "grant/cpuview.h"
#include "grant/gc.h"

#define TOPOLOGY_AGE_MAX STOW_SECOND

void stow_placed_done(struct stow_placed *placed)
{
	stow_record_free_ptr(&placed->record);
	stow_cgroup_free_ptr(&placed->cgroup);
	stow_apply_result_done(&placed->problems);
}

int stow_program_check_name(const char *name, struct stow_err *err)
{
	size_t len = strlen(name);
	bool good = len > 0 && len <= STOW_PROGRAM_NAME_MAX && isalnum((unsigned char)name[0]);

	for (size_t i = 0; i < len && good; i++)
		good = isalnum((unsigned char)name[i]) || strchr("_.-", name[i]);
	if (good)
		return 0;
	return stow_err_set(err, EINVAL,
			    "--name: \"%.80s\" is not a name: 1 to %d letters, digits, '_', '.' "
			    "and '-', beginning with a letter or digit",
			    name, STOW_PROGRAM_NAME_MAX);
}

/* Check that no living container has this id. */
static int check_free(const struct stow_grant_context *context, const char *name,
		      struct stow_err *err)
{
	struct stow_record **records;
	bool taken = false;
	size_t n;
	int r;

	r = stow_ledger_records(context->ledger, name, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		taken |= !stow_grant_ended(context->root, records[i]);
	stow_records_free(records, n);
	if (taken)
		return stow_err_set(err, EEXIST,
				    "--name: \"%s\" has a grant already, and runs; choose another "
				    "name",
				    name);
	return 0;
}

/* What one placement works with. */
struct work {
	struct stow_grant_context context; /* the caller's, with `topology` and `made` */
	const struct stow_program *program;
	struct stow_topology *topology; /* of the plan, for the reservation */
	uint64_t read;			/* when it was read */
	struct stow_made_sets planned;
	struct stow_cpu_view view; /* for the plan, and for reading back */
	bool viewed;
};

static void work_done(struct work *work)
{
	stow_topology_free(work->topology);
	stow_cpu_view_done(&work->view);
}

static int view_cpus(struct work *work, struct stow_err *err)
{
	const struct stow_grant_context *context = &work->context;
	int r = work->viewed ? 0
			     : stow_cpu_view_read(context->root, context->config, context->ledger,
						  &work->view, err);

	work->viewed = r == 0;
	work->view.topology = work->topology;
	return r;
}

/* Compute the sets that the applier will give a record of this plan. Where they come out otherwise,
 * the applier writes them. */
static int plan_sets(struct work *work, const struct stow_basis *basis, struct stow_plan *plan,
		     struct stow_err *err)
{
	const struct stow_record record = { .shares = plan->shares, .n_shares = plan->n_shares };
	struct stow_made_sets *sets = &work->planned;
	int r = 0;

	/* Preferred nodes leave all others allowed: the set stays empty. */
	if (work->program->request->memory_policy != STOW_MEMORY_PREFERRED)
		stow_basis_mems(basis, plan, work->program->request, &sets->mems);
	sets->cpus = plan->cpus;
	if (plan->exclusive)
		return 0;
	r = view_cpus(work, err);
	if (r == 0)
		r = stow_cpu_view_base(&work->view, &record, false, &sets->cpus, err);
	if (r == 0)
		stow_idset_minus(&sets->cpus, &work->view.exclusive);
	return r;
}

static int plan_once(struct work *work, unsigned int how, struct stow_refusal **ret_refusal,
		     struct stow_err *err)
{
	const struct stow_request *request = work->program->request;
	_cleanup_(stow_basis_done) struct stow_basis basis = { 0 };
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	int r;

	work->read = stow_clock_monotonic();
	r = stow_basis_read(&work->context, NULL, request, NULL, 0, &basis, err);
	if (r == 0)
		r = stow_reserve_check_caps(&work->context, NULL, request, err);
	if (r == 0)
		r = stow_basis_plan(&work->context, &basis, request, how, &plan, ret_refusal, err);
	if (r < 0)
		return r;
	/* The view borrows it from here. */
	work->topology = STOW_TAKE_PTR(basis.topology);
	basis.topology = work->topology;
	r = plan_sets(work, &basis, plan, err);
	basis.topology = NULL;
	return r;
}

/* Plan without reserving: most refusals come before anything was changed. When there is no room,
 * reclaim what ended containers hold, and plan again. */
static int plan_first(struct work *work, struct stow_refusal **ret_refusal, struct stow_err *err)
{
	struct stow_gc_result swept;
	int r;

	r = plan_once(work, 0, ret_refusal, err);
	if (r != -ENOSPC)
		return r;
	(void)stow_gc(&work->context, &swept, NULL);
	stow_gc_result_done(&swept);
	stow_refusal_free(*ret_refusal);
	*ret_refusal = NULL;
	return plan_once(work, STOW_PLAN_REFINE, ret_refusal, err);
}

/* Join, and identify the cgroup as a hook does: once, before any of the program's code runs. */
static int join(struct work *work, struct stow_placed *placed, struct stow_err *err)
{
	const struct stow_grant_context *context = &work->context;
	const struct stow_program *program = work->program;
	char before[16384];
	int r;

	r = stow_root_read_buf(context->root, before, sizeof(before), err, "/proc/%d/cgroup",
			       (int)context->self.pid);
	if (r >= 0)
		r = program->join(program->ctx, &work->planned, err);
	if (r == 0)
		r = stow_cgroup_of_pid(context->root, context->self.pid, &placed->cgroup, err);
	if (r < 0)
		return r;
	if (strcmp(before, placed->cgroup->membership) == 0)
		return stow_err_set(err, EIO, "the program is still in its former cgroup %s",
				    placed->cgroup->path);
	if (!placed->cgroup->at[STOW_CGROUP_CPUSET].version)
		return stow_err_set(err, ENOTSUP,
				    "cgroup %s has no cpuset controller: is it enabled for the "
				    "cgroup above?",
				    placed->cgroup->membership);
	return 0;
}

/* Compare what has taken effect with what was granted. CPUs may have gone offline, and other
 * containers may have got exclusive CPUs meanwhile: any part of the grant is good. */
static int read_back(struct work *work, struct stow_placed *placed, struct stow_err *err)
{
	const struct stow_record *record = placed->record;
	struct stow_idset wanted = record->cpus;
	char a[160], b[160];
	int r;

	if (!record->exclusive) {
		r = view_cpus(work, err);
		if (r == 0)
			r = stow_cpu_view_base(&work->view, record, false, &wanted, err);
		if (r < 0)
			return r;
	}
	r = stow_cpuset_read_cpus(placed->cgroup, true, &placed->cpus, err);
	if (r == 0)
		r = stow_cpuset_read_mems(placed->cgroup, true, &placed->mems, err);
	if (r < 0)
		return r;
	if (!stow_idset_subset(&placed->cpus, &wanted))
		return stow_err_set(err, EIO,
				    "cgroup %s has CPUs %s in effect instead of %s: a cgroup above "
				    "allows no more (AllowedCPUs= of its slice?)",
				    placed->cgroup->path,
				    stow_idset_format(&placed->cpus, a, sizeof(a)),
				    stow_idset_format(&wanted, b, sizeof(b)));
	if (!stow_idset_empty(&record->nodes) && !stow_idset_subset(&placed->mems, &record->nodes))
		return stow_err_set(err, EIO,
				    "cgroup %s has memory of NUMA nodes %s in effect instead of "
				    "%s: a cgroup above allows no more (AllowedMemoryNodes= of "
				    "its slice?)",
				    placed->cgroup->path,
				    stow_idset_format(&placed->mems, a, sizeof(a)),
				    stow_idset_format(&record->nodes, b, sizeof(b)));
	return 0;
}

/* Reserve with the topology of the plan, unless it is old: systemd answers late when it has much to
 * do, and free memory changes. */
static void prepare_reserve(struct work *work)
{
	work->context.made = &work->planned;
	work->context.topology = &work->topology;
	if (stow_clock_elapsed(work->read, stow_clock_monotonic()) <= TOPOLOGY_AGE_MAX)
		return;
	stow_topology_free(work->topology);
	work->topology = NULL;
}

int stow_program_place(const struct stow_grant_context *context, const struct stow_program *program,
		       struct stow_placed *ret, struct stow_refusal **ret_refusal,
		       struct stow_err *err)
{
	_cleanup_(work_done) struct work work = { .context = *context, .program = program };
	struct stow_subject subject = { .id = program->name,
					.name = program->name,
					.init = context->self };
	struct stow_err why = { 0 };
	int r;

	*ret = (struct stow_placed){ 0 };
	*ret_refusal = NULL;
	r = check_free(context, program->name, err);
	if (r == 0)
		r = plan_first(&work, ret_refusal, err);
	if (r == 0)
		r = join(&work, ret, err);
	if (r < 0)
		return r;
	subject.cgroup = ret->cgroup;
	prepare_reserve(&work);
	r = stow_grant_reserve(&work.context, &subject, program->request, NULL, 0, &ret->record,
			       ret_refusal, err);
	if (r < 0)
		return r;
	r = stow_grant_enact(&work.context, ret->record, program->request, true, ret->cgroup,
			     &ret->problems, &why);
	if (r == 0)
		r = read_back(&work, ret, &why);
	if (r == 0)
		return 0;
	(void)stow_program_undo(context, ret->record, why.msg, NULL);
	return stow_err_move(err, r, &why);
}

int stow_program_undo(const struct stow_grant_context *context, const struct stow_record *record,
		      const char *text, struct stow_err *err)
{
	/* The process ends next, and its cgroup with it: there is nothing to restore in it. */
	return stow_grant_undo(context, record, NULL, "undone", text, err);
}
