/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Counters of the kernel, a name and a number on each line: nodeN/numastat, nodeN/vmstat,
 * /proc/vmstat, a cgroup's memory.stat; all fields of a node's meminfo; pressure stall information;
 * the time of CPUs.
 *
 * The parsers are pure functions over a text that need not be terminated.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/math.h"
#include "base/root.h"

/* Find counters by name: `names` ends with NULL, and ret_values gets a number for each, or
 * STOW_UNKNOWN for one that the text does not have, or that is not a number. Return how many were
 * found. */
size_t stow_counters_parse(const char *text, size_t len, const char *const *names,
			   uint64_t *ret_values);

/* Find one counter; STOW_UNKNOWN: the text, which may be NULL, does not have it. */
uint64_t stow_counter_find(const char *text, const char *name);

/* Allocations of a node, in the order of its numastat. */
enum stow_node_counter {
	STOW_NUMA_HIT,
	STOW_NUMA_MISS,
	STOW_NUMA_FOREIGN,
	STOW_NUMA_INTERLEAVE_HIT,
	STOW_NUMA_LOCAL,
	STOW_NUMA_OTHER,
	/* from its vmstat; which of them there are depends on the kernel */
	STOW_NUMA_PROMOTED,
	STOW_NUMA_PROMOTE_CANDIDATE,
	STOW_NUMA_DEMOTED_KSWAPD,
	STOW_NUMA_DEMOTED_DIRECT,
	STOW_NUMA_DEMOTED_KHUGEPAGED,
	STOW_NUMA_DEMOTED_PROACTIVE,
	STOW_NODE_COUNTERS,
};

/* Of NUMA balancing and migration: the machine's, and in newer kernels a cgroup's. */
enum stow_balancing_counter {
	STOW_NUMA_PTE_UPDATES,
	STOW_NUMA_HINT_FAULTS,
	STOW_NUMA_HINT_FAULTS_LOCAL,
	STOW_NUMA_PAGES_MIGRATED,
	STOW_PGMIGRATE_SUCCESS,
	STOW_PGMIGRATE_FAIL,
	STOW_PGPROMOTE_SUCCESS,
	STOW_PGDEMOTE_KSWAPD,
	STOW_PGDEMOTE_DIRECT,
	STOW_PGDEMOTE_KHUGEPAGED,
	STOW_PGDEMOTE_PROACTIVE,
	STOW_BALANCING_COUNTERS,
};

/* Their names in the kernel's files, ending with NULL. */
extern const char *const stow_node_counter_names[STOW_NODE_COUNTERS + 1];
extern const char *const stow_balancing_counter_names[STOW_BALANCING_COUNTERS + 1];

/* Read the counters of a node. Return 0, or -errno with the first of its files that is missing or
 * has none of them; the counters of the other are there even so. */
int stow_node_counters_read(struct stow_root *root, int node,
			    uint64_t ret_values[STOW_NODE_COUNTERS], struct stow_err *err);
/* Read the machine's. */
int stow_balancing_read(struct stow_root *root, uint64_t ret_values[STOW_BALANCING_COUNTERS],
			struct stow_err *err);

/* --- all fields of meminfo ------------------------------------------------ */

#define STOW_FIELD_NAME 48

struct stow_field {
	char name[STOW_FIELD_NAME]; /* "MemTotal", "Active(anon)": printable ASCII */
	uint64_t value;		    /* bytes, or a number */
	bool bytes;
};

/* Parse a node's meminfo, or the machine's, whatever fields it has. Lines of another form are left
 * out, and counted in ret_other. The caller frees the list. -ENOMEM. */
int stow_fields_parse(const char *text, size_t len, struct stow_field **ret, size_t *ret_n,
		      size_t *ret_other, struct stow_err *err);
int stow_fields_read(struct stow_root *root, int node, struct stow_field **ret, size_t *ret_n,
		     size_t *ret_other, struct stow_err *err);

/* --- pressure stall information ------------------------------------------- */

struct stow_psi_line {
	uint32_t avg10, avg60, avg300; /* percent of the time, in hundredths */
	uint64_t total_us;
	bool known;
};

struct stow_psi {
	struct stow_psi_line some, full;
};

/* Parse /proc/pressure/RESOURCE, or a cgroup's RESOURCE.pressure. -EINVAL: it is neither. */
int stow_psi_parse(const char *text, size_t len, struct stow_psi *ret, struct stow_err *err);
/* Read one of them, as "/proc/pressure/memory". -EOPNOTSUPP: the kernel does not record it. */
int stow_psi_read(struct stow_root *root, const char *path, struct stow_psi *ret,
		  struct stow_err *err);

/* --- the time of CPUs ------------------------------------------------------ */

/* Since the boot, in clock ticks. Busy is what is neither idle nor iowait. */
struct stow_cpu_time {
	int cpu;
	uint64_t busy, all;
};

/* Parse /proc/stat, by its lines "cpuN": online CPUs, in the kernel's order. The caller frees the
 * list. -EINVAL: there is none, or one of another form; -ENOMEM. */
int stow_cpu_times_parse(const char *text, size_t len, struct stow_cpu_time **ret, size_t *ret_n,
			 struct stow_err *err);
int stow_cpu_times_read(struct stow_root *root, struct stow_cpu_time **ret, size_t *ret_n,
			struct stow_err *err);
