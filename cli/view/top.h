/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * numastow top: what it reads (top_machine.c, top_source.c, top_pages.c, top_pmu.c), what it makes
 * of that (top_order.c), the text of its screen (top_frame.c), the terminal (top_screen.c), and
 * JSON (top_json.c).
 *
 * Rates are made of two readings. What the kernel does not tell is STOW_UNKNOWN, and -1 as a rate
 * or share.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/idset.h"
#include "base/root.h"
#include "cli/container.h"
#include "ledger/drains.h"
#include "ledger/ledger.h"
#include "node/counters.h"
#include "node/zones.h"
#include "pages/numa_maps.h"

/* --- remote loads (top_pmu.c) ---------------------------------------------- */

/* The CPUs' counters of loads that the memory of another node has served: the event
 * node-load-misses of perf(1). (What node-loads counts beside it depends on the CPU.) */
struct top_pmu {
	int *fds;		/* by number of the CPU; -1: none */
	struct stow_idset cpus; /* that are counted */
	char why[128];		/* why there are none; "": there are */
};

/* Begin to count on these CPUs. A machine without these events, or a user who may not count them,
 * is no error: `why` has the reason. */
void top_pmu_open(struct stow_root *root, const struct stow_idset *cpus, struct top_pmu *ret);
/* Return what was counted on these CPUs; STOW_UNKNOWN: none of them is counted. */
uint64_t top_pmu_read(const struct top_pmu *pmu, const struct stow_idset *cpus);
void top_pmu_done(struct top_pmu *pmu);

/* --- one reading of the machine (top_machine.c) ---------------------------- */

struct top_node {
	int node;
	size_t n_cpus;
	uint64_t busy, all;   /* clock ticks of its CPUs, since the boot */
	uint64_t total, free; /* bytes */
	enum stow_pressure pressure;
	uint64_t counters[STOW_NODE_COUNTERS];
	uint64_t remote; /* loads that other nodes' memory has served */
};

struct top_psi {
	bool known;
	struct stow_psi psi;
};

struct top_machine {
	uint64_t read_ns; /* on the monotonic clock */
	struct top_node *nodes;
	size_t n_nodes;
	struct stow_idset cpus; /* online */
	uint64_t counters[STOW_BALANCING_COUNTERS];
	uint64_t balancing; /* kernel.numa_balancing; STOW_UNKNOWN: this kernel has none */
	bool counted;	    /* vm.numa_stat is not 0 */
	struct top_psi cpu, memory;
};

/* Read the machine; `pmu` may be NULL. -ENODATA: it has no NUMA node; -ENOMEM. */
int top_machine_read(struct stow_root *root, const struct top_pmu *pmu, struct top_machine *ret,
		     struct stow_err *err);
void top_machine_done(struct top_machine *machine);

/* Return the node of that number, or NULL. */
const struct top_node *top_machine_node(const struct top_machine *machine, int node);

/* Return how fast a counter grew within `ns`, in 1/s; -1: it is not known, or was set back. */
double top_rate(uint64_t before, uint64_t now, uint64_t ns);
/* Return by how many percent of `whole` the part grew; -1: not known, or the whole did not grow. */
double top_share(uint64_t part_before, uint64_t part, uint64_t whole_before, uint64_t whole);

/* --- containers and drains (top_source.c) ----------------------------------- */

struct top_container {
	struct cli_container it;
	bool granted; /* the ledger has a grant of it; then also the next ones are known: */
	bool exclusive, moving;
	uint32_t cpus;
	uint64_t memory;	 /* bytes; STOW_UNKNOWN: no grant */
	struct stow_idset nodes; /* of the grant; else those where it may have memory */
	uint64_t *used;		 /* bytes, by index of the source's nodes; STOW_UNKNOWN */
	uint64_t total, off;	 /* on all nodes; on others than `nodes` */
	/* CPU time since its start, in microseconds: now, and at the reading before. */
	uint64_t cpu_us, cpu_us_before;
	uint64_t read_ns, read_ns_before;
	bool filled; /* these were read before */
};

struct top_source {
	struct stow_root *root;
	struct stow_ledger *ledger; /* NULL: none, or not readable */
	bool hidden;		    /* only root can read it */
	uint32_t changes;	    /* of the ledger, when it was read */
	bool again;		    /* a container had no process at the last reading */
	uint64_t fingerprint;	    /* of the discovered containers */
	struct stow_record **records;
	size_t n_records;
	struct stow_drain_row *drains;
	size_t n_drains;
	int *nodes;
	size_t n_nodes;
	struct top_container *list;
	size_t n;
};

