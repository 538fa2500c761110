// SPDX-License-Identifier: Apache-2.0
#include "cli/view/top_frame.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"

#define NODES_LEAST	 2
#define CONTAINERS_LEAST 3
#define BUSY_HIGH	 90 /* percent */
#define OFF_HIGH	 1

/* --- amounts ------------------------------------------------------------------ */

static const char *size_text(uint64_t bytes, char *buf, size_t size)
{
	if (bytes == STOW_UNKNOWN)
		snprintf(buf, size, "-");
	else
		stow_format_size(bytes, buf, size);
	return buf;
}

static void set_size(struct top_table *table, int column, uint64_t bytes)
{
	char buf[32];

	top_table_set(table, column, CLI_PLAIN, "%s", size_text(bytes, buf, sizeof(buf)));
}

/* A rate in at most six columns. */
static void set_rate(struct top_table *table, int column, double rate)
{
	static const char units[] = " kMGT";
	size_t unit = 0;

	if (rate < 0)
		return;
	for (; rate >= 99999.5 && unit + 2 < sizeof(units); unit++)
		rate /= 1000;
	if (unit)
		top_table_set(table, column, CLI_PLAIN, "%.0f%c", rate, units[unit]);
	else
		top_table_set(table, column, CLI_PLAIN, "%.0f", rate);
}

static void set_percent(struct top_table *table, int column, double percent, double high)
{
	if (percent >= 0)
		top_table_set(table, column, percent >= high ? CLI_WARNING : CLI_PLAIN, "%.1f",
			      percent);
}

/* --- the machine ---------------------------------------------------------------- */

static const char *psi_text(const struct top_psi *psi, bool full, char *buf, size_t size)
{
	const struct stow_psi_line *some = &psi->psi.some, *all = &psi->psi.full;
	int len;

	if (!psi->known) {
		snprintf(buf, size, "not recorded");
		return buf;
	}
	len = snprintf(buf, size, "some %u.%02u %%", some->avg10 / 100, some->avg10 % 100);
	if (full && all->known)
		snprintf(buf + len, size - (size_t)len, ", full %u.%02u %%", all->avg10 / 100,
			 all->avg10 % 100);
	return buf;
}

static void put_balancing(const struct top_view *view, struct top_frame *frame)
{
	uint64_t faults = top_view_hint_faults(view);
	double migrated =
		top_rate(view->before.counters[STOW_NUMA_PAGES_MIGRATED],
			 view->now.counters[STOW_NUMA_PAGES_MIGRATED], top_view_passed(view));
	double local = top_share(view->before.counters[STOW_NUMA_HINT_FAULTS_LOCAL],
				 view->now.counters[STOW_NUMA_HINT_FAULTS_LOCAL],
				 view->before.counters[STOW_NUMA_HINT_FAULTS],
				 view->now.counters[STOW_NUMA_HINT_FAULTS]);

	if (view->now.balancing == STOW_UNKNOWN)
		top_frame_label(frame, "balancing", "this kernel has no NUMA balancing");
	else if (!view->now.balancing)
		top_frame_label(frame, "balancing",
				"off: the share of local accesses is not estimated");
	else if (faults == STOW_UNKNOWN)
		top_frame_label(frame, "balancing", "on");
	else if (local < 0)
		top_frame_label(frame, "balancing", "on: no hinting faults");
	else if (migrated < 0)
		top_frame_label(frame, "balancing",
				"%.0f %% of accesses local (estimate, of %llu hinting faults)",
				local, (unsigned long long)faults);
	else
		top_frame_label(
			frame, "balancing",
			"%.0f %% of accesses local (estimate, of %llu hinting faults); %.0f "
			"pages/s migrated",
			local, (unsigned long long)faults, migrated);
}

