/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From the inode of a memory cgroup to its path, and from a path to the container. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

/* The memory cgroup's directory below the memory hierarchy's mount ("/machine.slice/x.scope") for
 * an inode; NULL when it is gone. To be freed. Reads every directory once for many: `n` inodes. */
int stow_cgroup_paths(struct stow_root *root, const uint64_t *inodes, size_t n, char **ret_paths,
		      struct stow_err *err);
/* The container's id in a cgroup's path ("libpod-ID.scope", "crio-ID", "cri-containerd-ID.scope",
 * "docker/ID"): the last component that has one, without prefix and suffix; "" when none has. */
const char *stow_cgroup_container(const char *path, char *buf, size_t size);
