/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The cpuset controller of one container's cgroup, v1 and v2
 * (Documentation/admin-guide/cgroup-v2.rst, "Cpuset"; cgroup-v1/cpusets.rst).
 *
 * v2: the kernel accepts any set. Of a set take effect the CPUs that are online and that the cgroup
 * above has; when there are none, the whole set of the cgroup above takes effect.
 * v1: a set must lie within the one of the cgroup above and contain those of the cgroups below, and
 * only online CPUs are accepted. A CPU that goes offline leaves every set for good. When a set
 * becomes empty, the kernel moves its processes to the cgroup above.
 */

#include "cgroup/cgroup.h"

struct stow_cpuset {
	struct stow_idset cpus, mems; /* as configured; empty on v2: whatever is above */
	struct stow_idset cpus_effective, mems_effective;
};

/* Returns the name of one of the four files as this mount has it. */
const char *stow_cpuset_file(const struct stow_cgroup *cgroup, bool cpus, bool effective);

/* Reads all four files. -ENOTSUP: no cpuset controller, with a line that says what to enable. */
int stow_cpuset_read(const struct stow_cgroup *cgroup, struct stow_cpuset *ret,
		     struct stow_err *err);
/* Read one of the four files. */
int stow_cpuset_read_cpus(const struct stow_cgroup *cgroup, bool effective, struct stow_idset *ret,
			  struct stow_err *err);
int stow_cpuset_read_mems(const struct stow_cgroup *cgroup, bool effective, struct stow_idset *ret,
			  struct stow_err *err);

/* Reads the CPUs (or nodes) that take effect in the cgroup above; for the topmost cgroup its own. */
int stow_cpuset_read_above(const struct stow_cgroup *cgroup, bool cpus, struct stow_idset *ret,
			   struct stow_err *err);

/* Reads what takes effect in one of the cgroups above: the one that the first `len` bytes of
 * `below` name, the path below the mount (cgroup->at[].below). */
int stow_cpuset_read_at(const struct stow_cgroup *cgroup, const char *below, size_t len, bool cpus,
			struct stow_idset *ret, struct stow_err *err);

/*
 * Write cpuset.cpus or cpuset.mems, unless the file has the same set already (before Linux 6.2 such
 * a write takes away the affinity that threads gave themselves). `set` must not be empty. On v1 the
 * cgroups below follow: one that had the whole set gets the new one, another one keeps its part of
 * it; and cpuset.memory_migrate is set before mems, so that pages follow as they always do on v2.
 * Return 1 when something was written, 0 when nothing was to be done. Only lib/grant/apply.c and
 * apply_mems.c call these.
 */
int stow_cpuset_write_cpus(const struct stow_cgroup *cgroup, const struct stow_idset *set,
			   struct stow_err *err);
/* The same for a caller who has read what cpuset.cpus says, `now`. */
int stow_cpuset_change_cpus(const struct stow_cgroup *cgroup, const struct stow_idset *now,
			    const struct stow_idset *set, struct stow_err *err);
int stow_cpuset_write_mems(const struct stow_cgroup *cgroup, const struct stow_idset *set,
			   struct stow_err *err);

/*
 * v1: gives CPUs back to the cgroups above. The kernel takes a CPU that goes offline from all
 * cgroups, and gives it back to the topmost alone. A cgroup that lacks more of what the one above
 * it has than `returned` and `own` was made so on purpose, and gets of these only `own`: CPUs that
 * are the container's, which it had. Does nothing on v2.
 * Returns 1 when something was written.
 */
int stow_cpuset_give_back_above(const struct stow_cgroup *cgroup, const struct stow_idset *returned,
				const struct stow_idset *own, struct stow_err *err);

/*
 * v1: moves processes back that the kernel has put into the cgroup above, because a set had become
 * empty. They are those that the container's cgroup of another hierarchy still has. Returns how
 * many were moved. -ESRCH: the cgroup is empty, and no other hierarchy knows its processes.
 */
int stow_cpuset_take_back(const struct stow_cgroup *cgroup, struct stow_err *err);

/*
 * Partitions (v2, Linux 6.7; "Cpuset Interface Files" in cgroup-v2.rst). `dir` is a cgroup's
 * directory. A remote partition is a cgroup that has "isolated" in cpuset.cpus.partition and its
 * CPUs in cpuset.cpus.exclusive, its own and that of every cgroup above but the topmost, which has
 * no such file. Only lib/grant/partition.c writes these.
 */

/* Reads cpuset.cpus.exclusive. -ENOENT: the kernel has no such file, or the cgroup is gone. */
int stow_cpuset_read_exclusive(struct stow_root *dir, struct stow_idset *ret, struct stow_err *err);
/* Writes what differs; an empty set takes it back. */
int stow_cpuset_write_exclusive(struct stow_root *dir, const struct stow_idset *set,
				struct stow_err *err);

/* Reads cpuset.cpus.exclusive.effective. In a valid partition: its CPUs, offline ones and those
 * that it has given to partitions below it among them. */
int stow_cpuset_read_held(struct stow_root *dir, struct stow_idset *ret, struct stow_err *err);

#define STOW_PARTITION_TEXT 128
/* Reads cpuset.cpus.partition: "member", "isolated", "isolated invalid (REASON)", or what another
 * tool has made it. */
int stow_cpuset_read_partition(struct stow_root *dir, char buf[static STOW_PARTITION_TEXT],
			       struct stow_err *err);
/* Writes "isolated" or "member". The kernel takes "isolated" also where it cannot be: read it back.
 */
int stow_cpuset_write_partition(struct stow_root *dir, bool isolated, struct stow_err *err);

/* Reads the CPUs of all isolated partitions of the machine, as the topmost cgroup has them. */
int stow_cpuset_read_isolated(const struct stow_cgroup *cgroup, struct stow_idset *ret,
			      struct stow_err *err);
