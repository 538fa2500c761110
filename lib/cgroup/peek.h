/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A cheap check of many containers, most of which need no change: reads one file of each, without
 * opening the cgroup's directory and without allocating memory.
 */

#include "cgroup/cgroup.h"

/* State kept from one container to the next; zero at first. */
struct stow_peek {
	const char *point;	/* where a hierarchy is mounted; owned by the root */
	struct stow_root *top;	/* the directory there */
	struct stow_root *near; /* parent of the last containers, or NULL */
	char path[256];		/* parent of the last container, below the mount */
};

void stow_peek_done(struct stow_peek *peek);

/*
 * Read the effective CPUs of a container's cpuset cgroup. True: they are those of the cgroup with
 * this path and inode, and *ret_cgroup names it for stow_cpuset_read_at(): its directories are not
 * open, its strings belong to `id`, and it must not be freed. False: for any reason; open the
 * cgroup with stow_cpuset_open() to learn more.
 */
bool stow_peek_cpus(struct stow_peek *peek, struct stow_root *root, const struct stow_cgroup_id *id,
		    struct stow_cgroup *ret_cgroup, struct stow_idset *ret_cpus);
