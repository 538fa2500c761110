/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What numastow show knows of processes: threads, pages, the container and what it was promised. */

#include "cli/view/output.h"
#include "cli/view/table.h"
#include "grant/context.h"
#include "grant/names.h"
#include "pages/numa_maps.h"
#include "pages/task.h"

struct show_process {
	pid_t pid;
	struct stow_task *threads; /* by ascending number */
	size_t n_threads;
	bool cut;		      /* it has more */
	char *cgroup;		      /* of the cpuset hierarchy; NULL: unknown */
	char *id, *name;	      /* of the container; NULL: it is in none, or unknown */
	bool granted;		      /* the container has a grant */
	bool promised;		      /* the ledger has CPUs for it */
	struct stow_idset cpus, mems; /* its promised CPUs and NUMA nodes */
	bool pages_known;
	struct stow_process_pages pages;
	bool checked;	/* its threads' CPUs and its pages are known, and were promised */
	bool displaced; /* a thread may run, or pages are, where nothing was promised */
};

struct show_view {
	const struct cli_output *out;
	struct stow_root *root;
	struct stow_config *config;
	struct stow_ledger *ledger; /* NULL: none, or not readable */
	struct stow_record **records;
	size_t n_records;
	struct stow_names names; /* read with the first container */
	bool names_read;
	struct stow_idset online, memory; /* CPUs; nodes with memory */
	struct show_process *list;
	size_t n;
	size_t hidden;	  /* processes whose numa_maps is for their owner and root */
	size_t displaced; /* processes */
};

extern const struct cli_column show_columns[];

/* Open the tree and, where the caller may, its ledger. */
int show_view_open(struct show_view *view, struct stow_err *err);
/* Read the processes that the words name: by number; by a container's id, the beginning of it, or
 * its name; by a process's name. -ENOENT: nothing has that name; -ENOTUNIQ: several containers
 * have it. */
int show_view_find(struct show_view *view, char **words, int n, struct stow_err *err);
/* Read every process whose CPUs, NUMA nodes or memory policy are not the whole machine's and the
 * default. Their pages are not read. */
int show_view_restricted(struct show_view *view, struct stow_err *err);
void show_view_done(struct show_view *view);

/* Print each process with its threads; a line for each process; an object. */
int show_print_processes(const struct show_view *view, struct stow_err *err);
int show_print_list(const struct show_view *view, struct stow_err *err);
int show_print_json(const struct show_view *view);
