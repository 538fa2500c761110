// SPDX-License-Identifier: Apache-2.0
/* numastow stat, as text: nodes, machine, meminfo. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/view/stat_columns.h"
#include "cli/view/stat_view.h"
#include "cli/view/table.h"

#define NODES_ABREAST 32 /* more nodes than this are shown one below the other */

enum {
	COL_NODE,
	COL_HIT,
	COL_MISS,
	COL_FOREIGN,
	COL_INTERLEAVE,
	COL_LOCAL,
	COL_OTHER,
	COL_PROMOTED,
	COL_DEMOTED,
	COL_CANDIDATES,
	COL_KSWAPD,
	COL_DIRECT,
	COL_KHUGEPAGED,
	COL_PROACTIVE,
	COL_END,
};

const struct cli_column stat_node_columns[] = {
	[COL_NODE] = { "NODE", CLI_NUMBER, "NUMA node" },
	[COL_HIT] = { "HIT", CLI_NUMBER, "pages allocated here, as intended" },
	[COL_MISS] = { "MISS", CLI_NUMBER,
		       "pages allocated here, though another node was preferred" },
	[COL_FOREIGN] = { "FOREIGN", CLI_NUMBER,
			  "pages intended for this node, but allocated elsewhere" },
	[COL_INTERLEAVE] = { "INTERLEAVE", CLI_NUMBER,
			     "interleaved pages allocated here, as intended" },
	[COL_LOCAL] = { "LOCAL", CLI_NUMBER, "pages allocated here by a CPU of this node" },
	[COL_OTHER] = { "OTHER", CLI_NUMBER, "pages allocated here by a CPU of another node" },
	[COL_PROMOTED] = { "PROMOTED", CLI_NUMBER, "pages promoted to a faster node" },
	[COL_DEMOTED] = { "DEMOTED", CLI_NUMBER, "pages demoted to a slower node" },
	[COL_CANDIDATES] = { "CANDIDATES", CLI_NUMBER, "pages considered for promotion",
			     .extra = true },
	[COL_KSWAPD] = { "DEMOTED-KSWAPD", CLI_NUMBER, "of DEMOTED, by kswapd", .extra = true },
	[COL_DIRECT] = { "DEMOTED-DIRECT", CLI_NUMBER, "of DEMOTED, by programs that allocate",
			 .extra = true },
	[COL_KHUGEPAGED] = { "DEMOTED-KHUGEPAGED", CLI_NUMBER, "of DEMOTED, by khugepaged",
			     .extra = true },
	[COL_PROACTIVE] = { "DEMOTED-PROACTIVE", CLI_NUMBER,
			    "of DEMOTED, as an administrator asked", .extra = true },
	{ NULL },
};

/* The counter of a column; DEMOTED is a sum. */
static uint64_t counter(const struct stat_node *node, int column)
{
	static const enum stow_node_counter counters[COL_END] = {
		[COL_HIT] = STOW_NUMA_HIT,
		[COL_MISS] = STOW_NUMA_MISS,
		[COL_FOREIGN] = STOW_NUMA_FOREIGN,
		[COL_INTERLEAVE] = STOW_NUMA_INTERLEAVE_HIT,
		[COL_LOCAL] = STOW_NUMA_LOCAL,
		[COL_OTHER] = STOW_NUMA_OTHER,
		[COL_PROMOTED] = STOW_NUMA_PROMOTED,
		[COL_CANDIDATES] = STOW_NUMA_PROMOTE_CANDIDATE,
		[COL_KSWAPD] = STOW_NUMA_DEMOTED_KSWAPD,
		[COL_DIRECT] = STOW_NUMA_DEMOTED_DIRECT,
		[COL_KHUGEPAGED] = STOW_NUMA_DEMOTED_KHUGEPAGED,
		[COL_PROACTIVE] = STOW_NUMA_DEMOTED_PROACTIVE,
	};

	return column == COL_DEMOTED ? stat_demoted(node->counters)
				     : node->counters[counters[column]];
}

