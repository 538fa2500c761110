/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the hook gives up before it reads a byte of what strangers have written.
 *
 * Kept of root's capabilities, the same for apply, release and precreate, since each of them may
 * also reclaim what a dead container had, and then gives others their CPUs back:
 *
 *   CAP_DAC_OVERRIDE  bundles and cgroups that a runtime gave to a container's user
 *   CAP_SYS_NICE      on cgroup v1, processes that the kernel moved out of a cpuset are put back
 *   CAP_SYS_PTRACE    only where /proc is mounted with hidepid: else the living look dead
 *   CAP_SYS_ADMIN     only where systemd runs, and not in effect: systemd lets nobody else set a
 *                     unit's properties, and numastow-scope gets it when it is started. And for
 *                     apply, where config.yaml says `partitions: yes` and the kernel has them:
 *                     lib/base/admin.h
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/root.h"

/* Closes inherited descriptors but the first three, which are open afterwards; lets neither the
 * hook nor a program that it starts gain privileges (no_new_privs); sets the umask to 022; drops
 * capabilities. `makes_partitions`: the command may make a cpuset partition, and calls
 * hook_confine_by_config() next. */
int hook_confine(bool makes_partitions, struct stow_err *err);

/* Gives up what was kept for partitions alone, unless config.yaml wants them and the kernel has
 * them. */
int hook_confine_by_config(struct stow_root *root, struct stow_err *err);

/* Whether this is no root, or root of a user namespace only: rootless Podman gives the machine's
 * hooks to every user. */
bool hook_is_rootless(void);
