/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/root.h"

/*
 * Return whether kubelet's static CPU manager or Static memory manager controls the cpuset of a
 * container, judged by its cgroup's path: the path has a pod ("kubepods...pod<UID>") that has an
 * entry in the manager's checkpoint (/var/lib/kubelet/cpu_manager_state, memory_manager_state). Two
 * managers would undo each other's work every ten seconds.
 */
bool stow_kubelet_owns(struct stow_root *root, const char *cgroup_path);

/*
 * Return which of kubelet's managers gives whole CPUs or memory to pods on this machine, judged by
 * the policy in its checkpoint: "CPU manager", "memory manager"; NULL: neither. With such a manager
 * kubelet alone decides which container runs where.
 */
const char *stow_kubelet_manager(struct stow_root *root);