static double seconds_between(const struct stat_view *before, const struct stat_view *view)
{
	return (double)stow_clock_elapsed(before->read_ns, view->read_ns) / (double)STOW_SECOND;
}

static void put(struct cli_row *row, int column, uint64_t value, uint64_t old, double seconds)
{
	if (value == STOW_UNKNOWN)
		return;
	if (seconds <= 0)
		cli_row_number(row, column, value);
	else if (old != STOW_UNKNOWN && value >= old)
		cli_row_real(row, column, (double)(value - old) / seconds);
}

static int print_nodes(const struct stat_view *view, const struct stat_view *before,
		       struct stow_err *err)
{
	double seconds = before ? seconds_between(before, view) : 0;
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	struct cli_column columns[COL_END + 1];
	int r;

	memcpy(columns, stat_node_columns, sizeof(columns));
	for (int i = COL_HIT; before && i < COL_END; i++)
		columns[i].cell = CLI_REAL;
	r = cli_table_new(columns, view->out, &table, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < view->n_nodes; i++) {
		const struct stat_node *node = &view->nodes[i];
		const struct stat_node *old = stat_view_node(before, node->node);
		struct cli_row *row;
		bool any = !view->nonzero;

		for (int k = COL_HIT; k < COL_END; k++)
			any = any || (counter(node, k) != STOW_UNKNOWN && counter(node, k));
		if (!any)
			continue;
		row = cli_table_row(table, NULL);
		cli_row_id(row, COL_NODE, node->node);
		for (int k = COL_HIT; k < COL_END; k++)
			put(row, k, counter(node, k), old ? counter(old, k) : STOW_UNKNOWN,
			    seconds);
	}
	return cli_table_print(table);
}

/* --- the machine ---------------------------------------------------------- */

enum { MACHINE_NAME, MACHINE_VALUE };

static const struct cli_column machine_columns[] = {
	[MACHINE_NAME] = { "MACHINE", CLI_TEXT },
	[MACHINE_VALUE] = { "COUNT", CLI_NUMBER },
	{ NULL },
};

static int print_machine(const struct stat_view *view, const struct stat_view *before,
			 struct stow_err *err)
{
	static const char *const names[STOW_BALANCING_COUNTERS] = {
		"page table entries marked for NUMA balancing",
		"hinting faults",
		"hinting faults on the local node",
		"pages migrated by NUMA balancing",
		"pages migrated",
		"pages whose migration failed",
		"pages promoted",
		"pages demoted by kswapd",
		"pages demoted by programs that allocate",
		"pages demoted by khugepaged",
		"pages demoted as an administrator asked",
	};
	double seconds = before ? seconds_between(before, view) : 0;
	struct cli_output plain = { .bytes = view->out->bytes };
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	struct cli_column columns[3];
	bool any = false;
	int r;

	memcpy(columns, machine_columns, sizeof(columns));
	columns[MACHINE_VALUE].cell = before ? CLI_REAL : CLI_NUMBER;
	r = cli_table_new(columns, &plain, &table, err);
	if (r < 0)
		return r;
	for (int i = 0; i < STOW_BALANCING_COUNTERS; i++) {
		struct cli_row *row;

		/* What a kernel does not have is not worth a line. */
		if (view->machine[i] == STOW_UNKNOWN || (view->nonzero && !view->machine[i]))
			continue;
		any = true;
		row = cli_table_row(table, NULL);
		cli_row_text(row, MACHINE_NAME, names[i]);
		put(row, MACHINE_VALUE, view->machine[i], before ? before->machine[i] : 0, seconds);
	}
	if (any)
		putchar('\n');
	return cli_table_print(table);
}

/* --- all fields of meminfo ------------------------------------------------ */

static uint64_t field_sum(const struct stat_view *view, const struct stat_field *field)
{
	uint64_t sum = STOW_UNKNOWN;

	for (size_t i = 0; i < view->n_nodes; i++)
		if (field->values[i] != STOW_UNKNOWN)
			sum = stow_saturating_add(sum == STOW_UNKNOWN ? 0 : sum, field->values[i]);
	return sum;
}

