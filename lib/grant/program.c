// SPDX-License-Identifier: Apache-2.0
#include "grant/program.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cgroup/cpuset.h"
#include "grant/cpuview.h"
#include "grant/gc.h"

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

/* Plan without reserving: most refusals come before anything was changed. When there is no room,
 * reclaim what ended containers hold, and plan again. */
static int plan_first(const struct stow_grant_context *context, const struct stow_subject *subject,
		      const struct stow_request *request, struct stow_refusal **ret_refusal,
		      struct stow_err *err)
{
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	struct stow_gc_result swept;
	int r;

	r = stow_grant_plan(context, subject, request, &plan, ret_refusal, err);
	if (r != -ENOSPC)
		return r;
	(void)stow_gc(context, &swept, NULL);
	stow_gc_result_done(&swept);
	stow_refusal_free(*ret_refusal);
	*ret_refusal = NULL;
	return stow_grant_plan(context, subject, request, &plan, ret_refusal, err);
}

/* Join, and identify the cgroup as a hook does: once, before any of the program's code runs. */
static int join(const struct stow_grant_context *context, const struct stow_program *program,
		struct stow_placed *placed, struct stow_err *err)
{
	char before[16384];
	int r;

	r = stow_root_read_buf(context->root, before, sizeof(before), err, "/proc/%d/cgroup",
			       (int)context->self.pid);
	if (r >= 0)
		r = program->join(program->ctx, err);
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
static int read_back(const struct stow_grant_context *context, struct stow_placed *placed,
		     struct stow_err *err)
{
	const struct stow_record *record = placed->record;
	struct stow_idset wanted = record->cpus;
	char a[160], b[160];
	int r;

	if (!record->exclusive) {
		struct stow_cpu_view view;

		r = stow_cpu_view_read(context->root, context->config, context->ledger, &view, err);
		if (r < 0)
			return r;
		r = stow_cpu_view_base(&view, record, false, &wanted, err);
		stow_cpu_view_done(&view);
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

int stow_program_place(const struct stow_grant_context *context, const struct stow_program *program,
		       struct stow_placed *ret, struct stow_refusal **ret_refusal,
		       struct stow_err *err)
{
	struct stow_subject subject = { .id = program->name,
					.name = program->name,
					.init = context->self };
	struct stow_err why = { 0 };
	int r;

	*ret = (struct stow_placed){ 0 };
	*ret_refusal = NULL;
	r = check_free(context, program->name, err);
	if (r == 0)
		r = plan_first(context, &subject, program->request, ret_refusal, err);
	if (r == 0)
		r = join(context, program, ret, err);
	if (r < 0)
		return r;
	subject.cgroup = ret->cgroup;
	r = stow_grant_reserve(context, &subject, program->request, NULL, 0, &ret->record,
			       ret_refusal, err);
	if (r < 0)
		return r;
	r = stow_grant_enact(context, ret->record, program->request, true, ret->cgroup,
			     &ret->problems, &why);
	if (r == 0)
		r = read_back(context, ret, &why);
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
