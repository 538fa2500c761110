/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A cgroup's memory by kind and NUMA node: memory.numa_stat and hugetlb.SIZE.numa_stat.
 *
 * cgroup v2 writes bytes, of the cgroup and all below it. v1 writes pages, of user memory only, and
 * has rows of its own (hierarchical_*) for the cgroup with all below it.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/math.h"
#include "cgroup/cgroup.h"

struct stow_numa_pair {
	int node;
	uint64_t bytes;
};

struct stow_numa_row {
	char name[32];	 /* "anon", "file", "hierarchical_total": printable ASCII */
	size_t first, n; /* in the list of pairs */
};

struct stow_numa_stat {
	struct stow_numa_row *rows;
	size_t n_rows;
	struct stow_numa_pair *pairs;
	size_t n_pairs;
};

/* Parse the file; its numbers are in units of `unit` bytes. -EINVAL: a line has no numbers. */
int stow_numa_stat_parse(const char *text, size_t len, uint64_t unit, struct stow_numa_stat *ret,
			 struct stow_err *err);
void stow_numa_stat_done(struct stow_numa_stat *stat);

/* Return the bytes of a row on a node; STOW_UNKNOWN: there is no such row, or it does not name the
 * node. */
uint64_t stow_numa_stat_get(const struct stow_numa_stat *stat, const char *row, int node);

/* Sum what the cgroup is charged for on a node, of a memory.numa_stat of that version: anonymous
 * memory, files (on v1 also what is locked), and on v2 the kernel's own. STOW_UNKNOWN: none of it
 * is known. */
uint64_t stow_numa_stat_charged(const struct stow_numa_stat *stat, int version, int node);

/* Read the cgroup's memory. -ENOTSUP: it has no memory controller, or the kernel no such file.
 * `page_size` is v1's unit. */
int stow_memory_numa_read(const struct stow_cgroup *cgroup, uint64_t page_size,
			  struct stow_numa_stat *ret, struct stow_err *err);
/* Read its hugepages of one size, in the row "total", or "hierarchical_total" on v1. -ENOTSUP as
 * above (before Linux 5.17). */
int stow_hugetlb_numa_read(const struct stow_cgroup *cgroup, uint64_t size,
			   struct stow_numa_stat *ret, struct stow_err *err);
