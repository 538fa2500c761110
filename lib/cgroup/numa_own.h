/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The memory nodes that this program itself may use. The kernel makes hugepages of a node's pool,
 * and the copies for move_pages(2), within the cpuset of the task that asks for them, whatever
 * task will use them (cpuset(7); cpuset_node_allowed() in kernel/cgroup/cpuset.c). So a
 * program below a slice with AllowedMemoryNodes= cannot place others on the other nodes.
 */

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"

/* Check that this program may have memory on these NUMA nodes; NULL: on all that have memory.
 * -EXDEV: its cpuset lacks one. A cpuset that cannot be read is no reason to fail. */
int stow_own_mems_check(struct stow_root *root, const struct stow_idset *nodes,
			struct stow_err *err);

/* If this program's cpuset lacks a NUMA node with memory, move the program to the topmost cgroup,
 * on v1 of the cpuset hierarchy alone, and keep its CPU affinity. It stays there: this is for
 * programs that end soon, because a service would leave the limits of its unit. Return 0, also
 * where it was not necessary or the root is a copy; -EXDEV: only a part of the hierarchy can be
 * seen; another -errno: the kernel refused the move. */
int stow_own_mems_widen(struct stow_root *root, struct stow_err *err);
