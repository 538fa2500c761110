/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The applier: makes every container's cpuset what the ledger and the kernel's present state say it
 * must be. It is the only code that writes cpuset.cpus and cpuset.mems.
 *
 * It computes what each container must have (lib/grant/cpuview.h), looks at what takes effect, and
 * writes what differs. So it may be run by any program, at any time, as often as one likes, also
 * after another one was killed in the middle of it; a second run finds nothing to do. Its callers
 * decide by changing the ledger, and then apply.
 *
 * CPUs are written under one lock, /run/numastow/cpus.lock, containers that lose CPUs before those
 * that get them. Memory nodes are written under a lock for each record, because a write may take
 * as long as its pages take to move, and a container that starts waits for the lock of the CPUs.
 *
 * /run/numastow/exclusive has the exclusive CPUs as a list, for the hook of unmanaged containers;
 * it is missing when there are none. Starting and taking must not miss each other: a container that
 * starts enters itself and then reads `exclusive`; a program that takes CPUs writes `exclusive` and
 * then reads which containers there are. At least one of them sees the other.
 *
 * /run/numastow/applied says what the last run was for: the online CPUs and the exclusive ones.
 * With it, a start can tell in one read that there is nothing to do for others, and a run can tell
 * sets that it has written from those that another tool has changed since. Where an agent runs,
 * what another tool has changed in a container with a grant is the agent's to decide about
 * (lib/grant/reconcile.h), as long as it takes no CPUs of other containers.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "grant/cpuview.h"
#include "grant/grant.h"
#include "grant/unmanaged.h"

#define STOW_EXCLUSIVE_PATH STOW_RUN_DIR "/exclusive"
#define STOW_APPLIED_PATH   STOW_RUN_DIR "/applied"

struct stow_apply_options {
	int64_t focus; /* the record of the caller's own container, which must succeed; or 0 */
	bool thorough; /* on cgroup v1, look for processes that the kernel has moved away */
};

/* A container that is not what it must be. */
struct stow_apply_problem {
	char id[STOW_ID_MAX + 1];
	struct stow_idset taken; /* CPUs of other containers that it may run on; empty: none */
	char text[512];		 /* one line */
};

struct stow_apply_result {
	size_t looked, changed;
	size_t left; /* sets that another tool has changed, and that were left */
	struct stow_apply_problem *problems;
	size_t n_problems;
};

void stow_apply_result_done(struct stow_apply_result *result);

/*
 * Applies the CPUs of all containers. One container's failure is a problem in the result, and no
 * reason to leave the others as they are: what is returned is a failure of the machine's own files,
 * or of the container in focus. `ret` may be NULL.
 */
int stow_apply(const struct stow_grant_context *context, const struct stow_apply_options *options,
	       struct stow_apply_result *ret, struct stow_err *err);

/* Whether the last run was for the exclusive and online CPUs that there are now, and came to its
 * end: a look that costs a query and two small files. */
bool stow_apply_is_current(const struct stow_grant_context *context);

/* The online CPUs that a record's container must have in its set now, with its cgroup open.
 * Computed as a run does; empty when that cannot be told. */
void stow_apply_expected(struct stow_cpu_view *view, const struct stow_record *record,
			 struct stow_cgroup *cgroup, struct stow_idset *ret);

/* The lock of the CPU sets, under which they are written: a descriptor to close. */
int stow_apply_lock(struct stow_root *root, struct stow_err *err);

/* Applies what a start of a shared container needs: its own CPUs, and everybody's only when the
 * last run was for other exclusive or online CPUs than there are now. */
int stow_apply_start(const struct stow_grant_context *context, int64_t key,
		     struct stow_apply_result *ret, struct stow_err *err);

/* -EBUSY when a container may run on CPUs of `cpus`, with a line that names it. */
int stow_apply_check(const struct stow_apply_result *result, const struct stow_idset *cpus,
		     struct stow_err *err);

/* Enters an unmanaged container that starts, and keeps it off exclusive CPUs if there are any.
 * -EBUSY: it may run on CPUs of others. */
int stow_apply_unmanaged(struct stow_root *root, const struct stow_unmanaged *container,
			 struct stow_err *err);

/* Applies the memory nodes of one record, or with key 0 of all that are active (where an agent
 * runs, of those only that are being moved, or have lost theirs); it then goes on after a failure
 * and returns the first. Takes no lock that a start waits for. */
int stow_apply_mems(const struct stow_grant_context *context, int64_t key, struct stow_err *err);

/* After memory nodes have come (back): on cgroup v1 the kernel took them out of every set for good,
 * so sets that lack some of `came`, and nothing else, are written again. */
int stow_apply_mems_back(const struct stow_grant_context *context, const struct stow_idset *came,
			 struct stow_err *err);

/* Gives a container that lives without its grant from now on the memory nodes that it was started
 * with. */
int stow_apply_given_mems(const struct stow_grant_context *context,
			  const struct stow_record *record, const struct stow_cgroup *cgroup,
			  struct stow_err *err);
