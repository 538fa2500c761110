/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Setting limits in the kernel, and cpuset properties in systemd where it manages them.
 *
 * A unit with AllowedCPUs= or AllowedMemoryNodes= set (runc does so for --cpuset-cpus under the
 * systemd driver, and crun's `update`) writes them again at every daemon-reload. For such a unit
 * the properties are set as well, after the cgroup files: systemd then has nothing to change. A
 * unit without these properties keeps them empty, because systemd leaves its files alone.
 *
 * A separate program, numastow-scope, speaks D-Bus: the hook is linked statically and cannot load
 * libsystemd, which it would need for one container in a thousand.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "cgroup/cgroup.h"

/* Properties to set, collected so that one program is started for all of them. */
struct stow_unit_sets {
	char **words; /* three for each: cgroup, inode, set */
	size_t n;
};

void stow_unit_sets_done(struct stow_unit_sets *sets);
/* Add a property, if the cgroup can belong to a unit: cgroup v2, a live machine with systemd, a
 * name that ends in .scope or .service (or crun's "container" below such a name). */
int stow_unit_sets_add(struct stow_unit_sets *sets, const struct stow_cgroup *cgroup,
		       const struct stow_idset *set, struct stow_err *err);
/* Set AllowedCPUs= (with `cpus`) or AllowedMemoryNodes= of each unit whose cgroup is exactly this
 * one (or the one above "container"), and whose property is neither empty nor equal already.
 * Continue after a failure. Return 1 when a property was set, 0 when there was nothing to set, -EIO
 * when systemd refused, -ETIMEDOUT when it did not answer. */
int stow_unit_sets_set(const struct stow_unit_sets *sets, bool cpus, struct stow_err *err);

/* Do the same for one container. */
int stow_enforce_unit(const struct stow_cgroup *cgroup, bool cpus, const struct stow_idset *set,
		      struct stow_err *err);

/* Set the hugetlb limit and the reservation limit to `bytes`. Return 1, or 0 when the container has
 * no hugetlb controller. -EPERM: a cgroup above allows less; the message names it. */
int stow_enforce_hugetlb(const struct stow_cgroup *cgroup, uint64_t page_size, uint64_t bytes,
			 struct stow_err *err);

/* Raise the same limits of the cgroups above, up to and including the pod's, to `bytes` where they
 * are lower: kubelet sets a pod's to 0 for the sizes that its spec does not name. `pod`: the pod's
 * UID, by which its cgroup is known ("podUID", or "kubepods-podUID.slice" with '_' for '-'). Return
 * 1, or 0 when there is nothing to raise, or no cgroup above is the pod's. */
int stow_enforce_pod_hugetlb(const struct stow_cgroup *cgroup, const char *pod, uint64_t page_size,
			     uint64_t bytes, struct stow_err *err);

/* Make the paths, in the root, of the hugetlb cgroups whose limits the two functions above set: the
 * container's, and those above it up to the pod's. Append them to *list, which the caller frees. */
int stow_enforce_hugetlb_paths(const struct stow_cgroup *cgroup, const char *pod, char ***list,
			       size_t *n, struct stow_err *err);

/* Return -EPERM when a cgroup above allows less memory than `bytes`; 0 bytes are always allowed. */
int stow_enforce_check_memory(const struct stow_cgroup *cgroup, uint64_t bytes,
			      struct stow_err *err);

/* Set the memory limit. Return 1, or 0 when there is no memory controller. -EPERM as above. */
int stow_enforce_memory(const struct stow_cgroup *cgroup, uint64_t bytes, struct stow_err *err);