static void put_machine(const struct top_view *view, const char *clock, struct top_frame *frame)
{
	char cpu[64], memory[64];
	size_t n_nodes = view->now.n_nodes, n_cpus = stow_idset_count(&view->now.cpus);

	top_frame_line(frame, TOP_TITLE, "numastow top  %zu NUMA node%s, %zu CPU%s  %s", n_nodes,
		       n_nodes == 1 ? "" : "s", n_cpus, n_cpus == 1 ? "" : "s", clock);
	top_frame_label(frame, "pressure", "memory: %s; CPU: %s (in 10 s)",
			psi_text(&view->now.memory, true, memory, sizeof(memory)),
			psi_text(&view->now.cpu, false, cpu, sizeof(cpu)));
	put_balancing(view, frame);
	if (view->pmu.why[0])
		top_frame_label(frame, "remote", "loads from other nodes: not available (%s)",
				view->pmu.why);
	if (!view->now.counted)
		top_frame_label(frame, "hits", "not counted, because vm.numa_stat is 0");
	if (view->source.hidden)
		top_frame_label(frame, "ledger", "only root can read grants and drains");
	if (view->message[0])
		top_frame_label(frame, "note", "%s", view->message);
}

/* --- NUMA nodes ------------------------------------------------------------------ */

enum {
	N_NODE,
	N_CPUS,
	N_BUSY,
	N_TOTAL,
	N_USED,
	N_FREE,
	N_PRESSURE,
	N_HITS,
	N_MISSES,
	N_FOREIGN,
	N_REMOTE
};

static const struct top_column node_columns[] = {
	[N_NODE] = { "NODE", .least = 4 },
	[N_CPUS] = { "CPUS", .least = 4, .drop = 4 },
	[N_BUSY] = { "BUSY%", .least = 5 },
	[N_TOTAL] = { "TOTAL", .least = 7, .drop = 5 },
	[N_USED] = { "USED", .least = 7 },
	[N_FREE] = { "FREE", .least = 7 },
	[N_PRESSURE] = { "PRESSURE", .least = 10, .left = true },
	[N_HITS] = { "HITS", .least = 6, .drop = 2 },
	[N_MISSES] = { "MISSES", .least = 6, .drop = 1 },
	[N_FOREIGN] = { "FOREIGN", .least = 7, .drop = 3 },
	[N_REMOTE] = { "REMOTE", .least = 6 }, /* left out where it is not available */
};

static enum cli_mark pressure_mark(enum stow_pressure pressure)
{
	switch (pressure) {
	case STOW_PRESSURE_BELOW_HIGH:
		return CLI_WARNING;
	case STOW_PRESSURE_BELOW_LOW:
	case STOW_PRESSURE_BELOW_MIN:
		return CLI_BAD;
	default:
		return CLI_PLAIN;
	}
}

static void put_node(const struct top_view *view, const struct top_node *now,
		     struct top_table *table)
{
	static const struct top_node nothing = { 0 };
	const struct top_node *before = top_machine_node(&view->before, now->node);
	uint64_t ns = before ? top_view_passed(view) : 0;

	if (!before)
		before = &nothing;
	top_table_row(table);
	top_table_set(table, N_NODE, CLI_PLAIN, "%d", now->node);
	top_table_set(table, N_CPUS, CLI_PLAIN, "%zu", now->n_cpus);
	if (ns)
		set_percent(table, N_BUSY,
			    top_share(before->busy, now->busy, before->all, now->all), BUSY_HIGH);
	set_size(table, N_TOTAL, now->total);
	set_size(table, N_USED, now->total == STOW_UNKNOWN ? STOW_UNKNOWN : now->total - now->free);
	set_size(table, N_FREE, now->free);
	if (stow_pressure_word(now->pressure))
		top_table_set(table, N_PRESSURE, pressure_mark(now->pressure), "%s",
			      stow_pressure_word(now->pressure));
	set_rate(table, N_HITS,
		 top_rate(before->counters[STOW_NUMA_HIT], now->counters[STOW_NUMA_HIT], ns));
	set_rate(table, N_MISSES,
		 top_rate(before->counters[STOW_NUMA_MISS], now->counters[STOW_NUMA_MISS], ns));
	set_rate(table, N_FOREIGN,
		 top_rate(before->counters[STOW_NUMA_FOREIGN], now->counters[STOW_NUMA_FOREIGN],
			  ns));
	if (table->n > N_REMOTE)
		set_rate(table, N_REMOTE, top_rate(before->remote, now->remote, ns));
}

