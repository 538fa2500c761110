// SPDX-License-Identifier: Apache-2.0
/* numastow stat, as text: processes and containers. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/view/stat_columns.h"
#include "cli/view/stat_view.h"
#include "cli/view/table.h"

enum {
	PROC_PID,
	PROC_COMMAND,
	PROC_NODE,
	PROC_HUGE,
	PROC_HEAP,
	PROC_STACK,
	PROC_PRIVATE,
	PROC_FILE,
	PROC_SHARED,
	PROC_TOTAL,
};

const struct cli_column stat_process_columns[] = {
	[PROC_PID] = { "PID", CLI_NUMBER, "process" },
	[PROC_COMMAND] = { "COMMAND", CLI_TEXT, "name of its program" },
	[PROC_NODE] = { "NODE", CLI_TEXT, "NUMA node, or all" },
	[PROC_HUGE] = { "HUGE", CLI_SIZE, "hugepages of hugetlbfs" },
	[PROC_HEAP] = { "HEAP", CLI_SIZE, "heap" },
	[PROC_STACK] = { "STACK", CLI_SIZE, "stack" },
	[PROC_PRIVATE] = { "PRIVATE", CLI_SIZE, "all other mappings, as numastat calls them" },
	[PROC_FILE] = { "FILE", CLI_SIZE,
			"of PRIVATE, mappings of a file, shared memory included" },
	[PROC_SHARED] = { "SHARED", CLI_SIZE,
			  "of PRIVATE, mappings with a page that other processes map, too" },
	[PROC_TOTAL] = { "TOTAL", CLI_SIZE, "HUGE, HEAP, STACK and PRIVATE" },
	{ NULL },
};

static void fill_process(struct cli_row *row, const struct stat_process *process,
			 const struct stow_node_pages *pages)
{
	uint64_t total = 0;

	cli_row_id(row, PROC_PID, process->pid);
	cli_row_text(row, PROC_COMMAND, process->command);
	for (int i = 0; i < STOW_PAGES_KINDS; i++) {
		cli_row_number(row, PROC_HUGE + i, pages->kinds[i]);
		total = stow_saturating_add(total, pages->kinds[i]);
	}
	cli_row_number(row, PROC_FILE, pages->file);
	cli_row_number(row, PROC_SHARED, pages->shared);
	cli_row_number(row, PROC_TOTAL, total);
}

static void add_pages(struct stow_node_pages *sum, const struct stow_node_pages *pages)
{
	for (int i = 0; i < STOW_PAGES_KINDS; i++)
		sum->kinds[i] = stow_saturating_add(sum->kinds[i], pages->kinds[i]);
	sum->file = stow_saturating_add(sum->file, pages->file);
	sum->shared = stow_saturating_add(sum->shared, pages->shared);
}

static void add_process(const struct stat_view *view, struct cli_table *table,
			const struct stat_process *process)
{
	static const struct stow_node_pages none = { 0 };
	struct stow_node_pages sum = { 0 };
	struct stow_idset nodes;
	struct cli_row *row;

	stat_process_nodes(view, process, &nodes);
	STOW_IDSET_FOR(node, &nodes) {
		const struct stow_node_pages *pages =
			(size_t)node < process->pages.n_nodes ? &process->pages.nodes[node] : &none;

		add_pages(&sum, pages);
		if (view->nonzero && !stow_process_pages_on(&process->pages, node))
			continue;
		row = cli_table_row(table, NULL);
		cli_row_format(row, PROC_NODE, "%d", node);
		fill_process(row, process, pages);
	}
	row = cli_table_row(table, NULL);
	cli_row_text(row, PROC_NODE, "all");
	fill_process(row, process, &sum);
}

static int print_processes(const struct stat_view *view, struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	int r = cli_table_new(stat_process_columns, view->out, &table, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < view->n_processes; i++)
		add_process(view, table, &view->processes[i]);
	return cli_table_print(table);
}

/* --- containers ----------------------------------------------------------- */

enum {
	CONT_CONTAINER,
	CONT_ID,
	CONT_NODE,
	CONT_ANON,
	CONT_FILE,
	CONT_SHMEM,
	CONT_KERNEL,
	CONT_HUGE,
	CONT_TOTAL,
	CONT_PROCESSES,
	CONT_MAPPED,
};

const struct cli_column stat_container_columns[] = {
	[CONT_CONTAINER] = { "CONTAINER", CLI_TEXT, "its name, or id" },
	[CONT_ID] = { "ID", CLI_TEXT, "its id", .extra = true },
	[CONT_NODE] = { "NODE", CLI_TEXT, "NUMA node, or all" },
	[CONT_ANON] = { "ANON", CLI_SIZE, "anonymous memory that is charged to it" },
	[CONT_FILE] = { "FILE", CLI_SIZE, "page cache, shared memory included" },
	[CONT_SHMEM] = { "SHMEM", CLI_SIZE, "of FILE, shared memory and tmpfs" },
	[CONT_KERNEL] = { "KERNEL", CLI_SIZE, "stacks, page tables, slab" },
	[CONT_HUGE] = { "HUGE", CLI_SIZE, "hugepages of hugetlbfs" },
	[CONT_TOTAL] = { "TOTAL", CLI_SIZE, "ANON, FILE, KERNEL and HUGE" },
	[CONT_PROCESSES] = { "PROCESSES", CLI_SIZE, "what its processes have mapped" },
	[CONT_MAPPED] = { "MAPPED", CLI_SIZE, "of FILE, what some process has mapped",
			  .extra = true },
	{ NULL },
};

