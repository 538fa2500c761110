// SPDX-License-Identifier: Apache-2.0
/* Printing what numastow hugepages shows. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/view/hugepages_view.h"
#include "node/counters.h"

enum { NODE, SIZE, TOTAL, FREE, USED, SURPLUS, PROMISED, ADDED, BOOT };

const struct cli_column hugepages_columns[] = {
	[NODE] = { "NODE", CLI_NUMBER, "the NUMA node" },
	[SIZE] = { "SIZE", CLI_SIZE, "of one page", .key = "page_size" },
	[TOTAL] = { "TOTAL", CLI_NUMBER, "pages, surplus included", .key = "pages_total" },
	[FREE] = { "FREE", CLI_NUMBER, "pages that no process has touched", .key = "pages_free" },
	[USED] = { "USED", CLI_NUMBER, "pages that a process has touched", .key = "pages_used" },
	[SURPLUS] = { "SURPLUS", CLI_NUMBER, "pages beyond the pool, freed with their last user",
		      .key = "pages_surplus" },
	[PROMISED] = { "PROMISED", CLI_NUMBER, "pages of containers, claims and reservations",
		       .key = "pages_promised" },
	[ADDED] = { "ADDED", CLI_NUMBER, "pages that numastow has added for containers",
		    .extra = true, .key = "pages_added" },
	[BOOT] = { "BOOT", CLI_NUMBER, "pages that are set at boot", .extra = true,
		   .key = "pages_boot" },
	{ 0 },
};

static const struct cli_column machine_columns[] = {
	{ .name = "SIZE", .cell = CLI_SIZE, .key = "page_size" },
	{ .name = "TOTAL", .cell = CLI_NUMBER, .key = "pages_total" },
	{ .name = "FREE", .cell = CLI_NUMBER, .key = "pages_free" },
	{ .name = "RESERVED", .cell = CLI_NUMBER, .key = "pages_reserved" },
	{ .name = "SURPLUS", .cell = CLI_NUMBER, .key = "pages_surplus" },
	{ .name = "OVERCOMMIT", .cell = CLI_NUMBER, .key = "pages_overcommit" },
	{ .name = "SPLITS-INTO", .cell = CLI_SIZE, .key = "split_size" },
	{ 0 },
};

static const struct cli_column user_columns[] = {
	{ .name = "NODE", .cell = CLI_NUMBER },
	{ .name = "SIZE", .cell = CLI_SIZE, .key = "page_size" },
	{ .name = "USED", .cell = CLI_NUMBER, .key = "pages_used" },
	{ .name = "PROMISED", .cell = CLI_NUMBER, .key = "pages_promised" },
	{ .name = "KIND", .cell = CLI_TEXT },
	{ .name = "CALLED", .cell = CLI_TEXT, .key = "container_name" },
	{ .name = "NAME", .cell = CLI_LAST },
	{ 0 },
};

static const struct cli_column mount_columns[] = {
	{ .name = "SIZE", .cell = CLI_SIZE, .key = "page_size" },
	{ .name = "LIMIT", .cell = CLI_SIZE },
	{ .name = "USED", .cell = CLI_SIZE, .key = "used" },
	{ .name = "READ-ONLY", .cell = CLI_BOOL },
	{ .name = "MOUNTED-AT", .cell = CLI_LAST, .key = "path" },
	{ 0 },
};

static const struct cli_column transparent_columns[] = {
	{ .name = "NODE", .cell = CLI_NUMBER },
	{ .name = "ANONYMOUS", .cell = CLI_SIZE },
	{ .name = "SHARED", .cell = CLI_SIZE },
	{ .name = "FILE", .cell = CLI_SIZE },
	{ 0 },
};

static const struct cli_column setting_columns[] = {
	{ .name = "SETTING", .cell = CLI_TEXT, .key = "name" },
	{ .name = "VALUE", .cell = CLI_TEXT },
	{ .name = "DEFAULT", .cell = CLI_TEXT },
	{ 0 },
};

static const char *const counters[] = { "thp_fault_alloc",
					"thp_fault_fallback",
					"thp_collapse_alloc",
					"thp_collapse_alloc_failed",
					"thp_file_alloc",
					"thp_file_mapped",
					"thp_split_page",
					"thp_split_page_failed",
					"thp_deferred_split_page",
					"thp_zero_page_alloc",
					"thp_swpout",
					"thp_swpout_fallback",
					"thp_migration_success",
					"thp_migration_fail" };

static void fill_pools(struct cli_table *table, const struct huge_view *view)
{
	for (size_t i = 0; i < view->n_pools; i++) {
		const struct huge_pool *p = &view->pools[i];
		struct cli_row *row = cli_table_row(table, NULL);

		cli_row_id(row, NODE, p->node);
		cli_row_number(row, SIZE, p->size);
		if (p->known) {
			cli_row_number(row, TOTAL, p->pool.total);
			cli_row_number(row, FREE, p->pool.free);
			cli_row_number(row, USED,
				       p->pool.total > p->pool.free ? p->pool.total - p->pool.free
								    : 0);
			cli_row_number(row, SURPLUS, p->pool.surplus);
		}
		if (p->ledger_known) {
			cli_row_number(row, PROMISED, p->promised);
			cli_row_number(row, ADDED, p->added);
		}
		cli_row_number(row, BOOT, p->boot);
	}
}

static void fill_machine(struct cli_table *table, const struct huge_view *view)
{
	for (size_t i = 0; i < view->n_machine; i++) {
		const struct stow_hugetlb *m = &view->machine[i];
		struct cli_row *row = cli_table_row(table, NULL);

		cli_row_number(row, 0, m->size);
		cli_row_number(row, 1, m->total);
		cli_row_number(row, 2, m->free);
		cli_row_number(row, 3, m->reserved);
		cli_row_number(row, 4, m->surplus);
		cli_row_number(row, 5, m->overcommit);
		if (m->split_size)
			cli_row_number(row, 6, m->split_size);
	}
}

static void fill_users(struct cli_table *table, const struct huge_view *view)
{
	for (size_t i = 0; i < view->n_users; i++) {
		const struct huge_user *u = &view->users[i];
		struct cli_row *row = cli_table_row(table, NULL);

		cli_row_id(row, 0, u->node);
		cli_row_number(row, 1, u->size);
		cli_row_number(row, 2, u->used);
		cli_row_number(row, 3, u->promised);
		cli_row_text(row, 4, u->kind);
		cli_row_text(row, 5, u->called);
		cli_row_text(row, 6, u->name);
	}
}

static void fill_mounts(struct cli_table *table, const struct huge_view *view)
{
	for (size_t i = 0; i < view->mounts.n; i++) {
		const struct stow_hugetlbfs *m = &view->mounts.list[i];
		struct cli_row *row = cli_table_row(table, NULL);
		char path[512];

		cli_row_number(row, 0, m->page_size);
		cli_row_number(row, 1, m->limit);
		cli_row_number(row, 2, view->mounts_used[i]);
		cli_row_number(row, 3, m->read_only);
		cli_row_text(row, 4, stow_text_quote(m->path, path, sizeof(path)));
	}
}

static void fill_transparent(struct cli_table *table, const struct huge_view *view)
{
	for (size_t i = 0; i < view->n_transparent; i++) {
		struct cli_row *row = cli_table_row(table, NULL);

		cli_row_id(row, 0, view->transparent[i].node);
		cli_row_number(row, 1, view->transparent[i].anonymous);
		cli_row_number(row, 2, view->transparent[i].shared);
		cli_row_number(row, 3, view->transparent[i].file);
	}
}

static void fill_settings(struct cli_table *table, const struct huge_view *view)
{
	for (size_t i = 0; i < view->settings.n; i++) {
		const struct stow_knob_setting *s = &view->settings.list[i];
		struct cli_row *row = cli_table_row(table, NULL);

		cli_row_text(row, 0, s->name);
		if (s->state == STOW_KNOB_PRESENT)
			cli_row_text(row, 1, s->value);
		if (s->knob->fallback)
			cli_row_text(row, 2, s->knob->fallback);
	}
}

struct section {
	const char *title, *key;
	const struct cli_column *columns;
	void (*fill)(struct cli_table *table, const struct huge_view *view);
};

static const struct section sections[] = {
	{ NULL, "pools", hugepages_columns, fill_pools },
	{ "The machine", "machine", machine_columns, fill_machine },
	{ "Used and promised", "users", user_columns, fill_users },
	{ "Mounts of hugetlbfs", "mounts", mount_columns, fill_mounts },
	{ "Transparent hugepages", "transparent", transparent_columns, fill_transparent },
	{ "Their settings", "settings", setting_columns, fill_settings },
};

/* Return how many rows a section has. */
static size_t count_rows(const struct huge_view *view, const struct section *section)
{
	const size_t n[] = { view->n_pools,  view->n_machine,	  view->n_users,
			     view->mounts.n, view->n_transparent, view->settings.n };

	return n[section - sections];
}

