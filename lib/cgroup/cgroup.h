/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container's cgroup: its cpuset, hugetlb and memory controllers, on cgroup v1 and v2
 * (Documentation/admin-guide/cgroup-v2.rst; cgroup-v1/hugetlb.rst, memory.rst).
 *
 * The kernel is asked once where a container is: in the container's createRuntime hook, before any
 * of its code runs (stow_cgroup_of_pid()). The answer, a path and a directory's inode number in
 * each hierarchy, is the container's identity, and is recorded. Later the cgroup is opened by that
 * path and checked against that inode (stow_cgroup_open()). /proc/PID/cgroup is not read again,
 * because a container may move its processes, and may give cgroups of its own any name.
 *
 * The directories are opened once, and every attribute is read and written relative to them, so
 * that a cgroup that was removed and made again under the same name is never mistaken for the old
 * one.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "cgroup/hierarchy.h"

/* How many levels of cgroups below a container's are looked at. */
#define STOW_CGROUP_DEPTH_MAX 32

/* A container's cgroup by name. On v2 the three entries are equal. A controller that the container
 * does not have has version 0 and path NULL. */
struct stow_cgroup_id {
	struct {
		int version;	/* 1 or 2; 0: the controller was not available */
		char *path;	/* within the hierarchy, "/machine.slice/x.scope/container" */
		uint64_t inode; /* of the directory */
	} at[STOW_CGROUP_CONTROLLERS];
};

/* Free the paths; `id` may be empty. */
void stow_cgroup_id_done(struct stow_cgroup_id *id);
/* Copy an identity; -ENOMEM leaves *ret empty. */
int stow_cgroup_id_copy(const struct stow_cgroup_id *from, struct stow_cgroup_id *ret,
			struct stow_err *err);
/* Return whether both are the same cgroup of the cpuset hierarchy. */
bool stow_cgroup_id_equal(const struct stow_cgroup_id *a, const struct stow_cgroup_id *b);
/* Return the path in the cpuset hierarchy, or "" when there is none: for messages. */
const char *stow_cgroup_id_path(const struct stow_cgroup_id *id);

struct stow_cgroup {
	struct {
		int version;	       /* 1 or 2; 0: the controller is not available here */
		struct stow_root *dir; /* the cgroup's directory; NULL with version 0 */
		bool on_v2;	       /* the directory is in the unified hierarchy */
		bool shared;	   /* the directory belongs to another controller, which frees it */
		bool noprefix;	   /* v1 mounted with noprefix: "cpus", not "cpuset.cpus" */
		const char *point; /* where the hierarchy is mounted; owned by the root */
		const char *below; /* the path below that; in `id` */
		size_t hidden;	   /* bytes of the path above the mounted part */
	} at[STOW_CGROUP_CONTROLLERS];
	struct stow_root *root; /* the whole tree; not owned */
	struct stow_cgroup_id id;
	char *membership; /* /proc/PID/cgroup; NULL when opened by path */
	const char *path; /* of the cpuset cgroup, in `id`; "" when there is none */
	uint64_t inode;	  /* of the cpuset directory */
};

/*
 * Identify the cgroup of a process: for createRuntime hooks, and for tools that read a process of
 * their own; no other code may ask the kernel where a container is. -ESRCH: no such process. A
 * controller that is not mounted or not enabled for this cgroup has version 0. -ENOENT: no
 * hierarchy at all. -EXDEV: the cgroup is outside of every mount of its hierarchy. Free with
 * stow_cgroup_free().
 */
int stow_cgroup_of_pid(struct stow_root *root, pid_t pid, struct stow_cgroup **ret_cgroup,
		       struct stow_err *err);

/* Open the cgroup that has this path now, in every hierarchy that has it: for discovered cgroups.
 * -ESRCH: there is none in the cpuset hierarchy. */
int stow_cgroup_of_path(struct stow_root *root, const char *path, struct stow_cgroup **ret_cgroup,
			struct stow_err *err);

/* Open a cgroup by its identity. -ESRCH: it is gone, or its name belongs to another cgroup now.
 * When only its hugetlb or memory cgroup is gone, that controller has version 0. */
int stow_cgroup_open(struct stow_root *root, const struct stow_cgroup_id *id,
		     struct stow_cgroup **ret_cgroup, struct stow_err *err);
/* Do the same for the cpuset controller alone, which is cheaper for many containers. */
int stow_cpuset_open(struct stow_root *root, const struct stow_cgroup_id *id,
		     struct stow_cgroup **ret_cgroup, struct stow_err *err);
void stow_cgroup_free(struct stow_cgroup *cgroup);

/* Return 1 when the cpuset cgroup has processes in it or below it, 0 when not, or -errno. */
int stow_cgroup_has_processes(const struct stow_cgroup *cgroup, struct stow_err *err);
/* Return 1 when the cpuset cgroup with this path and inode still exists and has processes in it or
 * below it, 0 when not (another cgroup of the same name does not count), or -errno. */
int stow_cgroup_populated(struct stow_root *root, const struct stow_cgroup_id *id,
			  struct stow_err *err);

STOW_DEFINE_CLEANUP(stow_cgroup_free, struct stow_cgroup);
