/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the rules: what was read of the machine, and how a finding is reported. */

#include "base/idset.h"
#include "cgroup/cgroup.h"
#include "cgroup/cpuset.h"
#include "doctor/doctor.h"
#include "node/device.h"
#include "node/settings.h"
#include "node/topology.h"

#define DOCTOR_PROCESSES 65536 /* that are looked at */
#define DOCTOR_SUBJECTS	 16    /* findings of one rule; the rest is counted */
#define DOCTOR_LISTED	 96    /* bytes of a set within a text */

/* Files with counters, at one moment; NULL: not readable. */
struct doctor_sample {
	char *vmstat;	  /* /proc/vmstat */
	char *interrupts; /* /proc/interrupts */
	char **nodes;	  /* by the topology's index: the node's vmstat, or numastat */
};

struct doctor_node {
	int id;
	uint64_t total, available;	/* bytes */
	uint64_t free, low, high, file; /* pages of zoneinfo; STOW_UNKNOWN */
	/* Allocations within the time that the counters cover: served here; meant for here and
	 * served by another node; STOW_UNKNOWN. */
	uint64_t hit, foreign;
};

struct doctor_process {
	pid_t pid;
	unsigned int threads;
	char comm[64];
	uint64_t swap; /* bytes */
	struct stow_idset cpus, mems;
};

struct doctor_container {
	char *id;
	char *name;			 /* Kubernetes' or Podman's; NULL: not known */
	bool granted, exclusive, moving; /* moving: a repin is in progress */
	struct stow_idset granted_cpus, granted_nodes;
	struct stow_cpuset set;
	bool known; /* `set` was read */
	struct stow_cgroup *cgroup;
	uint64_t *used; /* bytes on each node, by the topology's index; NULL: unknown */
	uint64_t total;
};

struct doctor {
	struct stow_root *root;
	struct stow_ledger *ledger;
	const struct stow_doctor_options *options;
	struct stow_findings *findings;
	const struct stow_rule *rule; /* that is being applied */
	size_t n_reported;	      /* findings of this rule */

	struct stow_topology *topology; /* NULL: unreadable, with the reason in `why` */
	struct stow_err why;
	struct doctor_node *nodes; /* by the topology's index */
	size_t n_nodes;
	struct stow_devices devices;
	struct doctor_sample before, now;
	double seconds;
	char *cmdline; /* NULL: unreadable */

	bool processes_read, containers_read;
	struct doctor_process *processes; /* without the kernel's threads */
	size_t n_processes;
	struct doctor_container *containers;
	size_t n_containers;
	struct stow_err containers_why;
};

/* Read what most rules need. Only -ENOMEM is an error. */
int doctor_look(struct doctor *d, struct stow_err *err);
void doctor_look_done(struct doctor *d);

/* Read the processes and the containers, once. */
int doctor_processes(struct doctor *d, struct stow_err *err);
int doctor_containers(struct doctor *d, struct stow_err *err);
void doctor_containers_done(struct doctor *d);

/* Format "container NAME (ID)", or "container ID" where it has no name. Return `buf`. */
#define DOCTOR_NAMED 256
const char *doctor_name(const struct doctor_container *container, char buf[static DOCTOR_NAMED]);
/* Return how many characters of a container's id tell it apart from others. */
int doctor_id_len(const struct doctor_container *container);

/* Report a finding. `command` NULL: the rule's. Beyond DOCTOR_SUBJECTS of one rule they are only
 * counted. Texts of other programs are cleaned. 0 or -ENOMEM. */
__attribute__((format(printf, 6, 7))) int doctor_report(struct doctor *d,
							enum stow_finding_level level, int node,
							const char *subject, const char *command,
							const char *evidence, ...);

/* Return 0, or why the topology could not be read: the rule cannot be applied then. */
int doctor_needs_topology(const struct doctor *d, struct stow_err *err);

/* Return how much a counter of /proc/vmstat has grown; STOW_UNKNOWN when it is missing. */
uint64_t doctor_grown(const struct doctor *d, const char *key);
/* Return the growth per second; 0 when it or the time is unknown. */
double doctor_rate(const struct doctor *d, uint64_t grown);
/* Format the time that the counters cover: "since the boot, 3600 s ago", or "within 5 s". */
const char *doctor_since(const struct doctor *d, char *buf, size_t size);