/* `most`: rows; 0: all. */
static void put_nodes(const struct top_view *view, size_t most, struct top_frame *frame)
{
	struct top_table table = { .columns = node_columns,
				   .n = view->pmu.why[0] ? N_REMOTE : N_REMOTE + 1 };
	size_t shown = 0, left_out = 0;

	for (size_t i = 0; i < view->now.n_nodes; i++) {
		if (!stow_idset_empty(&view->nodes) &&
		    !stow_idset_has(&view->nodes, view->now.nodes[i].node))
			continue;
		if (most && shown == most) {
			left_out++;
			continue;
		}
		put_node(view, &view->now.nodes[i], &table);
		shown++;
	}
	top_frame_line(frame, TOP_PLAIN, "%s", "");
	if (left_out)
		top_frame_line(frame, TOP_TITLE,
			       "NUMA nodes, pages per second (%zu more: see --node)", left_out);
	else
		top_frame_line(frame, TOP_TITLE, "NUMA nodes, pages per second");
	top_table_print(&table, frame, 0, table.n_rows, -1);
	top_table_done(&table);
}

/* --- drains ----------------------------------------------------------------------- */

static size_t count_drains(const struct top_view *view)
{
	size_t n = 0;

	for (size_t i = 0; i < view->source.n_drains; i++)
		n += !stow_drain_step_is_end(view->source.drains[i].step);
	return n;
}

static void put_drains(const struct top_view *view, struct top_frame *frame)
{
	static const struct top_column columns[] = {
		{ "DRAIN", .least = 16, .left = true },
		{ "NODE", .least = 4 },
		{ "STEP", .least = 10, .left = true },
		{ "OFFLINE", .least = 8 },
		{ "OF", .least = 8 },
	};
	struct top_table table = { .columns = columns, .n = STOW_ARRAY_SIZE(columns) };

	for (size_t i = 0; i < view->source.n_drains; i++) {
		const struct stow_drain_row *row = &view->source.drains[i];

		if (stow_drain_step_is_end(row->step))
			continue;
		top_table_row(&table);
		top_table_set(&table, 0, CLI_PLAIN, "%s", row->id);
		top_table_set(&table, 1, CLI_PLAIN, "%d", row->node);
		top_table_set(&table, 2, CLI_PLAIN, "%s", stow_drain_step_name(row->step));
		set_size(&table, 3, row->bytes_offline);
		set_size(&table, 4, row->bytes);
	}
	top_frame_line(frame, TOP_PLAIN, "%s", "");
	top_frame_line(frame, TOP_TITLE, "Drains");
	top_table_print(&table, frame, 0, table.n_rows, -1);
	top_table_done(&table);
}

/* --- containers -------------------------------------------------------------------- */

static const struct top_column container_columns[TOP_SORTS] = {
	[TOP_NAME] = { "NAME", 12, 64, .left = true },
	[TOP_GRANT] = { "GRANT", .least = 9, .left = true, .drop = 3 },
	[TOP_CPUS] = { "CPUS", .least = 4, .drop = 1 },
	[TOP_BUSY] = { "BUSY%", .least = 6, .drop = 2 },
	[TOP_NODES] = { "NODES", 5, 12, .left = true },
	[TOP_PROMISED] = { "PROMISED", .least = 8 },
	[TOP_MEMORY] = { "MEMORY", .least = 7 },
	[TOP_OFF_NODE] = { "OFF-NODE%", .least = 9 },
};

/* Copy columns, and add one for each NUMA node. */
static struct top_column *with_nodes(const struct top_view *view, const struct top_column *columns,
				     int n, int *ret_n)
{
	struct top_column *all = calloc((size_t)n + view->source.n_nodes, sizeof(*all));

	*ret_n = n + (int)view->source.n_nodes;
	for (int i = 0; all && i < n; i++)
		all[i] = columns[i];
	for (size_t k = 0; all && k < view->source.n_nodes; k++) {
		struct top_column *column = &all[(size_t)n + k];

		snprintf(column->name, sizeof(column->name), "N%d", view->source.nodes[k]);
		column->least = 7;
		column->drop = 4 + (int)k;
	}
	return all;
}

