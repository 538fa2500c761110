/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A look at many containers' cgroups, most of which are as they must be: one file of each is read,
 * without opening the cgroup's directory and without memory for it.
 */

#include "cgroup/cgroup.h"

/* Kept from one container to the next; empty at first. */
struct stow_peek {
	const char *point;	/* where a hierarchy is mounted; the root's */
	struct stow_root *top;	/* the directory there */
	struct stow_root *near; /* the cgroup that several containers in a row were in, or NULL */
	char path[256];		/* of the cgroup that the last one was in, below the mount */
};

void stow_peek_done(struct stow_peek *peek);

/*
 * Reads the CPUs that are in effect in a container's cpuset cgroup. True: they are those of the
 * cgroup with this path and inode, and *ret_cgroup says where it is. Its directories are not open
 * and its strings are those of `id`: it is for stow_cpuset_read_at(), and not to be freed. False:
 * who wants to know opens the cgroup (stow_cpuset_open()), whatever the reason.
 */
bool stow_peek_cpus(struct stow_peek *peek, struct stow_root *root, const struct stow_cgroup_id *id,
		    struct stow_cgroup *ret_cgroup, struct stow_idset *ret_cpus);
