/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Dropping privileges, before the hook reads untrusted input.
 *
 * The capabilities that are kept. They are the same for apply, release and precreate, because each
 * of them may also reclaim the grant of an ended container, and then write other containers'
 * cpusets:
 *
 *   CAP_DAC_OVERRIDE  bundles and cgroups that a runtime gave to a container's user
 *   CAP_SYS_NICE      on cgroup v1, to put processes back that the kernel moved out of a cpuset
 *   CAP_SYS_PTRACE    only if /proc is mounted with hidepid: otherwise live processes look dead
 *   CAP_SYS_ADMIN     only if systemd runs, and not in effect: systemd requires it of callers that
 *                     set a unit's properties, and numastow-scope gets it when it is started. Also
 *                     for apply, if config.yaml has `partitions: yes` and the kernel supports them
 *                     (lib/base/admin.h)
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/root.h"

/* Lift inherited limits of resources, and set the signals that the hook depends on; close inherited
 * descriptors except the first three, and open these if they are closed; set
 * no_new_privs and umask 022; drop capabilities. `makes_partitions`: the command may make a
 * cpuset partition, and calls hook_confine_by_config() next. */
int hook_confine(bool makes_partitions, struct stow_err *err);

/* Drop what was kept for partitions only, unless config.yaml enables them and the kernel
 * supports them. */
int hook_confine_by_config(struct stow_root *root, struct stow_err *err);