/* Print one section; --output chooses columns of the first only. */
static int print_section(const struct huge_view *view, const struct section *section,
			 struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	struct cli_output whole = *view->out;
	int r;

	if (section->title)
		whole.columns = NULL;
	r = cli_table_new(section->columns, &whole, &table, err);
	if (r < 0)
		return r;
	section->fill(table, view);
	if (section->title && !count_rows(view, section))
		return 0;
	if (section->title && !view->out->noheadings)
		printf("\n%s:\n", section->title);
	r = cli_table_print(table);
	return r < 0 ? stow_err_sys(err, -r, "printing hugepages") : 0;
}

int huge_view_print(const struct huge_view *view, struct stow_err *err)
{
	const struct cli_output *out = view->out;
	bool one = out->columns || out->pairs || out->raw || out->noheadings;
	const char *between = "\nCounters since boot: ";
	int r = 0;

	if (!view->n_pools)
		fprintf(stderr, "numastow: /sys/kernel/mm/hugepages has no pools of hugepages\n");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(sections) && r == 0 && (!one || i == 0); i++)
		r = print_section(view, &sections[i], err);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(counters) && r == 0 && !one; i++) {
		uint64_t value = stow_counter_find(view->vmstat, counters[i]);

		if (value == STOW_UNKNOWN)
			continue;
		printf("%s%s %" PRIu64, between, counters[i], value);
		between = i % 3 == 2 ? ",\n  " : ", ";
	}
	if (between[0] == ',')
		putchar('\n');
	if (view->hidden)
		fprintf(stderr,
			"numastow: %zu processes have hugepages on nodes that only root can see\n",
			view->hidden);
	return r;
}

int huge_view_print_json(const struct huge_view *view)
{
	struct cli_output all = { .all = true };
	struct json_writer w;
	json_object *o = cli_output_object(&w), *numbers = json_object_new_object();

	for (size_t i = 0; i < STOW_ARRAY_SIZE(sections) && w.ok; i++) {
		_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;

		if (cli_table_new(sections[i].columns, &all, &table, NULL) < 0) {
			w.ok = false;
			break;
		}
		sections[i].fill(table, view);
		json_put(&w, o, sections[i].key, cli_table_json(table));
	}
	for (size_t i = 0; i < STOW_ARRAY_SIZE(counters); i++)
		json_put_amount(&w, numbers, counters[i],
				stow_counter_find(view->vmstat, counters[i]));
	json_put(&w, o, "counters", numbers);
	return json_print(&w, o);
}
