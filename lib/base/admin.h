/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * CAP_SYS_ADMIN of this thread. Linux makes a remote cpuset partition only for a program that has
 * it in effect (remote_partition_enable() in kernel/cgroup/cpuset.c, since 6.7), whoever owns the
 * files; taking a partition back needs permission to write the files alone. So it is in effect
 * around that one write, and programs that will make no partition give it up.
 */

#include <linux/capability.h>
#include <stdbool.h>

#include "base/err.h"

struct stow_admin {
	struct __user_cap_data_struct before[2]; /* the module's own */
	bool raised;
};

/* Checks that CAP_SYS_ADMIN is in effect, or can be. -EPERM: it cannot. */
int stow_admin_check(struct stow_err *err);
/* Puts it into effect, where it is not. */
int stow_admin_raise(struct stow_admin *ret, struct stow_err *err);
/* Undoes stow_admin_raise(). */
int stow_admin_lower(const struct stow_admin *admin, struct stow_err *err);
/* Gives it up for good, if the thread has it. */
int stow_admin_forgo(struct stow_err *err);
