/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The cpuset controller of one container's cgroup, v1 and v2
 * (Documentation/admin-guide/cgroup-v2.rst, "Cpuset"; cgroup-v1/cpusets.rst).
 *
 * v2: any set is accepted. What takes effect is its part that the cgroup above has and that is
 * online, and when that is nothing, the whole set of the cgroup above.
 * v1: cpus and mems must lie within those of the cgroup above and contain those of the cgroups
 * below, and only online CPUs are accepted. A CPU that goes offline leaves every set for good, and
 * when a set becomes empty its processes are moved to the cgroup above.
 */

#include "node/cgroup.h"

struct stow_cpuset {
	struct stow_idset cpus, mems; /* as configured; empty on v2: whatever is above */
	struct stow_idset cpus_effective, mems_effective;
};

/* -ENOTSUP: no cpuset controller, with a line that says what to enable. */
int stow_cpuset_read(const struct stow_cgroup *cgroup, struct stow_cpuset *ret,
		     struct stow_err *err);
/* One of the four files. */
int stow_cpuset_read_cpus(const struct stow_cgroup *cgroup, bool effective, struct stow_idset *ret,
			  struct stow_err *err);
int stow_cpuset_read_mems(const struct stow_cgroup *cgroup, bool effective, struct stow_idset *ret,
			  struct stow_err *err);

/* The CPUs (or nodes) that take effect in the cgroup above; for the topmost its own. */
int stow_cpuset_read_above(const struct stow_cgroup *cgroup, bool cpus, struct stow_idset *ret,
			   struct stow_err *err);

/* What takes effect in a cgroup above, which is named by the first `len` bytes of `below`, the path
 * below the mount (cgroup->at[].below). */
int stow_cpuset_read_at(const struct stow_cgroup *cgroup, const char *below, size_t len, bool cpus,
			struct stow_idset *ret, struct stow_err *err);

/*
 * Writes cpuset.cpus or cpuset.mems (and nothing when the file says the same already: before Linux
 * 6.2 an equal write takes threads' own affinity away). `set` must not be empty. On v1 the cgroups
 * below follow: those that had the whole set get the new one, others their part of it; mems sets
 * cpuset.memory_migrate first, so that pages follow as they always do on v2. Returns 1 when
 * something was written, 0 when nothing was to be done. Only lib/grant/apply.c calls these.
 */
int stow_cpuset_write_cpus(const struct stow_cgroup *cgroup, const struct stow_idset *set,
			   struct stow_err *err);
int stow_cpuset_write_mems(const struct stow_cgroup *cgroup, const struct stow_idset *set,
			   struct stow_err *err);

/*
 * v1: gives the cgroups above CPUs back that the kernel took from all cgroups when they went
 * offline, and that it gives to the topmost alone when they are back. A cgroup that lacks more of
 * what the one above it has than `returned` and `own` was made so, and gets of these only `own`:
 * CPUs that are the container's, which it had. Nothing to do on v2.
 */
int stow_cpuset_give_back_above(const struct stow_cgroup *cgroup, const struct stow_idset *returned,
				const struct stow_idset *own, struct stow_err *err);

/*
 * v1: moves processes that the kernel has put into the cgroup above (because a set had become
 * empty) back. They are those that the container's cgroup of another hierarchy still has. Returns
 * how many were moved; -ESRCH: the cgroup is empty, and no other hierarchy knows its processes.
 */
int stow_cpuset_take_back(const struct stow_cgroup *cgroup, struct stow_err *err);