static void fill_place(struct cli_table *table, const struct stat_container *c,
		       const struct stat_place *place)
{
	struct cli_row *row = cli_table_row(table, NULL);
	char id[80];

	cli_row_text(row, CONT_CONTAINER, cli_container_label(&c->it, id, sizeof(id)));
	cli_row_text(row, CONT_ID, c->it.id);
	if (place->node < 0)
		cli_row_text(row, CONT_NODE, "all");
	else
		cli_row_format(row, CONT_NODE, "%d", place->node);
	cli_row_number(row, CONT_ANON, place->anon);
	cli_row_number(row, CONT_FILE, place->file);
	cli_row_number(row, CONT_SHMEM, place->shmem);
	cli_row_number(row, CONT_KERNEL, place->kernel);
	cli_row_number(row, CONT_HUGE, place->huge);
	cli_row_number(row, CONT_TOTAL, place->total);
	cli_row_number(row, CONT_PROCESSES, place->processes);
	cli_row_number(row, CONT_MAPPED, place->mapped);
}

static void print_sized(const char *before, uint64_t bytes)
{
	char size[32];

	if (bytes != STOW_UNKNOWN && bytes)
		printf("  %s%s\n", before, stow_format_size(bytes, size, sizeof(size)));
}

/* Explain why what is charged to the container is not what its processes have mapped. */
static void print_difference(const struct stat_container *c)
{
	const struct stat_place *sum = &c->sum;
	char id[80], total[32], mapped[32];

	if (sum->anon == STOW_UNKNOWN || sum->processes == STOW_UNKNOWN)
		return;
	printf("\nContainer %s: %s are charged to it, its %zu process%s mapped %s. These differ:\n",
	       cli_container_label(&c->it, id, sizeof(id)),
	       stow_format_size(sum->total, total, sizeof(total)), c->n_processes,
	       c->n_processes == 1 ? " has" : "es have",
	       stow_format_size(sum->processes, mapped, sizeof(mapped)));
	if (sum->file != STOW_UNKNOWN && sum->mapped != STOW_UNKNOWN && sum->file > sum->mapped)
		print_sized("page cache that no process has mapped is charged: ",
			    sum->file - sum->mapped);
	print_sized("the kernel's memory for it is charged: ", sum->kernel);
	if (c->version == 1)
		printf("  cgroup v1 shows user memory only, not the kernel's\n");
	if (c->n_processes > 1)
		printf("  a page that several processes have mapped is charged once, and counted "
		       "for each\n");
	printf("  a page of a file is charged to the cgroup that used it first, whoever maps it "
	       "now\n");
}

static void print_balancing(const struct stat_container *c)
{
	static const struct {
		enum stow_balancing_counter counter;
		const char *name;
	} shown[] = {
		{ STOW_NUMA_HINT_FAULTS, "hinting faults" },
		{ STOW_NUMA_PAGES_MIGRATED, "pages migrated" },
		{ STOW_PGPROMOTE_SUCCESS, "promoted" },
		{ STOW_PGDEMOTE_KSWAPD, "demoted by kswapd" },
		{ STOW_PGDEMOTE_DIRECT, "demoted by its programs" },
	};
	bool any = false;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(shown); i++)
		if (c->counters[shown[i].counter] != STOW_UNKNOWN) {
			printf("%s%" PRIu64 " %s",
			       any ? ", " : "  NUMA balancing: ", c->counters[shown[i].counter],
			       shown[i].name);
			any = true;
		}
	if (any)
		printf("\n");
}

static int print_containers(const struct stat_view *view, struct stow_err *err)
{
	const struct cli_output *out = view->out;
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	int r = cli_table_new(stat_container_columns, out, &table, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < view->n_containers; i++) {
		const struct stat_container *c = &view->containers[i];

		for (size_t k = 0; k < c->n_places; k++)
			if (!view->nonzero ||
			    (c->places[k].total && c->places[k].total != STOW_UNKNOWN))
				fill_place(table, c, &c->places[k]);
		fill_place(table, c, &c->sum);
	}
	r = cli_table_print(table);
	if (r < 0 || out->columns || out->all || out->pairs || out->raw || out->noheadings)
		return r;
	for (size_t i = 0; i < view->n_containers; i++) {
		print_difference(&view->containers[i]);
		print_balancing(&view->containers[i]);
	}
	return 0;
}

int stat_print_use(const struct stat_view *view, struct stow_err *err)
{
	int r = view->n_processes ? print_processes(view, err) : 0;

	if (r == 0 && view->n_processes && view->n_containers)
		putchar('\n');
	return r == 0 && view->n_containers ? print_containers(view, err) : r;
}
