/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Making the kernel, and systemd where it watches, obey.
 *
 * A unit with AllowedCPUs= or AllowedMemoryNodes= set (runc does so for --cpuset-cpus under the
 * systemd driver, and crun's `update`) writes them again at every daemon-reload. There the
 * properties are set as well, after our own write: systemd then has nothing left to move. Where
 * they are empty, systemd leaves the files alone, and so do we leave systemd.
 *
 * D-Bus is spoken by a program of its own, numastow-scope, beside the hook: the hook is linked
 * statically and could not load libsystemd, which it needs for one container in a thousand.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "node/cgroup.h"

/* systemd's half of a write to the container's cpuset, to be called after it: AllowedCPUs= with
 * `cpus`, else AllowedMemoryNodes= becomes `set`, provided that systemd says that the unit is
 * exactly this cgroup (or the one above "container", which is crun's) and that the property is
 * neither empty nor equal now. Returns 1 when it was set, 0 when there was nothing to set, -EIO
 * when systemd refused, -ETIMEDOUT when it did not answer within 5 s.
 *
 * A program is started only for what can be a unit: cgroup v2, a live machine with systemd, a name
 * that ends in .scope or .service. */
int stow_enforce_unit(const struct stow_cgroup *cgroup, bool cpus, const struct stow_idset *set,
		      struct stow_err *err);

/* The write and systemd's half. `had_own` says nothing any more: systemd is asked. */
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