static void put_container(const struct top_view *view, const struct top_container *c,
			  struct top_table *table)
{
	char label[80], nodes[128];

	top_table_row(table);
	top_table_set(table, TOP_NAME, CLI_PLAIN, "%s",
		      cli_container_label(&c->it, label, sizeof(label)));
	if (c->granted) {
		top_table_set(table, TOP_GRANT, CLI_PLAIN, "%s", top_container_grant(c));
		top_table_set(table, TOP_CPUS, CLI_PLAIN, "%u", c->cpus);
	}
	set_percent(table, TOP_BUSY, top_container_busy(c), 1e9);
	top_table_set(table, TOP_NODES, CLI_PLAIN, "%s",
		      stow_idset_format(&c->nodes, nodes, sizeof(nodes)));
	set_size(table, TOP_PROMISED, c->memory);
	set_size(table, TOP_MEMORY, c->total);
	set_percent(table, TOP_OFF_NODE, top_container_off(c), OFF_HIGH);
	for (size_t k = 0; k < view->source.n_nodes; k++)
		set_size(table, TOP_SORTS + (int)k, c->used[k]);
}

/* Return the index of the container with the cursor; the first one if there is none. */
static size_t cursor_of(const struct top_view *view, const struct top_container *const *list,
			size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i]->it.id, view->selected) == 0)
			return i;
	return 0;
}

static void put_title(const struct top_view *view, size_t shown, struct top_frame *frame)
{
	char filter[TOP_FILTER_MAX * 2] = "", number[64];

	if (view->filter[0] || view->asking)
		snprintf(filter, sizeof(filter), ", with \"%s%s\"", view->filter,
			 view->asking ? "_" : "");
	if (shown == view->source.n)
		snprintf(number, sizeof(number), "%zu", shown);
	else
		snprintf(number, sizeof(number), "%zu of %zu", shown, view->source.n);
	top_frame_line(frame, TOP_PLAIN, "%s", "");
	top_frame_line(frame, TOP_TITLE, "Containers: %s, by %s%s%s", number,
		       top_sort_names[view->sort], view->reverse ? " (reversed)" : "", filter);
}

/* `rows`: how many; 0: all, without a cursor. */
static void put_containers(struct top_view *view, size_t rows, struct top_frame *frame)
{
	_cleanup_free_ const struct top_container **list = NULL;
	_cleanup_free_ struct top_column *columns = NULL;
	struct top_table table = { 0 };
	size_t n = 0, cursor;

	list = top_view_order(view, &n);
	columns = with_nodes(view, container_columns, TOP_SORTS, &table.n);
	if (!list || !columns) {
		frame->failed = true;
		return;
	}
	table.columns = columns;
	for (size_t i = 0; i < n; i++)
		put_container(view, list[i], &table);
	cursor = cursor_of(view, list, n);
	if (!rows) {
		view->first = 0;
	} else {
		view->first = STOW_MIN(view->first, cursor);
		view->first = STOW_MAX(view->first, stow_saturating_sub(cursor + 1, rows));
	}
	put_title(view, n, frame);
	if (n)
		top_table_print(&table, frame, view->first, rows ? rows : n,
				rows ? (long)cursor : -1);
	top_table_done(&table);
}

/* --- processes of what is selected --------------------------------------------------- */

