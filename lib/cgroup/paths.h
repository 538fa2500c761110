/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Finding the path for the inode of a memory cgroup, and the container for a path. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

/* Find the directories of memory cgroups, below the memory hierarchy's mount
 * ("/machine.slice/x.scope"), for `n` inodes; NULL for a cgroup that is gone. The caller frees each
 * path. Every directory is read once for all inodes. */
int stow_cgroup_paths(struct stow_root *root, const uint64_t *inodes, size_t n, char **ret_paths,
		      struct stow_err *err);
/* Copy the container's id in a cgroup's path ("libpod-ID.scope", "crio-ID",
 * "cri-containerd-ID.scope", "docker/ID") to `buf`: from the last component that has one, without
 * prefix and suffix; "" when none has. */
const char *stow_cgroup_container(const char *path, char *buf, size_t size);
