/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Notifications: of the ledger (inotify on its folder), and of CPUs and memory blocks that appear
 * or disappear (the kernel's uevents). Hugepage pools and free memory have none; they are polled.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/inotify.h>

#include "base/err.h"
#include "base/root.h"

struct agent_watch {
	int ledger; /* inotify; readable when something was committed; -1: nothing to watch */
	int uevent; /* netlink; -1: a copied tree, or not permitted */
};

/* Open both. Creates the ledger's folder if it is missing. */
int agent_watch_open(struct stow_root *root, struct agent_watch *ret, struct stow_err *err);
void agent_watch_close(struct agent_watch *watch);

/* Read all pending events of an inotify descriptor. Return whether any concerns the caller. */
bool agent_watch_events(int inotify, bool (*concerns)(const struct inotify_event *event));

/* Read the pending notifications. Return whether any is relevant. */
bool agent_watch_ledger(struct agent_watch *watch);
bool agent_watch_uevent(struct agent_watch *watch);

/* Return whether a uevent ("offline@/devices/system/cpu/cpu3", then KEY=VALUE, each terminated;
 * one more zero byte follows) is about CPUs, memory or NUMA nodes. */
bool agent_watch_concerns(const char *text, size_t len);

/* Return whether cgroup2, if it has the cpuset controller, is mounted with nsdelegate: 1 yes, 0
 * no, -ENOENT: no such mount. Without nsdelegate a container can move processes into other
 * containers' cgroups. */
int agent_watch_nsdelegate(struct stow_root *root);
