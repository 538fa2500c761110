/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Limits of a cgroup and of the cgroups above it, and its memory use on each NUMA node. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "cgroup/cgroup.h"

/* Put the name of the limit attribute for one page size into `buf`, and return it. With
 * `reservation`: of the limit on reservations, which makes mmap(2) fail instead of causing a SIGBUS
 * later. */
const char *stow_hugetlb_limit_name(int version, uint64_t page_size, bool reservation, char *buf,
				    size_t size);
const char *stow_memory_limit_name(int version);

/* Return a limit of the cgroup itself, and the lowest limit of all cgroups above it, in the
 * attribute's unit. UINT64_MAX: no limit, or no such controller. */
uint64_t stow_cgroup_limit(const struct stow_cgroup *cgroup, enum stow_controller controller,
			   const char *name);
uint64_t stow_cgroup_limit_above(const struct stow_cgroup *cgroup, enum stow_controller controller,
				 const char *name);

/* Return how many bytes of hugepages of a size all pods together may use and reserve: a limit of
 * kubelet's topmost cgroup, which it sets when it starts to what the pools have then. Of two such
 * cgroups the one that allows more counts, because one may be left from another driver.
 * UINT64_MAX: no limit, or no such cgroup. `ret` is the cgroup's path, constant; NULL without a
 * limit. */
uint64_t stow_hugetlb_limit_of_pods(struct stow_root *root, uint64_t page_size, const char **ret);

/* Return the CPU limit of the cgroup's own cpu.max in CPUs, rounded up. UINT32_MAX: none (or cgroup
 * v1, where only the runtime sets it). */
uint32_t stow_cpu_limit(const struct stow_cgroup *cgroup);
/* Return the lowest CPU limit of the cgroups above. */
uint32_t stow_cpu_limit_above(const struct stow_cgroup *cgroup);

/* Count the hugepages of that size that the cgroup, with all below it, has faulted in on `node`.
 * -ENOTSUP: the kernel does not count them (no hugetlb controller, or no numa_stat, before 5.17). */
int stow_hugetlb_used(const struct stow_cgroup *cgroup, uint64_t page_size, int node,
		      uint64_t *ret_pages, struct stow_err *err);

/* Read the bytes of memory on `node` of the cgroup and all below it from memory.numa_stat. -ENOTSUP
 * as above. */
int stow_memory_used(const struct stow_cgroup *cgroup, int node, uint64_t *ret_bytes,
		     struct stow_err *err);