/* Read containers and drains; `machine` has the nodes. What was read before is used where nothing
 * has changed, and becomes the reading before. -ENOMEM. */
int top_source_read(struct top_source *source, const struct top_machine *machine,
		    struct stow_err *err);
void top_source_done(struct top_source *source);

/* Return the percent of one CPU that a container used between the last two readings; -1: not
 * known. */
double top_container_busy(const struct top_container *c);
/* Return the percent of its memory that is off its nodes; -1: not known. */
double top_container_off(const struct top_container *c);
/* Return "moving", "exclusive" or "shared"; NULL: it has no grant. */
const char *top_container_grant(const struct top_container *c);

/* --- pages of what is selected (top_pages.c) -------------------------------- */

struct top_process {
	pid_t pid;
	char command[64];
	uint64_t *used; /* bytes, by index of the nodes */
	uint64_t total;
};

/* Rounds over the processes of one container, or one process. numa_maps is read within a credit:
 * 5 % of the time that passes. */
struct top_pages {
	char id[STOW_ID_MAX + 1]; /* of the container; "": a process, or nothing */
	pid_t pid;
	int64_t credit; /* ns of CPU time that may be used; below 0: debt */
	uint64_t last_ns;
	pid_t *pids; /* of this round */
	size_t n_pids, next;
	struct top_process *work, *shown; /* of this round; of the last whole one, largest first */
	size_t n_work, n_shown;
	size_t n_unread, n_unread_shown; /* that belong to other users */
	bool whole;			 /* a round is complete */
};

/* Select a container (by id) or, with id "", a process; 0: nothing. */
void top_pages_select(struct top_pages *pages, const char *id, pid_t pid);
/* Add 5 % of the time since the last call to the credit: at most that of 10 seconds is kept. */
void top_pages_earn(struct top_pages *pages, uint64_t now_ns);
/* Read processes while there is credit. The cgroup is that of the selected container, or NULL.
 * -ESRCH: the container or process has ended. */
int top_pages_read(struct top_pages *pages, struct stow_root *root,
		   const struct stow_cgroup *cgroup, const int *nodes, size_t n_nodes,
		   struct stow_err *err);
void top_pages_done(struct top_pages *pages);

/* --- what is shown (top_order.c) --------------------------------------------- */

/* In the order of the columns. */
enum top_sort {
	TOP_NAME,
	TOP_GRANT,
	TOP_CPUS,
	TOP_BUSY,
	TOP_NODES,
	TOP_PROMISED,
	TOP_MEMORY,
	TOP_OFF_NODE,
	TOP_SORTS,
};

/* Their names as --sort takes them, ending with NULL. */
extern const char *const top_sort_names[TOP_SORTS + 1];

#define TOP_FILTER_MAX 64

struct top_view {
	struct top_machine now, before; /* `before` has no nodes until there are two readings */
	struct top_source source;
	struct top_pages pages;
	struct top_pmu pmu;
	uint64_t delay; /* ns between two readings */

	struct stow_idset nodes; /* only these NUMA nodes; empty: all */
	enum top_sort sort;
	bool reverse;
	char filter[TOP_FILTER_MAX + 1]; /* part of a name or id; "": all */

	/* The full screen: */
	char selected[STOW_ID_MAX + 1]; /* id of the container with the cursor */
	size_t first;			/* container on the top line */
	bool details;			/* the pages of what is selected */
	bool help;
	bool asking; /* the filter is being typed */
	char message[160];
};

/* Take one reading of everything. */
int top_view_read(struct top_view *view, struct stow_err *err);
void top_view_done(struct top_view *view);

/* Return the ns between the last two readings; 0: there is only one. */
uint64_t top_view_passed(const struct top_view *view);
/* Return the machine's NUMA hint faults between them; STOW_UNKNOWN. */
uint64_t top_view_hint_faults(const struct top_view *view);

/* Return the containers that the filter leaves, sorted; the caller frees the list, of n elements.
 * NULL: out of memory. */
const struct top_container **top_view_order(const struct top_view *view, size_t *ret_n);

/* Print what was read last as one JSON object (top_json.c). -ENOMEM. */
int top_json_print(const struct top_view *view);
