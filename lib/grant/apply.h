/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The applier: makes every container's cpuset what the ledger and the kernel's present state say it
 * must be. It is the only code that writes cpuset.cpus and cpuset.mems.
 *
 * It computes what each container must have (lib/grant/cpuview.h), reads what is in effect, and
 * writes what differs. So any program may run it, at any time, as often as it likes, also after
 * another run was killed half way; a second run finds nothing to do. Callers decide by changing the
 * ledger; then they apply.
 *
 * CPUs are written under one lock, /run/numastow/cpus.lock: first the containers that lose CPUs,
 * then those that get them. Memory nodes are written under a lock for each record, because such a
 * write lasts until the pages have moved, and a container that starts waits for the CPUs' lock.
 *
 * /run/numastow/exclusive has the exclusive CPUs as a list, for the hook of unmanaged containers;
 * it is missing when there are none. Starting and taking must not miss each other: the hook of an
 * unmanaged container first enters the container and then reads `exclusive`; a program that takes
 * CPUs first writes `exclusive` and then reads which containers there are. So at least one of them
 * sees the other.
 *
 * /run/numastow/applied says what the last run was for: the online CPUs and the exclusive ones.
 * By it, a start knows in one read that other containers need nothing, and a run knows the sets
 * that it has written itself from those that another tool has changed since. What another tool has
 * changed in a container with a grant is put back; where an agent runs, the agent decides about it
 * (lib/grant/reconcile.h), as long as the set has no CPUs of other containers.
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
	const struct stow_cgroup *cgroup; /* of the container in focus, if it is open already */
};

/* A container that is not what it must be. */
struct stow_apply_problem {
	char id[STOW_ID_MAX + 1];
	struct stow_idset taken; /* CPUs of other containers that it may run on; empty: none */
	bool partition;		 /* its CPUs are its own, but not isolated */
	char text[512];		 /* one line */
};

struct stow_apply_result {
	size_t looked, changed;
	size_t left; /* sets that another tool has changed, and that were left */
	struct stow_apply_problem *problems;
	size_t n_problems;
};

/* Frees the problems; the result is empty then. */
void stow_apply_result_done(struct stow_apply_result *result);

/*
 * Applies the CPUs of all containers. A container's failure becomes a problem in the result, and
 * the run goes on with the next one. What is returned is a failure of the machine's own files, or
 * of the container in focus. `ret` may be NULL; else it is freed with stow_apply_result_done(),
 * also after a failure.
 */
int stow_apply(const struct stow_grant_context *context, const struct stow_apply_options *options,
	       struct stow_apply_result *ret, struct stow_err *err);

/* Says whether the last run was for the exclusive and online CPUs that there are now, and came to
 * its end: a query and two small files. */
bool stow_apply_is_current(const struct stow_grant_context *context);

/* Computes, as a run does, the online CPUs that a record's container must have in its set now, with
 * its cgroup open; empty when that cannot be told. */
void stow_apply_expected(struct stow_cpu_view *view, const struct stow_record *record,
			 struct stow_cgroup *cgroup, struct stow_idset *ret);

/* Takes the lock under which CPU sets are written. Returns a descriptor to close. */
int stow_apply_lock(struct stow_root *root, struct stow_err *err);

/* Applies what the start of a shared container needs: its own CPUs; and those of all containers
 * only when the last run was for other exclusive or online CPUs than there are now. */
int stow_apply_start(const struct stow_grant_context *context, int64_t key,
		     struct stow_apply_result *ret, struct stow_err *err);

/* Apply the same, and its memory nodes, for the program that works on a pending record, which
 * nobody else changes meanwhile: the record and its open cgroup are taken as they are. */
int stow_apply_pending(const struct stow_grant_context *context, const struct stow_record *record,
		       const struct stow_cgroup *cgroup, struct stow_apply_result *ret,
		       struct stow_err *err);
int stow_apply_pending_mems(const struct stow_record *record, const struct stow_cgroup *cgroup,
			    struct stow_err *err);

/* Returns -EBUSY when a container could not be moved away from CPUs of `cpus`, with a line that
 * names it. */
int stow_apply_check(const struct stow_apply_result *result, const struct stow_idset *cpus,
		     struct stow_err *err);

/* Enters an unmanaged container that starts, and keeps it off exclusive CPUs if there are any.
 * -EBUSY: it may run on CPUs of other containers. */
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

/* Gives a container that loses its grant and lives on the memory nodes that it was started with. */
int stow_apply_given_mems(const struct stow_grant_context *context,
			  const struct stow_record *record, const struct stow_cgroup *cgroup,
			  struct stow_err *err);
