/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container's cgroup: cpuset, hugetlb and memory controllers, on cgroup v1 and v2 alike
 * (Documentation/admin-guide/cgroup-v2.rst; cgroup-v1/hugetlb.rst, memory.rst).
 *
 * Where a container is, is asked of the kernel once: in its createRuntime hook, before any of its
 * code runs (stow_cgroup_of_pid()). What comes out is the container's identity, path and inode
 * number of the directory in each hierarchy, and is written down. Later the cgroup is opened by
 * that path and checked by that inode (stow_cgroup_open()): a container may move its processes and
 * name cgroups as it likes, and /proc/PID/cgroup follows it.
 *
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

/* A container's cgroup by name. On v2 the three are equal; a controller that the container did not
 * have has version 0 and path NULL. */
struct stow_cgroup_id {
	struct {
		int version;	/* 1 or 2; 0: the controller was not available */
		char *path;	/* within the hierarchy, "/machine.slice/x.scope/container" */
		uint64_t inode; /* of the directory */
	} at[STOW_CGROUP_CONTROLLERS];
};

void stow_cgroup_id_done(struct stow_cgroup_id *id);
/* Copies; -ENOMEM leaves *ret empty. */
int stow_cgroup_id_copy(const struct stow_cgroup_id *from, struct stow_cgroup_id *ret,
			struct stow_err *err);
/* Whether both are the same cgroup of the cpuset hierarchy. */
bool stow_cgroup_id_equal(const struct stow_cgroup_id *a, const struct stow_cgroup_id *b);
/* The path in the cpuset hierarchy, "" when there is none: for messages. */
const char *stow_cgroup_id_path(const struct stow_cgroup_id *id);

struct stow_cgroup {
	struct {
		int version;		  /* 1 or 2; 0: the controller is not to be had here */
		struct stow_root *dir;	  /* the cgroup's directory; NULL with version 0 */
		struct stow_root *parent; /* cpuset: the directory above; NULL for the topmost */
		bool on_v2;		  /* the directories are of the unified hierarchy */
		bool shared;		  /* and are another controller's, which frees them */
		bool noprefix;		  /* v1 mounted with noprefix: "cpus", not "cpuset.cpus" */
		const char *point;	  /* where the hierarchy is mounted; the root's */
		const char *below;	  /* the path below that; in `id` */
		size_t hidden;		  /* bytes of the path that the mount does not show */
	} at[STOW_CGROUP_CONTROLLERS];
	struct stow_root *root; /* the whole tree; not owned */
	struct stow_cgroup_id id;
	char *membership; /* /proc/PID/cgroup as it was read; NULL when opened by path */
	const char *path; /* of the cpuset cgroup, in `id`; "" when there is none */
	uint64_t inode;	  /* of the cpuset directory */
};

/*
 * Identifies the cgroup of a process: for createRuntime hooks, and for tools that look at a process
 * of their own. -ESRCH: no such process. A controller that is not mounted or not enabled for this
 * cgroup has version 0. -ENOENT: no hierarchy at all. -EXDEV: the cgroup is outside of every mount
 * of its hierarchy. Free with stow_cgroup_free().
 */
int stow_cgroup_of_pid(struct stow_root *root, pid_t pid, struct stow_cgroup **ret_cgroup,
		       struct stow_err *err);

/* Opens the cgroup that has this path now, in every hierarchy that has one of that path: for
 * cgroups that are found by looking, not by asking a process. -ESRCH: there is none in the cpuset
 * hierarchy. */
int stow_cgroup_of_path(struct stow_root *root, const char *path, struct stow_cgroup **ret_cgroup,
			struct stow_err *err);

/* Opens a cgroup by its identity. -ESRCH: it is gone, or another one has its name now. A hugetlb or
 * memory cgroup that is gone leaves that controller with version 0. */
int stow_cgroup_open(struct stow_root *root, const struct stow_cgroup_id *id,
		     struct stow_cgroup **ret_cgroup, struct stow_err *err);
/* The same with the cpuset controller alone: for looking at many containers. */
int stow_cpuset_open(struct stow_root *root, const struct stow_cgroup_id *id,
		     struct stow_cgroup **ret_cgroup, struct stow_err *err);
void stow_cgroup_free(struct stow_cgroup *cgroup);

/* Whether the cpuset cgroup has processes in it or below it: 1 yes, 0 no, -errno. */
int stow_cgroup_has_processes(const struct stow_cgroup *cgroup, struct stow_err *err);
/* Whether the cpuset cgroup with this path and inode still exists and has processes in it or below
 * it: 1 yes, 0 no (another cgroup of the same name does not count), -errno. */
int stow_cgroup_populated(struct stow_root *root, const struct stow_cgroup_id *id,
			  struct stow_err *err);

/* A controller's hierarchy, or the part of it that is mounted; the strings belong to the root. */
struct stow_hierarchy {
	int version;
	const char *point; /* where it is mounted */
	const char *above; /* the path of the cgroup that is mounted there, "" for the topmost */
};

/* The whole hierarchy where it is mounted, else the first part of it. -ENOENT: nowhere. */
int stow_cgroup_hierarchy(struct stow_root *root, enum stow_controller controller,
			  struct stow_hierarchy *ret, struct stow_err *err);
/* Where the controller's hierarchy is mounted ("/sys/fs/cgroup/memory" on v1); it belongs to the
 * root. -ENOENT: nowhere. */
int stow_cgroup_mount(struct stow_root *root, enum stow_controller controller,
		      const char **ret_mount, struct stow_err *err);

/* Names of the limit attributes for one page size, with `reservation` the limit on reservations,
 * which makes mmap(2) fail instead of a SIGBUS later. Returns `buf`. */
const char *stow_hugetlb_limit_name(int version, uint64_t page_size, bool reservation, char *buf,
				    size_t size);
const char *stow_memory_limit_name(int version);

/* A limit of the cgroup itself, and the lowest of all cgroups above it, in the attribute's unit.
 * UINT64_MAX: no limit, or no such controller. */
uint64_t stow_cgroup_limit(const struct stow_cgroup *cgroup, enum stow_controller controller,
			   const char *name);
uint64_t stow_cgroup_limit_above(const struct stow_cgroup *cgroup, enum stow_controller controller,
				 const char *name);

/* The CPU limit of the cgroup's own cpu.max in CPUs, rounded up; UINT32_MAX: none (or cgroup v1,
 * where only the runtime sets it). */
uint32_t stow_cpu_limit(const struct stow_cgroup *cgroup);
/* The lowest of all cgroups above. */
uint32_t stow_cpu_limit_above(const struct stow_cgroup *cgroup);

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