static void put_pages_title(const struct top_view *view, struct top_frame *frame)
{
	const struct top_pages *pages = &view->pages;
	char what[64], unread[80] = "";

	if (pages->pid)
		snprintf(what, sizeof(what), "process %d", (int)pages->pid);
	else
		snprintf(what, sizeof(what), "container %.40s", pages->id);
	if (pages->n_unread_shown)
		snprintf(unread, sizeof(unread), "; %zu more belong to other users",
			 pages->n_unread_shown);
	top_frame_line(frame, TOP_PLAIN, "%s", "");
	if (!pages->whole)
		top_frame_line(frame, TOP_TITLE, "Pages of %s: %zu of %zu processes read", what,
			       pages->next, pages->n_pids);
	else
		top_frame_line(frame, TOP_TITLE, "Pages of %s: %zu process%s%s", what,
			       pages->n_shown, pages->n_shown == 1 ? "" : "es", unread);
}

static void put_processes(const struct top_view *view, size_t rows, struct top_frame *frame)
{
	static const struct top_column fixed[] = {
		{ "COMMAND", .least = 12, .left = true },
		{ "PID", .least = 7 },
		{ "MAPPED", .least = 7 },
	};
	const struct top_pages *pages = &view->pages;
	_cleanup_free_ struct top_column *columns = NULL;
	struct top_table table = { 0 };

	put_pages_title(view, frame);
	columns = with_nodes(view, fixed, STOW_ARRAY_SIZE(fixed), &table.n);
	frame->failed |= !columns;
	if (!columns || !pages->n_shown)
		return;
	table.columns = columns;
	for (size_t i = 0; i < pages->n_shown && (!rows || i < rows); i++) {
		const struct top_process *p = &pages->shown[i];

		top_table_row(&table);
		top_table_set(&table, 0, CLI_PLAIN, "%s", p->command);
		top_table_set(&table, 1, CLI_PLAIN, "%d", (int)p->pid);
		set_size(&table, 2, p->total);
		for (size_t k = 0; k < view->source.n_nodes; k++)
			set_size(&table, (int)(STOW_ARRAY_SIZE(fixed) + k), p->used[k]);
	}
	top_table_print(&table, frame, 0, table.n_rows, -1);
	top_table_done(&table);
}

/* --- the whole screen ------------------------------------------------------------------ */

static void put_help(struct top_frame *frame)
{
	static const char *const keys[] = {
		"up, down, k, j   move the cursor, with Page Up, Page Down by a page",
		"Enter            show the pages of the container's processes, or hide them",
		"<, >             sort by the column before, after",
		"r                reverse the order",
		"/                show only containers with a text in their names: Enter ends it,",
		"                 Esc clears it",
		"space            read again now",
		"?, h             this text",
		"q                quit",
	};

	top_frame_line(frame, TOP_PLAIN, "%s", "");
	top_frame_line(frame, TOP_TITLE, "Keys");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(keys); i++)
		top_frame_line(frame, TOP_PLAIN, "  %s", keys[i]);
}

/* Divide the lines between the tables: nodes and processes get a third each at most, and the
 * containers the rest. A table has three lines more: an empty one, the title, the headings. */
static void put_tables(struct top_view *view, size_t height, struct top_frame *frame)
{
	size_t drains = count_drains(view), used = frame->n + (drains ? drains + 3 : 0);
	size_t room = stow_saturating_sub(height, used + 3), nodes, rows;

	nodes = STOW_MAX(room / (view->details ? 3 : 2), NODES_LEAST + (size_t)3) - 3;
	put_nodes(view, height ? nodes : 0, frame);
	if (drains)
		put_drains(view, frame);
	room = stow_saturating_sub(height, frame->n);
	if (view->details) {
		rows = STOW_MAX(room / 2, (size_t)4) - 3;
		put_processes(view, height ? rows : 0, frame);
		room = stow_saturating_sub(height, frame->n);
	}
	rows = STOW_MAX(room, CONTAINERS_LEAST + (size_t)3) - 3;
	put_containers(view, height ? rows : 0, frame);
}

int top_frame_make(struct top_view *view, int width, int height, const char *clock,
		   struct top_frame *ret)
{
	struct top_frame frame = { .width = width };

	put_machine(view, clock, &frame);
	if (view->help)
		put_help(&frame);
	else
		put_tables(view, (size_t)height, &frame);
	if (frame.failed) {
		top_frame_done(&frame);
		return -ENOMEM;
	}
	*ret = frame;
	return 0;
}
