/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The cgroup v1 freezer (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst). A process in a
 * frozen cgroup of v1 does not end, not even by SIGKILL, until the cgroup is thawed. On v2 SIGKILL
 * ends it.
 */

#include "base/err.h"
#include "base/root.h"
#include "cgroup/cgroup.h"
#include "cgroup/pidref.h"

/*
 * Thaw a container that got SIGKILL, as runtimes do for that signal: none of its code runs again.
 * Its cgroup is the one that has the path of `id`, and the process has to be in it or below it.
 * Success also where there is no v1 freezer. -ESRCH: the process has ended, or is in another
 * cgroup. -EBUSY: it stays frozen, because of a cgroup above, which the message names.
 */
int stow_freezer_thaw(struct stow_root *root, const struct stow_cgroup_id *id,
		      const struct stow_pidref *process, struct stow_err *err);
