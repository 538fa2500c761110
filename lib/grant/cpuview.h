/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which CPUs a container may use: computed from the ledger, the configuration and what the kernel
 * says now, and stored nowhere.
 *
 *  - an exclusive container: its own CPUs, which are rows of the ledger;
 *  - a shared one: all CPUs of its NUMA nodes, less those that the administrator reserved, less
 *    isolated ones (isolcpus), less all exclusive ones, within the CPUs that its config.json gave;
 *  - an unmanaged one: the CPUs that its config.json gave, else all that there are, less all
 *    exclusive ones.
 *
 * Offline CPUs are members: what is written contains them, so that they come back by themselves.
 */

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "ledger/ledger.h"
#include "place/config.h"

struct stow_cpu_view {
	struct stow_root *root;
	const struct stow_config *config;     /* NULL: nothing is reserved */
	const struct stow_topology *topology; /* the caller's, if it has read one; else NULL */
	uint64_t came; /* when the last of them came, see stow_cpus_came(); read before `online` */
	struct stow_idset online;
	struct stow_idset offline;  /* CPUs that are there and offline */
	struct stow_idset isolated; /* by isolcpus: never shared */
	struct stow_idset exclusive;
	char reserved[STOW_DIGEST_LEN + 1]; /* stow_config_reserved_digest() */
	/* CPUs by NUMA node, offline ones too, less the administrator's; read when first needed. */
	struct stow_cpu_view_node {
		int id;
		struct stow_idset cpus;
	} * nodes;
	size_t n_nodes;
};

/*
 * Returns when the last CPU came online, and puts those that came after `since` into `ret` (may be
 * NULL). The time is a number that only grows: sysfs makes a CPU's topology directory anew whenever
 * the CPU comes online, with a higher inode number than all before. 0: nothing depends on it. Only
 * on cgroup v1 does a set lack a CPU after it was offline, however short that was.
 */
uint64_t stow_cpus_came(struct stow_root *root, uint64_t since, struct stow_idset *ret);

/* Reads what the functions below compute from. `ledger` may be NULL: then nothing is exclusive. */
int stow_cpu_view_read(struct stow_root *root, const struct stow_config *config,
		       struct stow_ledger *ledger, struct stow_cpu_view *ret, struct stow_err *err);
void stow_cpu_view_done(struct stow_cpu_view *view);

/* Computes the CPUs that a shared record would have if no CPU were exclusive; with `moved` those of
 * its repin's target. */
int stow_cpu_view_base(struct stow_cpu_view *view, const struct stow_record *record, bool moved,
		       struct stow_idset *ret, struct stow_err *err);

/* Computes the CPUs that the record's container has now, for people and reports: its own, or the
 * shared ones of its nodes; online ones only. Never fails: what cannot be read is left out. */
void stow_cpu_view_of(struct stow_cpu_view *view, const struct stow_record *record,
		      struct stow_idset *ret);

/* Computes the online CPUs that are neither exclusive, nor isolated, nor reserved by the
 * administrator: a container whose own CPUs are all offline gets them. */
int stow_cpu_view_common(struct stow_cpu_view *view, struct stow_idset *ret, struct stow_err *err);
