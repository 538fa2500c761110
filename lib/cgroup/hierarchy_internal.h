/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The mounts of the hierarchies, shared by the files that open cgroups. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cgroup/hierarchy.h"

/* One mount of a hierarchy. `root` is the cgroup that is mounted. */
struct hierarchy_mount {
	char *point;
	char *root; /* "" for the whole hierarchy */
	uint64_t dev;
	bool noprefix;
};

struct hierarchy {
	struct hierarchy_mount *mounts; /* in the order of mountinfo */
	size_t n;
};

struct hierarchies {
	struct stow_cached cached; /* first: the root frees it */
	struct hierarchy v2;
	struct hierarchy v1[STOW_CGROUP_HIERARCHIES];
};

/* Find where the hierarchies are mounted. Done once for each root, which owns the result. */
int stow_hierarchies(struct stow_root *root, const struct hierarchies **ret, struct stow_err *err);
/* Return the hierarchy to use for the controller by default: v1 where it is mounted. *ret_version:
 * 1, 2, or 0 when there is none. */
const struct hierarchy *stow_hierarchy_of(const struct hierarchies *h, int c, int *ret_version);
/* Return whether a list of /proc/PID/cgroup or mountinfo, such as "cpu,cpuset", has the
 * controller. */
bool stow_controller_is_in(int c, const char *list);

/* Split a line of /proc/PID/cgroup (cgroups(7)), "ID:CONTROLLERS:PATH" and on v2 "0::PATH". Return
 * the controllers, or NULL; both point into the line. */
const char *stow_membership_split(char *line, const char **ret_path);
/* Return whether a path from /proc/PID/cgroup can be used. Any program may have chosen names in it,
 * and a path from another cgroup namespace begins with "/..". */
bool stow_cgroup_path_is_sane(const char *path);
/* Return the part of `path` below the mounted cgroup; NULL when it is outside of the mount. */
const char *stow_below_mount(const struct hierarchy_mount *mount, const char *path);
