/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Cpuset partitions: with `partitions: yes` in config.yaml, the CPUs of a container with cpu-mode
 * isolated become a remote partition of type isolated, so that the kernel's scheduler balances no
 * load over them (cgroup v2, Linux 6.7 and later).
 *
 * The partitions are computed from the ledger: the container's CPUs in its own
 * cpuset.cpus.exclusive, and in cpuset.cpus.exclusive of each cgroup above it the CPUs of all such
 * containers below. The ledger lists the cgroups where numastow has written that file, with their
 * inodes, and only those are ever reset: what another tool has set stays.
 *
 * A sibling cpuset that overlaps, on any level, makes a partition invalid. The kernel then logs a
 * WARNING, which with panic_on_warn stops the machine. A partition is therefore made only where
 * nothing overlaps. The container's CPUs are exclusive in any case, as with cpu-mode exclusive.
 */

#include "grant/context.h"

/* One run. Initialise as { .context, .records, .n, .focus, .warn, .ctx }. */
struct stow_partitions {
	const struct stow_grant_context *context;
	struct stow_record **records;
	size_t n;
	int64_t focus; /* key of the caller's own record, or 0 */
	void (*warn)(void *ctx, const char *id,
		     const char *text); /* reports a container without its partition */
	void *ctx;

	struct stow_partition_want *wants; /* private from here on */
	size_t n_wants;
	struct stow_ledger_partition *rows;
	size_t n_rows;
	const struct stow_record *unable; /* the record in focus, where partitions are unsupported */
	const char *why_unable;
};

/* Before CPU sets are written, reset the partitions that the ledger no longer has, so that no
 * growing set overlaps one. `thorough`: look for them also when neither the configuration nor a
 * record wants any. */
void stow_partitions_leave(struct stow_partitions *p, bool thorough);
/* After CPU sets have been written, make the partitions that are missing or invalid, where nothing
 * overlaps. */
void stow_partitions_make(struct stow_partitions *p);
/* Free what a run has read. */
void stow_partitions_done(struct stow_partitions *p);

/* Add the CPUs of a partition to `set`, if the cgroup is one. They are not in cpuset.cpus.effective
 * of the cgroup above; CPUs that the container has given to partitions below it are not in its
 * own. */
void stow_partition_add_held(const struct stow_cgroup *cgroup, struct stow_idset *set);

/* Whether a record's container has its partition now. */
enum stow_partition_state {
	STOW_PARTITION_NONE, /* it wants none */
	STOW_PARTITION_VALID,
	STOW_PARTITION_INVALID, /* exclusive CPUs, but no valid partition; `why` has the reason */
};
#define STOW_PARTITION_WHY 512
/* Read the state from the kernel. */
enum stow_partition_state stow_partition_look(const struct stow_grant_context *context,
					      const struct stow_record *record,
					      char why[static STOW_PARTITION_WHY]);
