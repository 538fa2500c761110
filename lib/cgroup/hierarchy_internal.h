/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The mounts of the hierarchies, for the files that open cgroups. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cgroup/hierarchy.h"

/* One mount of a hierarchy; `root` is the part of it that the mount shows. */
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
	struct hierarchy v1[STOW_CGROUP_CONTROLLERS];
};

/* Finds where the hierarchies are mounted, once for each root; they belong to it. */
int stow_hierarchies(struct stow_root *root, const struct hierarchies **ret, struct stow_err *err);
/* Returns the hierarchy that has the controller when nothing else says which: v1 where it is
 * mounted. *ret_version: 1, 2, or 0 when there is none. */
const struct hierarchy *stow_hierarchy_of(const struct hierarchies *h, int c, int *ret_version);
/* Says whether a list such as "cpu,cpuset", of /proc/PID/cgroup or mountinfo, has the controller. */
bool stow_controller_is_in(int c, const char *list);

/* A path from /proc/PID/cgroup is the kernel's, but names within it are other people's, and from
 * another cgroup namespace it begins with "/..": such a one is not sane. */
bool stow_cgroup_path_is_sane(const char *path);
/* Returns the part of `path` below what the mount shows; NULL when the mount does not show it. */
const char *stow_below_mount(const struct hierarchy_mount *mount, const char *path);
