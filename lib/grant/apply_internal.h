/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One run of the applier: between the files of lib/grant that are it. */

#include "cgroup/cpuset.h"
#include "cgroup/peek.h"
#include "grant/applied.h"
#include "grant/apply.h"
#include "grant/cpuview.h"
#include "grant/enforce.h"
#include "grant/unmanaged.h"

/* One run. */
struct apply_run {
	struct stow_root *root;
	const struct stow_apply_options *options;
	struct stow_apply_result *result;
	struct stow_cpu_view view;
	struct stow_applied before; /* what the last run was for */
	struct stow_idset returned; /* CPUs that are online, and were not then */
	struct stow_idset owed;	    /* of them, those that a cgroup above could not be given */
	struct stow_idset
		narrow; /* CPUs that some set may lack: the cgroup above has not got them */
	struct stow_unit_sets units;
	bool same; /* the last run was for the same CPUs: most are as they must be */
	struct stow_peek peek;
	/* What the cgroup above has, of the last few cgroups above: most containers share one. */
	struct apply_above {
		char *path;
		struct stow_idset cpus;
	} above[8];
	size_t n_above;
};

/* A container: one of `record` and `entry` is set. */
struct apply_container {
	const char *id;
	const struct stow_cgroup_id *cgroup_id;
	const struct stow_record *record;
	struct stow_unmanaged *entry;
	struct stow_cgroup *cgroup;
	bool lent;		     /* the cgroup is the caller's, who has it open */
	struct stow_idset above;     /* CPUs that the cgroup above has */
	struct stow_idset base;	     /* what it may use when nothing is exclusive */
	struct stow_idset wanted;    /* what it must have; offline ones too */
	struct stow_idset effective; /* what it has */
	struct stow_idset now;	     /* what its file says */
	bool now_known;
	bool fallback; /* none of its own CPUs is to be had */
	bool starts;   /* the caller's own: whatever its set says now, it is to be written */
	bool refused;  /* when all its CPUs are other containers': it starts, or moves there */
};

static inline bool apply_is_v1(const struct apply_container *c)
{
	return c->cgroup->at[STOW_CGROUP_CPUSET].version == 1;
}

/* Whether the record's container is to have its repin's target already. */
static inline bool apply_is_moved(const struct stow_record *record)
{
	return record->move && record->move->step >= STOW_MOVE_WIDENED;
}

/* apply_wanted.c: reads what the cgroup above has; forgets what was read of all of them. */
int apply_read_above(struct apply_run *run, const struct apply_container *c, struct stow_idset *ret,
		     struct stow_err *err);
void apply_forget_above(struct apply_run *run);
/* Computes `base`, `wanted` and `fallback`; `above` is known. */
int apply_compute_wanted(struct apply_run *run, struct apply_container *c, struct stow_err *err);
/* What takes effect of `wanted`. */
void apply_wanted_effective(const struct apply_run *run, const struct apply_container *c,
			    struct stow_idset *ret);

/* apply_one.c: applies one container. Returns its own failure, which is in the result already. */
int apply_one(struct apply_run *run, struct apply_container *c, struct stow_err *err);
/* Adds a problem; without memory for one, it is not reported. */
void apply_add_problem(struct apply_run *run, const struct apply_container *c, const char *text);
