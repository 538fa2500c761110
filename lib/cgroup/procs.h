/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The processes and the threads of a cgroup and of all cgroups below it. */

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/root.h"
#include "cgroup/cgroup.h"

/* List the processes of a cgroup and of all below it, by ascending number; the caller frees the
 * list. A cgroup that is removed meanwhile has none. -E2BIG, -ENAMETOOLONG: beyond the limits on
 * cgroups in one container. */
int stow_cgroup_pids(const struct stow_cgroup *cgroup, pid_t **ret_pids, size_t *ret_n,
		     struct stow_err *err);

/* List the threads instead, by their numbers. */
int stow_cgroup_threads(const struct stow_cgroup *cgroup, pid_t **ret_tids, size_t *ret_n,
			struct stow_err *err);

/* List the processes of the cgroup `path` below `dir`. Skip cgroups below it that have a file named
 * `border`; NULL: skip none. */
int stow_cgroup_pids_below(struct stow_root *dir, const char *path, const char *border,
			   pid_t **ret_pids, size_t *ret_n, struct stow_err *err);
