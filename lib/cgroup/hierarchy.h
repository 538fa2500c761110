/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where the cgroup hierarchies of the controllers are mounted. */

#include <stdbool.h>

#include "base/err.h"
#include "base/root.h"

enum stow_controller {
	STOW_CGROUP_CPUSET,
	STOW_CGROUP_HUGETLB,
	STOW_CGROUP_MEMORY,
	STOW_CGROUP_CONTROLLERS, /* so many belong to a container's identity */
	STOW_CGROUP_FREEZER = STOW_CGROUP_CONTROLLERS, /* of v1 */
	STOW_CGROUP_HIERARCHIES,
};

/* Their names: "cpuset", "hugetlb", "memory", "freezer". */
extern const char *const stow_controller_names[STOW_CGROUP_HIERARCHIES];

/* A controller's hierarchy, or the part of it that is mounted. The root owns the strings. */
struct stow_hierarchy {
	int version;
	const char *point; /* where it is mounted */
	const char *above; /* path of the cgroup that is mounted there; "" for the topmost */
	bool noprefix;	   /* v1 mounted with noprefix: "cpus", not "cpuset.cpus" */
};

/* Return whether a cgroup's path is below another one's, which is not "/". */
bool stow_cgroup_is_below(const char *path, const char *above);

/* Find where the whole hierarchy is mounted, or else the first part of it. -ENOENT: nowhere. */
int stow_cgroup_hierarchy(struct stow_root *root, enum stow_controller controller,
			  struct stow_hierarchy *ret, struct stow_err *err);
/* Find where the controller's hierarchy is mounted ("/sys/fs/cgroup/memory" on v1). The root owns
 * the text. -ENOENT: nowhere. */
int stow_cgroup_mount(struct stow_root *root, enum stow_controller controller,
		      const char **ret_mount, struct stow_err *err);

/* Return whether systemd is this machine's process 1, and so manages cgroups; as sd_booted(3). */
bool stow_systemd_runs(void);
