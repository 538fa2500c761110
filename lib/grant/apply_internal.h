/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One run of the applier: shared by apply.c, apply_one.c, apply_wanted.c and apply_pods.c.
 */

#include "cgroup/cpuset.h"
#include "cgroup/peek.h"
#include "grant/applied.h"
#include "grant/apply.h"
#include "grant/cpuview.h"
#include "grant/enforce.h"
#include "grant/unmanaged.h"

struct apply_run {
	struct stow_root *root;
	const struct stow_apply_options *options;
	struct stow_apply_result *result;
	struct stow_cpu_view view;
	struct stow_applied before; /* what the last run was for */
	struct stow_idset returned; /* CPUs that are online, and were not in the last run */
	struct stow_idset withheld; /* came online, but a cgroup above lacks them */
	struct stow_idset narrow; /* CPUs that a set may lack because the cgroup above lacks them */
	struct stow_unit_sets units;
	bool same; /* the last run was for the same CPUs: few sets need a write */
	struct stow_peek peek;
	/* CPUs of the last few parent cgroups: most containers share a parent. */
	struct apply_above {
		char *path;
		struct stow_idset cpus;
	} above[8];
	size_t n_above;
};

/* A container, or a cgroup of kubelet. Either `record` or `entry` is set. */
struct apply_container {
	const char *id;
	const struct stow_cgroup_id *cgroup_id;
	const struct stow_record *record;
	struct stow_unmanaged *entry;
	struct stow_idset below; /* exclusive CPUs of containers below a cgroup of kubelet */
	struct stow_cgroup *cgroup;
	bool lent;		     /* the caller opened the cgroup, and closes it */
	struct stow_idset above;     /* CPUs of the cgroup above */
	struct stow_idset base;	     /* CPUs that it may use when none is exclusive */
	struct stow_idset wanted;    /* CPUs that its set must have, offline ones included */
	struct stow_idset effective; /* cpuset.cpus.effective */
	struct stow_idset now;	     /* cpuset.cpus */
	bool now_known;
	bool fallback; /* none of its own CPUs is available */
	bool starts;   /* the caller's own container: write its set in any case */
	bool grows;    /* add CPUs only, and none that is exclusive */
	bool apart;    /* v1: the cgroups below must not follow when it gets CPUs */
	bool refused;  /* fail when all its CPUs belong to other containers: it starts, or moves */
};

static inline bool apply_is_v1(const struct apply_container *c)
{
	return c->cgroup->at[STOW_CGROUP_CPUSET].version == 1;
}

/* Return whether the applier must give the container its repin's target already. */
static inline bool apply_is_moved(const struct stow_record *record)
{
	return record->move && record->move->step >= STOW_MOVE_WIDENED;
}

/* apply_wanted.c: read the CPUs of the cgroup above, which apply_run caches; drop that cache. */
int apply_read_above(struct apply_run *run, const struct apply_container *c, struct stow_idset *ret,
		     struct stow_err *err);
void apply_forget_above(struct apply_run *run);
/* Compute `base`, `wanted` and `fallback`. `above` must be set. */
int apply_compute_wanted(struct apply_run *run, struct apply_container *c, struct stow_err *err);
/* Compute which CPUs of `wanted` can take effect. */
void apply_wanted_effective(const struct apply_run *run, const struct apply_container *c,
			    struct stow_idset *ret);

/* apply_one.c: apply one container. Return its failure, which is in the result already. */
int apply_one(struct apply_run *run, struct apply_container *c, struct stow_err *err);
/* Add a problem to the result. Drop it when memory is short. */
void apply_add_problem(struct apply_run *run, const struct apply_container *c, const char *text);

/* apply_pods.c: kubelet's cgroups in one run. Initialise as { .run, .records, .n }. */
struct apply_pods {
	struct apply_run *run;
	struct stow_record **records;
	size_t n;
	bool on;     /* stow_pods_are_on() */
	bool active; /* ... and there are exclusive CPUs */
	struct apply_unit *units;
	size_t n_units;
};

/* Find the cgroups, and record those that are new. A failure is a problem of the run. */
void apply_pods_find(struct apply_pods *pods);
/* Apply the cgroups without exclusive CPUs below them, from the leaves up. */
void apply_pods_leaves(struct apply_pods *pods);
/* Apply the others, from the top down; then those that were made meanwhile. */
void apply_pods_parents(struct apply_pods *pods);
void apply_pods_done(struct apply_pods *pods);
/* Return whether the container needs CPUs of kubelet's cgroups. */
bool apply_pods_concern(struct stow_root *root, const struct stow_record *record);
