/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The cpuset controller of one container's cgroup, v1 and v2
 * (Documentation/admin-guide/cgroup-v2.rst, "Cpuset"; cgroup-v1/cpusets.rst).
 *
 * v2: the kernel accepts any set. The CPUs of a set that take effect are those that are online and
 * in the set of the cgroup above; when there are none, the whole set of the cgroup above takes
 * effect. v1: a set must lie within the set of the cgroup above and contain the sets of the cgroups
 * below, and only online CPUs are accepted. A CPU that goes offline leaves every set for good. When
 * a set becomes empty, the kernel moves its processes to the cgroup above.
 */

#include "cgroup/cgroup.h"

struct stow_cpuset {
	struct stow_idset cpus, mems; /* as configured; empty on v2: the set of the cgroup above */
	struct stow_idset cpus_effective, mems_effective;
};

/* Return the name of one of the four files as this mount has it. */
const char *stow_cpuset_file(const struct stow_cgroup *cgroup, bool cpus, bool effective);

/* Read all four files. -ENOTSUP: no cpuset controller; the message says what to enable. */
int stow_cpuset_read(const struct stow_cgroup *cgroup, struct stow_cpuset *ret,
		     struct stow_err *err);
/* Read one of the four files. */
int stow_cpuset_read_cpus(const struct stow_cgroup *cgroup, bool effective, struct stow_idset *ret,
			  struct stow_err *err);
int stow_cpuset_read_mems(const struct stow_cgroup *cgroup, bool effective, struct stow_idset *ret,
			  struct stow_err *err);

/* Read the CPUs (or nodes) that a runtime, or another program, has given to the cgroup. Empty:
 * none, those of the cgroup above are in effect (on v1 the cgroup has a copy of them). */
int stow_cpuset_read_given(const struct stow_cgroup *cgroup, bool cpus, struct stow_idset *ret,
			   struct stow_err *err);

/* Read the CPUs (or nodes) that take effect in the cgroup above; for the topmost cgroup, its
 * own. */
int stow_cpuset_read_above(const struct stow_cgroup *cgroup, bool cpus, struct stow_idset *ret,
			   struct stow_err *err);

/* Read what the cgroup may get: `cpus_effective` and `mems_effective` are what takes effect in the
 * cgroup above, within what its runtime has given to it (empty sets: no bound). */
int stow_cpuset_read_allowed(const struct stow_cgroup *cgroup, const struct stow_idset *given_cpus,
			     const struct stow_idset *given_mems, struct stow_cpuset *ret,
			     struct stow_err *err);

/* Read what takes effect in one of the cgroups above: the cgroup that the first `len` bytes of
 * `below` name. `below` is a path below the mount (cgroup->at[].below). */
int stow_cpuset_read_at(const struct stow_cgroup *cgroup, const char *below, size_t len, bool cpus,
			struct stow_idset *ret, struct stow_err *err);

/*
 * Write cpuset.cpus or cpuset.mems, unless the file has the same set already (before Linux 6.2 such
 * a write resets the affinity that threads have set themselves). `set` must not be empty. On v1 the
 * cgroups below follow: a cgroup that had the whole set gets the whole new set, any other keeps its
 * part of it; and cpuset.memory_migrate is set before mems, so that pages follow as they always do
 * on v2. Return 1 when something was written, otherwise 0. Only lib/grant/apply.c and apply_mems.c
 * call these, and bind.c for cgroups that are no container's.
 */
/* `now`: cpuset.cpus, as the caller has read it. */
int stow_cpuset_change_cpus(const struct stow_cgroup *cgroup, const struct stow_idset *now,
			    const struct stow_idset *set, struct stow_err *err);
int stow_cpuset_write_mems(const struct stow_cgroup *cgroup, const struct stow_idset *set,
			   struct stow_err *err);

/* v1: add to the cgroup's set the CPUs of `set` that it lacks, leave the cgroups below it as they
 * are, and add them to *now, the present set. Do nothing on v2, where only sets that are empty
 * follow. */
int stow_cpuset_widen_cpus(const struct stow_cgroup *cgroup, struct stow_idset *now,
			   const struct stow_idset *set, struct stow_err *err);
/* v2: empty the cgroup's set, so that it has that of the cgroup above. -ENOSPC: it has
 * processes. */
int stow_cpuset_clear_cpus(const struct stow_cgroup *cgroup, struct stow_err *err);

/*
 * v1: give CPUs back to the cgroups above. The kernel removes a CPU that goes offline from all
 * cgroups, and gives it back only to the topmost. A cgroup that lacks more of its parent's set than
 * `returned` and `own` was restricted on purpose: of these CPUs it gets only `own`, the CPUs of the
 * container, which it had before. No CPU counts but those in `online`: others may have come online
 * since the caller has looked, and are for its next call. Do nothing on v2. Return 1 when something
 * was written.
 */
int stow_cpuset_give_back_above(const struct stow_cgroup *cgroup, const struct stow_idset *online,
				const struct stow_idset *returned, const struct stow_idset *own,
				struct stow_err *err);

/*
 * v1: move processes back that the kernel has moved into the cgroup above because a set had become
 * empty: processes that are still in the container's cgroup of another hierarchy. Return how many
 * were moved. -ESRCH: the cgroup is empty, and no other hierarchy has its processes.
 */
int stow_cpuset_take_back(const struct stow_cgroup *cgroup, struct stow_err *err);

/*
 * Partitions (v2, Linux 6.7; "Cpuset Interface Files" in cgroup-v2.rst). `dir` is a cgroup's
 * directory. A remote partition is a cgroup that has "isolated" in cpuset.cpus.partition and its
 * CPUs in cpuset.cpus.exclusive, its own and that of every cgroup above except the topmost, which
 * has no such file. Only lib/grant/partition.c writes these.
 */

/* Read cpuset.cpus.exclusive. -ENOENT: the kernel has no such file, or the cgroup is gone. */
int stow_cpuset_read_exclusive(struct stow_root *dir, struct stow_idset *ret, struct stow_err *err);
/* Write cpuset.cpus.exclusive if it differs; an empty set resets it. */
int stow_cpuset_write_exclusive(struct stow_root *dir, const struct stow_idset *set,
				struct stow_err *err);

/* Read cpuset.cpus.exclusive.effective: in a valid partition its CPUs, including offline CPUs and
 * CPUs that it has given to partitions below it. */
int stow_cpuset_read_held(struct stow_root *dir, struct stow_idset *ret, struct stow_err *err);

#define STOW_PARTITION_TEXT 128
/* Read cpuset.cpus.partition: "member", "isolated", "isolated invalid (REASON)", or another type
 * that another tool has set. */
int stow_cpuset_read_partition(struct stow_root *dir, char buf[static STOW_PARTITION_TEXT],
			       struct stow_err *err);
/* Write "isolated" or "member". The kernel accepts "isolated" also where it is impossible: read it
 * back. */
int stow_cpuset_write_partition(struct stow_root *dir, bool isolated, struct stow_err *err);

/* Read the CPUs of all isolated partitions of the machine, from the topmost cgroup. */
int stow_cpuset_read_isolated(const struct stow_cgroup *cgroup, struct stow_idset *ret,
			      struct stow_err *err);
