/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The processes of a cgroup and of all cgroups below it. */

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/root.h"
#include "cgroup/cgroup.h"

/* The processes of a cgroup and of all below it, by ascending number; to be freed by the caller. A
 * cgroup that goes meanwhile has none. -E2BIG, -ENAMETOOLONG: more cgroups than anybody needs. */
int stow_cgroup_pids(const struct stow_cgroup *cgroup, pid_t **ret_pids, size_t *ret_n,
		     struct stow_err *err);

/* The same of the cgroup `path` below `dir`. A cgroup below it that has a file named `border` is
 * not entered; NULL: all are. */
int stow_cgroup_pids_below(struct stow_root *dir, const char *path, const char *border,
			   pid_t **ret_pids, size_t *ret_n, struct stow_err *err);
