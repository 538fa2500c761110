/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Making the kernel, and systemd where it watches, obey.
 *
 * A scope unit with AllowedCPUs= or AllowedMemoryNodes= set (runc does so for --cpuset-cpus under
 * the systemd driver) writes them again at every daemon-reload. There the properties are set as
 * well, after our own write: systemd then has nothing left to move. Where they are not set, systemd
 * leaves the files alone, and so do we leave systemd.
 *
 * D-Bus is spoken by a program of its own, numastow-scope, beside the hook: the hook is linked
 * statically and could not load libsystemd, which it needs for one container in a thousand.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "node/cgroup.h"

/* `had_own`: the container had a set of its own before numastow came, so that its scope unit may
 * have the property. */
int stow_enforce_cpus(const struct stow_cgroup *cgroup, const struct stow_idset *cpus, bool had_own,
		      struct stow_err *err);
int stow_enforce_mems(const struct stow_cgroup *cgroup, const struct stow_idset *mems, bool had_own,
		      struct stow_err *err);

/* Sets hugetlb limit and reservation limit to `bytes`. Returns 1, or 0 when the container has no
 * hugetlb controller. -EPERM: a cgroup above allows less; the message names it. */
int stow_enforce_hugetlb(const struct stow_cgroup *cgroup, uint64_t page_size, uint64_t bytes,
			 struct stow_err *err);

/* Sets the memory limit. Returns 1, or 0 when there is no memory controller. */
int stow_enforce_memory(const struct stow_cgroup *cgroup, uint64_t bytes, struct stow_err *err);