/* Some fields are sizes, some are numbers, in one column: texts that are right aligned. */
static void put_field(const struct stat_view *view, const struct stat_field *field,
		      struct cli_row *row, int column, uint64_t value)
{
	bool exact = view->out->raw || view->out->pairs;
	char text[32];

	if (value == STOW_UNKNOWN)
		return;
	if (field->bytes)
		cli_output_size(view->out, value, text, sizeof(text));
	else
		snprintf(text, sizeof(text), "%" PRIu64, value);
	cli_row_format(row, column, "%*s", exact ? 0 : view->out->bytes ? 14 : 8, text);
}

static bool is_skipped(const struct stat_view *view, const struct stat_field *field)
{
	return view->nonzero && field_sum(view, field) == 0;
}

static int print_abreast(const struct stat_view *view, struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	struct cli_column columns[NODES_ABREAST + 3] = { { .name = "FIELD", .cell = CLI_TEXT } };
	char names[NODES_ABREAST][16];
	int total = (int)view->n_nodes + 1, r;

	for (size_t i = 0; i < view->n_nodes; i++) {
		snprintf(names[i], sizeof(names[i]), "N%d", view->nodes[i].node);
		columns[i + 1] = (struct cli_column){ .name = names[i], .cell = CLI_TEXT };
	}
	columns[total] = (struct cli_column){ .name = "TOTAL", .cell = CLI_TEXT };
	r = cli_table_new(columns, view->out, &table, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < view->n_fields; i++) {
		const struct stat_field *field = &view->fields[i];
		struct cli_row *row;

		if (is_skipped(view, field))
			continue;
		row = cli_table_row(table, NULL);
		cli_row_text(row, 0, field->name);
		for (size_t k = 0; k < view->n_nodes; k++)
			put_field(view, field, row, (int)k + 1, field->values[k]);
		put_field(view, field, row, total, field_sum(view, field));
	}
	return cli_table_print(table);
}

static int print_below(const struct stat_view *view, struct stow_err *err)
{
	static const struct cli_column columns[] = {
		{ .name = "NODE", .cell = CLI_NUMBER },
		{ .name = "FIELD", .cell = CLI_TEXT },
		{ .name = "VALUE", .cell = CLI_TEXT },
		{ NULL },
	};
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	int r = cli_table_new(columns, view->out, &table, err);

	if (r < 0)
		return r;
	for (size_t k = 0; k < view->n_nodes; k++)
		for (size_t i = 0; i < view->n_fields; i++) {
			struct cli_row *row;

			if (is_skipped(view, &view->fields[i]))
				continue;
			row = cli_table_row(table, NULL);
			cli_row_id(row, 0, view->nodes[k].node);
			cli_row_text(row, 1, view->fields[i].name);
			put_field(view, &view->fields[i], row, 2, view->fields[i].values[k]);
		}
	return cli_table_print(table);
}

int stat_print_text(const struct stat_view *view, const struct stat_view *before,
		    struct stow_err *err)
{
	const struct cli_output *out = view->out;
	int r;

	if (view->n_processes || view->n_containers)
		return stat_print_use(view, err);
	if (view->meminfo)
		return view->n_nodes <= NODES_ABREAST ? print_abreast(view, err)
						      : print_below(view, err);
	if (!view->n_nodes)
		return 0;
	if (before && !out->raw && !out->pairs && !out->noheadings)
		printf("Pages per second, over the last %.1f s:\n", seconds_between(before, view));
	r = print_nodes(view, before, err);
	if (r < 0 || out->columns || out->all || out->pairs || out->raw || out->noheadings)
		return r;
	if (!view->counted)
		printf("\nvm.numa_stat is 0: the kernel does not count hits and misses.\n");
	return print_machine(view, before, err);
}
