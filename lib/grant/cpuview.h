/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which CPUs a container may use: computed from the ledger, the configuration and the kernel's
 * present state, and stored nowhere.
 *
 *  - an exclusive container: its own CPUs, which are rows of the ledger;
 *  - a shared container: all CPUs of its NUMA nodes, minus reserved, isolated (isolcpus) and
 *    exclusive CPUs, within the CPUs of its config.json;
 *  - an unmanaged container: the CPUs of its config.json, or else all CPUs, minus exclusive CPUs.
 *
 * The sets include offline CPUs, so that a CPU takes effect by itself when it comes online.
 */

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "ledger/ledger.h"
#include "place/config.h"

struct stow_cpu_view {
	struct stow_root *root;
	const struct stow_config *config;     /* NULL: nothing is reserved */
	const struct stow_topology *topology; /* lent by a caller that has read one; or NULL */
	uint64_t came;			      /* stow_cpus_came(), read before `online` */
	struct stow_idset online;	      /* stow_cpus_in_sets() */
	struct stow_idset offline;	      /* present, but not among these */
	struct stow_idset isolated;	      /* isolcpus: never shared */
	struct stow_idset exclusive;
	char reserved[STOW_DIGEST_LEN + 1]; /* stow_config_reserved_digest() */
	/* CPUs by NUMA node, offline ones included, minus reserved ones; read when first needed. */
	struct stow_cpu_view_node {
		int id;
		struct stow_idset cpus;
	} * nodes;
	size_t n_nodes;
};

/*
 * Return when the last CPU came online, and put the CPUs that came online after `since` into `ret`
 * (may be NULL). The time is a number that only grows: sysfs creates a CPU's topology directory
 * anew whenever the CPU comes online, with a higher inode number than any before. Return 0 where a
 * set does not depend on it: only on cgroup v1 does a set lose a CPU that was offline, however
 * briefly.
 */
uint64_t stow_cpus_came(struct stow_root *root, uint64_t since, struct stow_idset *ret);

/*
 * Read the CPUs that sets can have now: those that are online and, on cgroup v1, in the topmost
 * cpuset. There the kernel takes a CPU that goes out of all cpusets before it is offline, and puts
 * one that came into the topmost cpuset a moment after it is online.
 */
int stow_cpus_in_sets(struct stow_root *root, struct stow_idset *ret, struct stow_err *err);

/* Read what the functions below compute from. `ledger` may be NULL: then no CPU is exclusive. */
int stow_cpu_view_read(struct stow_root *root, const struct stow_config *config,
		       struct stow_ledger *ledger, struct stow_cpu_view *ret, struct stow_err *err);
void stow_cpu_view_done(struct stow_cpu_view *view);

/*
 * Return whether no CPU went or came since the view was read. On cgroup v1 the kernel takes a CPU
 * that goes out of every set: a set that is read after the view may lack CPUs that no tool has
 * taken. Call it after the set was read.
 */
bool stow_cpu_view_is_current(const struct stow_cpu_view *view);

/* Treat the CPUs that went since the view was read as offline, those that are back already as
 * well: on cgroup v1 the sets have lost them. Return whether there were any. `came` stays, so that
 * a later view shows that they came. */
bool stow_cpu_view_drop_gone(struct stow_cpu_view *view);

/* Compute the CPUs that a shared record would have if no CPU were exclusive; with `moved`, those of
 * its repin's target. */
int stow_cpu_view_base(struct stow_cpu_view *view, const struct stow_record *record, bool moved,
		       struct stow_idset *ret, struct stow_err *err);

/* Compute the online CPUs that the record's container has now, for users and reports: its exclusive
 * CPUs, or the shared CPUs of its nodes. Never fails: leaves out what cannot be read. */
void stow_cpu_view_of(struct stow_cpu_view *view, const struct stow_record *record,
		      struct stow_idset *ret);

/* Compute the online CPUs that are neither exclusive, nor isolated, nor reserved. A container whose
 * own CPUs are all offline gets them. */
int stow_cpu_view_common(struct stow_cpu_view *view, struct stow_idset *ret, struct stow_err *err);
