/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The output of `numastow stat`, as text or JSON. */

#include <stdbool.h>
#include <stddef.h>

#include "base/idset.h"
#include "base/root.h"
#include "cgroup/numa_stat.h"
#include "cli/container.h"
#include "cli/view/output.h"
#include "node/counters.h"
#include "pages/numa_maps.h"

struct stat_node {
	int node;
	uint64_t counters[STOW_NODE_COUNTERS];
};

struct stat_process {
	pid_t pid;
	char command[64];
	struct stow_process_pages pages;
};

/* What a container has on a node, in bytes; STOW_UNKNOWN. */
struct stat_place {
	int node;
	uint64_t anon, file;
	uint64_t shmem, mapped; /* of file: shared memory; what a process has mapped */
	uint64_t kernel;	/* stacks, page tables, slab; not known on cgroup v1 */
	uint64_t huge;		/* of hugetlbfs: another controller counts it */
	uint64_t total;		/* all of these */
	uint64_t processes;	/* what its processes have mapped */
};

struct stat_container {
	struct cli_container it;
	int version; /* of its memory controller */
	struct stat_place *places;
	size_t n_places;
	struct stat_place sum;
	size_t n_processes, n_unread; /* of them: not read, for lack of rights or time */
	uint64_t counters[STOW_BALANCING_COUNTERS];
};

/* A field of meminfo, for all nodes. */
struct stat_field {
	char name[STOW_FIELD_NAME];
	bool bytes;
	uint64_t *values; /* by index of the node; STOW_UNKNOWN */
};

struct stat_view {
	struct stow_root *root;
	const struct cli_output *out;
	bool meminfo; /* the fields of meminfo */
	bool nonzero;
	bool again; /* what cannot be read of nodes and machine is known already */
	int sort;   /* a node, or -1 */

	struct stow_idset online;
	struct stat_node *nodes; /* that were asked for */
	size_t n_nodes;
	uint64_t machine[STOW_BALANCING_COUNTERS];
	bool counted;	  /* vm.numa_stat is not 0 */
	uint64_t read_ns; /* when, on the monotonic clock */

	struct stat_field *fields;
	size_t n_fields;

	struct stat_process *processes;
	size_t n_processes;
	struct stat_container *containers;
	size_t n_containers;
	size_t n_failed; /* of the processes and containers that were asked for */
};

/* Read what is asked for: `words` are PIDs, containers, and names of programs; none: the counters
 * of nodes and machine. What cannot be read is printed to standard error, a line each. */
int stat_view_read(struct stow_root *root, struct stat_view *view, char **words, int n_words,
		   struct stow_err *err);
void stat_view_done(struct stat_view *view);

/* Return a node of a view, which may be NULL; NULL: it is not there. */
const struct stat_node *stat_view_node(const struct stat_view *view, int node);
/* Sum up the demotions of a node, of all kinds; STOW_UNKNOWN: none is known. */
uint64_t stat_demoted(const uint64_t counters[STOW_NODE_COUNTERS]);
/* Return the sum of a process's pages on a node, or on all nodes that are shown (-1). */
uint64_t stat_process_sum(const struct stat_view *view, const struct stat_process *process,
			  int node);
/* Return the nodes of a process's pages that are shown. */
void stat_process_nodes(const struct stat_view *view, const struct stat_process *process,
			struct stow_idset *ret);

/* Print. `before`: with rates since that view; NULL: none. Return 0 or -errno. */
int stat_print_text(const struct stat_view *view, const struct stat_view *before,
		    struct stow_err *err);
int stat_print_json(const struct stat_view *view, const struct stat_view *before);

/* Print the part of the output about processes and containers (stat_use_text.c). */
int stat_print_use(const struct stat_view *view, struct stow_err *err);
