/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/root.h"

/*
 * Whether kubelet's static CPU manager or Static memory manager looks after the cpuset of a
 * container, by its cgroup's path: it is in a pod ("kubepods...pod<UID>") that the manager's
 * checkpoint
 * (/var/lib/kubelet/cpu_manager_state, memory_manager_state) has an entry for. Two owners would
 * undo each other's work every ten seconds.
 */
bool stow_kubelet_owns(struct stow_root *root, const char *cgroup_path);
