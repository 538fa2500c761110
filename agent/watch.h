/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What announces itself: the ledger (inotify on its folder) and CPUs and memory blocks that come or
 * go (the kernel's uevents). Hugepage pools and free memory do not; they are polled.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/root.h"

struct agent_watch {
	int ledger; /* inotify; readable when something was committed; -1: nothing to watch */
	int uevent; /* netlink; -1: a copied tree, or not permitted */
};

/* Makes the ledger's folder if there is none. */
int agent_watch_open(struct stow_root *root, struct agent_watch *ret, struct stow_err *err);
void agent_watch_close(struct agent_watch *watch);

/* Takes what has arrived; whether it concerns us. */
bool agent_watch_ledger(struct agent_watch *watch);
bool agent_watch_uevent(struct agent_watch *watch);

/* Whether a message of the kernel's ("offline@/devices/system/cpu/cpu3", then KEY=VALUE, each
 * terminated; one more zero byte follows) is about CPUs, memory or NUMA nodes. */
bool agent_watch_concerns(const char *text, size_t len);

/* Whether cgroup2, where it has the cpuset controller, is mounted with nsdelegate, without which a
 * container moves processes into other containers: 1 yes, 0 no, -ENOENT: no such mount. */
int agent_watch_nsdelegate(struct stow_root *root);
