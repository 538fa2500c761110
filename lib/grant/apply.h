/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The applier: sets every container's cpuset to what follows from the ledger and the kernel's
 * present state. It is the only code that writes cpuset.cpus and cpuset.mems.
 *
 * It computes what each container must have (lib/grant/cpuview.h), reads what is in effect, and
 * writes what differs. Any program may therefore run it at any time and as often as it likes, also
 * after another run was killed half way; a second run finds nothing to do. A caller that wants a
 * change writes it into the ledger and then runs the applier.
 *
 * CPUs are written under one lock, /run/numastow/cpus.lock: first the sets of containers that lose
 * CPUs, then the sets of containers that gain them. Memory nodes are written under a lock for each
 * record, because such a write lasts until the pages have moved, while every starting container
 * waits for the CPU lock.
 *
 * /run/numastow/exclusive lists the exclusive CPUs, for the hook of unmanaged containers; it is
 * missing when there are none. A container that starts and a program that makes CPUs exclusive must
 * not miss each other: the hook of an unmanaged container first enters the container and then reads
 * `exclusive`; a program that makes CPUs exclusive first writes `exclusive` and then lists the
 * containers. At least one of the two therefore sees the other.
 *
 * /run/numastow/applied records the online and exclusive CPUs of the last run. From it, the hook
 * learns in one read that other containers need no change, and the applier distinguishes the sets
 * that it wrote itself from those that another tool has changed since. What another tool has
 * changed in a container with a grant is reverted; where an agent runs, the agent decides
 * (lib/grant/reconcile.h), as long as the set has no CPUs of other containers.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "grant/context.h"
#include "grant/cpuview.h"
#include "grant/unmanaged.h"

struct stow_apply_options {
	int64_t focus; /* key of the caller's own record, which must succeed; or 0 */
	bool thorough; /* on cgroup v1, look for processes that the kernel has moved away */
	const struct stow_cgroup *cgroup; /* of the record in focus, if it is open already */
	/* The set that systemd made the unit of the record in focus with, just before; or NULL. */
	const struct stow_idset *unit_cpus;
};

/* A container whose CPU set is not as it must be. */
struct stow_apply_problem {
	char id[STOW_ID_MAX + 1];
	struct stow_idset taken; /* CPUs of other containers that it may run on; may be empty */
	bool partition;		 /* its CPUs are exclusive, but not a valid partition */
	char text[512];		 /* one line */
};

struct stow_apply_result {
	size_t looked, changed;
	size_t left; /* sets that another tool has changed and the run left alone */
	struct stow_apply_problem *problems;
	size_t n_problems;
};

/* Add a problem of a container; `taken`: CPUs of other containers that it may run on. Without
 * memory it is left out. */
void stow_apply_result_add(struct stow_apply_result *result, const char *id,
			   const struct stow_idset *taken, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Free the problems and make the result empty. */
void stow_apply_result_done(struct stow_apply_result *result);

/*
 * Apply the CPU sets of all containers. A container's failure becomes a problem in the result, and
 * the run continues with the next container. Return a failure of the machine's own files, or of the
 * container in focus. `ret` may be NULL; otherwise free it with stow_apply_result_done(), also
 * after a failure.
 */
int stow_apply(const struct stow_grant_context *context, const struct stow_apply_options *options,
	       struct stow_apply_result *ret, struct stow_err *err);

/* Return whether the last run finished and was for the present exclusive and online CPUs. Costs one
 * query and two small files. */
bool stow_apply_is_current(const struct stow_grant_context *context);

/* Compute, as a run does, the online CPUs that the CPU set of the record's container must have now.
 * `cgroup` is the container's, open. Empty when they cannot be computed. */
void stow_apply_expected(struct stow_cpu_view *view, const struct stow_record *record,
			 struct stow_cgroup *cgroup, struct stow_idset *ret);

/* Take the lock under which CPU sets are written. Return a descriptor to close. */
int stow_apply_lock(struct stow_root *root, struct stow_err *err);

/* Apply what a starting shared container needs: its own CPU set; and the sets of all containers
 * only when the exclusive or online CPUs have changed since the last run. */
int stow_apply_start(const struct stow_grant_context *context, int64_t key, struct stow_err *err);

/* Apply the same, and the memory nodes, for the program that works on a pending record. No other
 * program changes a pending record, so the record and its open cgroup are used without reading them
 * again. */
int stow_apply_pending(const struct stow_grant_context *context, const struct stow_record *record,
		       const struct stow_cgroup *cgroup, struct stow_apply_result *ret,
		       struct stow_err *err);
int stow_apply_pending_mems(const struct stow_record *record, const struct stow_cgroup *cgroup,
			    struct stow_err *err);

/* Apply the CPU sets of kubelet's cgroups (lib/grant/pods.h); and the sets of all containers only
 * when the exclusive or online CPUs have changed since the last run. */
int stow_apply_pods(const struct stow_grant_context *context, struct stow_apply_result *ret,
		    struct stow_err *err);

/* Return -EBUSY, with the name of the container, when a container could not be moved off the CPUs
 * of `cpus`. */
int stow_apply_check(const struct stow_apply_result *result, const struct stow_idset *cpus,
		     struct stow_err *err);

/* Enter an unmanaged container that starts, and keep it off exclusive CPUs if there are any, also
 * when it cannot be entered. -EBUSY: it may run on CPUs of other containers. */
int stow_apply_unmanaged(struct stow_root *root, const struct stow_unmanaged *container,
			 struct stow_err *err);
/* Check a container for which that failed, by its first process. -EBUSY, with `why`: it may run on
 * CPUs of other containers, or there are some and its own cannot be read. 0: it does not, or has
 * ended. */
int stow_apply_check_process(struct stow_root *root, pid_t pid, const char *why,
			     struct stow_err *err);

/* Apply the memory nodes of one record, or with key 0 of all active records (where an agent runs:
 * only of records with a move, or without any node left); then continue after a failure and return
 * the first. Takes no lock that a starting container waits for. */
int stow_apply_mems(const struct stow_grant_context *context, int64_t key, struct stow_err *err);

/* Apply memory nodes after `came` have come online. On cgroup v1 the kernel removed them from every
 * set for good: write again the sets that lack nothing but nodes of `came`. */
int stow_apply_mems_back(const struct stow_grant_context *context, const struct stow_idset *came,
			 struct stow_err *err);

/* Give a container that loses its grant and continues to run the memory nodes that it was started
 * with. */
int stow_apply_given_mems(const struct stow_grant_context *context,
			  const struct stow_record *record, const struct stow_cgroup *cgroup,
			  struct stow_err *err);
