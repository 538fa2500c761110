/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Making the kernel, and systemd where it watches, obey.
 *
 * A unit with AllowedCPUs= or AllowedMemoryNodes= set (runc does so for --cpuset-cpus under the
 * systemd driver, and crun's `update`) writes them again at every daemon-reload. There the
 * properties are set as well, after our own write: systemd then has nothing left to move. Where
 * they are empty, systemd leaves the files alone, and the properties stay empty.
 *
 * D-Bus is spoken by a program of its own, numastow-scope, beside the hook: the hook is linked
 * statically and could not load libsystemd, which it needs for one container in a thousand.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "cgroup/cgroup.h"

/* Properties to set, collected first: one program is started for all of them. */
struct stow_unit_sets {
	char **words; /* three for each: cgroup, inode, set */
	size_t n;
};

void stow_unit_sets_done(struct stow_unit_sets *sets);
/* Adds one, if the cgroup can be a unit's: cgroup v2, a live machine with systemd, a name that ends
 * in .scope or .service (or is "container" below such a name, which is crun's). */
int stow_unit_sets_add(struct stow_unit_sets *sets, const struct stow_cgroup *cgroup,
		       const struct stow_idset *set, struct stow_err *err);
/* Sets AllowedCPUs= (with `cpus`) or AllowedMemoryNodes=, where systemd says that the unit has
 * exactly this cgroup (or the one above "container"), and that the property is neither empty nor
 * equal now. Goes on after a failure. Returns 1 when a property was set, 0 when there was nothing
 * to set, -EIO when systemd refused, -ETIMEDOUT when it did not answer. */
int stow_unit_sets_set(const struct stow_unit_sets *sets, bool cpus, struct stow_err *err);

/* Does the same for one container. */
int stow_enforce_unit(const struct stow_cgroup *cgroup, bool cpus, const struct stow_idset *set,
		      struct stow_err *err);

/* Sets hugetlb limit and reservation limit to `bytes`. Returns 1, or 0 when the container has no
 * hugetlb controller. -EPERM: a cgroup above allows less; the message names it. */
int stow_enforce_hugetlb(const struct stow_cgroup *cgroup, uint64_t page_size, uint64_t bytes,
			 struct stow_err *err);

/* Returns -EPERM when a cgroup above allows less memory than that; 0 bytes are always allowed. */
int stow_enforce_check_memory(const struct stow_cgroup *cgroup, uint64_t bytes,
			      struct stow_err *err);

/* Sets the memory limit. Returns 1, or 0 when there is no memory controller. -EPERM as above. */
int stow_enforce_memory(const struct stow_cgroup *cgroup, uint64_t bytes, struct stow_err *err);
