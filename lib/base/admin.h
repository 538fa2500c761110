/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * CAP_SYS_ADMIN of this thread. Linux makes a remote cpuset partition only for a program with this
 * capability in effect (remote_partition_enable() in kernel/cgroup/cpuset.c, since 6.7), whatever
 * the files' permissions; resetting a partition needs only write permission. So the capability is
 * in effect only during that one write, and programs that make no partition give it up.
 *
 * And whether this process is root of the machine: the initial user namespace's user 0.
 */

#include <linux/capability.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/root.h"

struct stow_admin {
	struct __user_cap_data_struct before[2]; /* private */
	bool raised;
};

/* Check that CAP_SYS_ADMIN is in effect, or can be. -EPERM: it cannot. */
int stow_admin_check(struct stow_err *err);
/* Put it into effect, if it is not. */
int stow_admin_raise(struct stow_admin *ret, struct stow_err *err);
/* Undo stow_admin_raise(). */
int stow_admin_lower(const struct stow_admin *admin, struct stow_err *err);
/* Give it up for good, if the thread has it. */
int stow_admin_forgo(struct stow_err *err);

/* Return whether this process is root of the machine: user 0 is so in any user namespace, also in
 * that of a rootless container engine. */
bool stow_admin_is_root(struct stow_root *root);