/* Read a setting as a number: its value, or STOW_UNKNOWN. */
uint64_t doctor_setting(struct doctor *d, const char *name);

/* Find the nodes of a set of CPUs. */
void doctor_nodes_of_cpus(const struct doctor *d, const struct stow_idset *cpus,
			  struct stow_idset *ret);
/* Return the node outside of `except` (may be NULL) with the largest share of available memory, or
 * NULL. */
const struct doctor_node *doctor_roomiest(const struct doctor *d, const struct stow_idset *except);
/* Return `part` in percent of `whole`. */
unsigned int doctor_percent(uint64_t part, uint64_t whole);
/* Find a process of that name, or NULL. */
const struct doctor_process *doctor_find_process(const struct doctor *d, const char *comm);
/* Read a parameter of the kernel's command line. Return false when it is not given. */
bool doctor_parameter(const struct doctor *d, const char *name, char *buf, size_t size);

/* The rules' functions. */
int doctor_rule_balancing_bound(struct doctor *d, struct stow_err *err);
int doctor_rule_tiering(struct doctor *d, struct stow_err *err);
int doctor_rule_demotion_bound(struct doctor *d, struct stow_err *err);
int doctor_rule_promotion(struct doctor *d, struct stow_err *err);
int doctor_rule_balancing_settings(struct doctor *d, struct stow_err *err);
int doctor_rule_zone_reclaim(struct doctor *d, struct stow_err *err);
int doctor_rule_hit_counters(struct doctor *d, struct stow_err *err);
int doctor_rule_ksm(struct doctor *d, struct stow_err *err);
int doctor_rule_overcommit(struct doctor *d, struct stow_err *err);
int doctor_rule_hotplug(struct doctor *d, struct stow_err *err);

int doctor_rule_exhausted(struct doctor *d, struct stow_err *err);
int doctor_rule_cache(struct doctor *d, struct stow_err *err);
int doctor_rule_uneven_use(struct doctor *d, struct stow_err *err);
int doctor_rule_overflow(struct doctor *d, struct stow_err *err);
int doctor_rule_swap(struct doctor *d, struct stow_err *err);

int doctor_rule_one_node(struct doctor *d, struct stow_err *err);
int doctor_rule_distances(struct doctor *d, struct stow_err *err);
int doctor_rule_memoryless(struct doctor *d, struct stow_err *err);
int doctor_rule_uneven_memory(struct doctor *d, struct stow_err *err);
int doctor_rule_several_nodes(struct doctor *d, struct stow_err *err);
int doctor_rule_device_node(struct doctor *d, struct stow_err *err);
int doctor_rule_numa_off(struct doctor *d, struct stow_err *err);
int doctor_rule_numa_fake(struct doctor *d, struct stow_err *err);
int doctor_rule_movable_node(struct doctor *d, struct stow_err *err);
int doctor_rule_irqaffinity(struct doctor *d, struct stow_err *err);
int doctor_rule_nohz_full(struct doctor *d, struct stow_err *err);
int doctor_rule_interrupts(struct doctor *d, struct stow_err *err);

int doctor_rule_undone(struct doctor *d, struct stow_err *err);
int doctor_rule_far_memory(struct doctor *d, struct stow_err *err);
int doctor_rule_far_device(struct doctor *d, struct stow_err *err);
int doctor_rule_out_of_memory(struct doctor *d, struct stow_err *err);
int doctor_rule_v1_migrate(struct doctor *d, struct stow_err *err);
int doctor_rule_v1_spread_page(struct doctor *d, struct stow_err *err);
int doctor_rule_v1_spread_slab(struct doctor *d, struct stow_err *err);
int doctor_rule_isolated(struct doctor *d, struct stow_err *err);

int doctor_rule_numad(struct doctor *d, struct stow_err *err);
int doctor_rule_irqbalance(struct doctor *d, struct stow_err *err);
int doctor_rule_tuned(struct doctor *d, struct stow_err *err);
int doctor_rule_kubelet(struct doctor *d, struct stow_err *err);
int doctor_rule_slices(struct doctor *d, struct stow_err *err);
int doctor_rule_runtime_affinity(struct doctor *d, struct stow_err *err);
int doctor_rule_runtime_cpus(struct doctor *d, struct stow_err *err);
