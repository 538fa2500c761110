/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container's cgroup: cpuset, hugetlb and memory controllers, on cgroup v1 and v2 alike
 * (Documentation/admin-guide/cgroup-v2.rst; cgroup-v1/cpusets.rst, hugetlb.rst, memory.rst).
 *
 * The hierarchy of each controller is found in /proc/self/mountinfo, the cgroup in /proc/PID/cgroup.
 * The directories are opened once; every attribute is read and written relative to them, so that a
 * cgroup that is removed and made again under the same name is never mistaken for the old one.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"

enum stow_controller {
	STOW_CGROUP_CPUSET,
	STOW_CGROUP_HUGETLB,
	STOW_CGROUP_MEMORY,
	STOW_CGROUP_CONTROLLERS,
};

struct stow_cgroup {
	struct {
		int version;		  /* 1 or 2; 0: the controller is not to be had here */
		struct stow_root *dir;	  /* the cgroup's directory; NULL with version 0 */
		struct stow_root *parent; /* cpuset: the directory above; NULL for the topmost */
		bool on_v2;		  /* the directories are of the unified hierarchy */
		bool shared;		  /* and are another controller's, who frees them */
	} at[STOW_CGROUP_CONTROLLERS];
	char *membership; /* /proc/PID/cgroup as it was read */
	char *path;	  /* within the cpuset hierarchy, "/machine.slice/x.scope/container" */
	uint64_t inode;	  /* of the cpuset directory: tells two lives of one name apart */
};

/* The cgroup of a process. (Where hierarchies are mounted is read once for each root.) -ESRCH: no
 * such process. A controller that is not mounted or not enabled for this cgroup has version 0.
 * -ENOENT: no hierarchy at all. Free with stow_cgroup_free(). */
int stow_cgroup_of_pid(struct stow_root *root, pid_t pid, struct stow_cgroup **ret_cgroup,
		       struct stow_err *err);
/* The same with the cpuset controller alone: for looking at many containers. */
int stow_cpuset_of_pid(struct stow_root *root, pid_t pid, struct stow_cgroup **ret_cgroup,
		       struct stow_err *err);
void stow_cgroup_free(struct stow_cgroup *cgroup);

/* Whether the cpuset cgroup `path` with this inode still exists and has processes (on v2 in it or
 * below it): 1 yes, 0 no (another cgroup of the same name does not count), -errno. */
int stow_cgroup_populated(struct stow_root *root, const char *path, uint64_t inode,
			  struct stow_err *err);

/* Where the controller's hierarchy is mounted ("/sys/fs/cgroup/memory" on v1); it belongs to the
 * root. -ENOENT: nowhere. */
int stow_cgroup_mount(struct stow_root *root, enum stow_controller controller,
		      const char **ret_mount, struct stow_err *err);

/* What the container's cpuset says now. */
struct stow_cpuset {
	struct stow_idset cpus, mems; /* as configured; empty on v2: whatever the parent has */
	struct stow_idset cpus_effective, mems_effective;
};

/* -ENOTSUP: no cpuset controller, with a line that says what to enable. */
int stow_cpuset_read(const struct stow_cgroup *cgroup, struct stow_cpuset *ret,
		     struct stow_err *err);

/* The CPUs that the cgroup would have without a set of its own: the parent's effective ones. */
int stow_cpuset_inherited(const struct stow_cgroup *cgroup, struct stow_idset *ret_cpus,
			  struct stow_err *err);

/*
 * Sets the CPUs or the memory nodes and reads back what the kernel made of it: when the effective
 * set is not what was written (v2 accepts nodes that the parent lacks and then falls back to the
 * parent's set) that is -EBUSY. On v1 cpuset.memory_migrate is set first, so that the pages of a
 * process follow its nodes; on v2 they always do. An empty set (undo on v2) writes the parent's
 * whole effective set, because a populated cgroup cannot be emptied again.
 */
int stow_cpuset_write_cpus(const struct stow_cgroup *cgroup, const struct stow_idset *cpus,
			   struct stow_err *err);
int stow_cpuset_write_mems(const struct stow_cgroup *cgroup, const struct stow_idset *mems,
			   struct stow_err *err);

/* Names of the limit attributes for one page size, with `reservation` the limit on reservations,
 * which makes mmap(2) fail instead of a SIGBUS later. Returns `buf`. */
const char *stow_hugetlb_limit_name(int version, uint64_t page_size, bool reservation, char *buf,
				    size_t size);
const char *stow_memory_limit_name(int version);

/* Hugepages of that size that the cgroup has faulted in on `node`. -ENOTSUP when the kernel
 * does not count them (no hugetlb controller, or numa_stat before 5.17). */
int stow_hugetlb_used(const struct stow_cgroup *cgroup, uint64_t page_size, int node,
		      uint64_t *ret_pages, struct stow_err *err);

/* Bytes of memory of the cgroup on `node`, from memory.numa_stat. -ENOTSUP as above. */
int stow_memory_used(const struct stow_cgroup *cgroup, int node, uint64_t *ret_bytes,
		     struct stow_err *err);

static inline void stow_cgroup_free_ptr(struct stow_cgroup **c)
{
	if (*c)
		stow_cgroup_free(*c);
}
