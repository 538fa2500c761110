/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Cpuset partitions: with `partitions: yes` in config.yaml, the CPUs of a container with cpu-mode
 * isolated become a remote partition of type isolated, so that the kernel's scheduler balances no
 * load over them (cgroup v2, Linux 6.7 and later).
 *
 * What there must be is computed from the ledger: the container's CPUs in its own
 * cpuset.cpus.exclusive, and in that of each cgroup above it the CPUs of all such containers below.
 * The cgroups where numastow has written one are in the ledger, with their inodes, and only those
 * are ever taken back: what another tool has set stays.
 *
 * A cpuset beside the container, on any level, that overlaps makes a partition invalid, and the
 * kernel then writes a WARNING to its log, which with panic_on_warn stops the machine. So a
 * partition is made only where nothing overlaps. The container has its CPUs for itself in any case,
 * as with cpu-mode exclusive.
 */

#include "grant/grant.h"

/* One run of the applier. Begins as { .context, .records, .n, .focus, .say, .ctx }. */
struct stow_partitions {
	const struct stow_grant_context *context;
	struct stow_record **records;
	size_t n;
	int64_t focus; /* the record of the caller's own container, or 0 */
	void (*say)(void *ctx, const char *id, const char *text); /* a partition that is not */
	void *ctx;

	struct stow_partition_want *wants; /* the module's own from here on */
	size_t n_wants;
	struct stow_ledger_partition *rows;
	size_t n_rows;
	const struct stow_record *unable; /* the one in focus, where there are no partitions */
	const char *why_unable;
};

/* Takes back, before CPU sets are written, what the ledger no longer has, so that no set that grows
 * overlaps a partition. `thorough`: looks also where the configuration and the records have none. */
void stow_partitions_leave(struct stow_partitions *p, bool thorough);
/* Makes, after they have been written, those partitions that are not there or not valid, where
 * nothing overlaps. */
void stow_partitions_make(struct stow_partitions *p);
/* Frees what a run has read. */
void stow_partitions_done(struct stow_partitions *p);

/* Adds the cgroup's CPUs to `set` when it is a partition: they are not among those that take effect
 * in the cgroup above, and those that the container has given to partitions of its own, below it,
 * are not among those that take effect in its cgroup. */
void stow_partition_add_held(const struct stow_cgroup *cgroup, struct stow_idset *set);

/* How a record's container is isolated now. */
enum stow_partition_state {
	STOW_PARTITION_NONE, /* none is wanted */
	STOW_PARTITION_VALID,
	STOW_PARTITION_INVALID, /* exclusive CPUs, but no partition; the text says why */
};
#define STOW_PARTITION_WHY 512
/* Reads it from the kernel. */
enum stow_partition_state stow_partition_look(const struct stow_grant_context *context,
					      const struct stow_record *record,
					      char why[static STOW_PARTITION_WHY]);
