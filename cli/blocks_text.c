// SPDX-License-Identifier: Apache-2.0
#include "cli/blocks_view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/grid.h"
#include "base/parse.h"
#include "cgroup/paths.h"
#include "cli/cli.h"

static bool alike(const struct blocks_row *a, const struct blocks_row *b)
{
	return a->block->id + 1 == b->block->id && a->block->state == b->block->state &&
	       a->block->node == b->block->node && a->block->device == b->block->device &&
	       strcmp(a->block->zones, b->block->zones) == 0 && a->leave.can == b->leave.can &&
	       strcmp(a->leave.why, b->leave.why) == 0;
}

/* Format zones as "Normal/Movable": of an offline block those in which it may come online. */
static const char *zones_of(const struct stow_memblock *block, char *buf, size_t size)
{
	snprintf(buf, size, "%s", block->zones[0] ? block->zones : "-");
	for (char *p = buf; *p; p++)
		if (*p == ' ')
			*p = '/';
	return buf;
}

static const struct stow_grid_column text_columns[] = {
	{ "RANGE", 29, 15, false, false }, { "SIZE", 7, 0, true, false },
	{ "STATE", 13, 7, false, false },  { "BLOCK", 9, 0, true, false },
	{ "NODE", 4, 0, true, false },	   { "ZONE", 14, 7, false, false },
	{ "DEVICE", 10, 6, false, false }, { "REMOVABLE", 9, 16, false, false },
};
enum { N_TEXT = STOW_ARRAY_SIZE(text_columns) };

void blocks_columns(FILE *out)
{
	stow_grid_help(text_columns, N_TEXT, out);
}

/* Set the cells of `n` blocks in one row; a cell is NULL when memory ran out. */
static void line_cells(const struct blocks_view *view, const struct blocks_row *rows, size_t n,
		       char **cells)
{
	const struct stow_memblock *block = rows->block;
	uint64_t start = block->id * view->list->block_size, bytes = n * view->list->block_size;
	const char *device = blocks_device(view, rows);
	char text[48];
	int r;

	r = asprintf(&cells[0], "0x%012" PRIx64 "-0x%012" PRIx64, start, start + bytes - 1);
	if (r < 0)
		cells[0] = NULL;
	cells[1] = strdup(stow_grid_size(view->style, bytes, text, sizeof(text)));
	cells[2] = strdup(stow_memblock_state_name(block->state));
	snprintf(text, sizeof(text), n > 1 ? "%" PRIu64 "-%" PRIu64 : "%" PRIu64, block->id,
		 block->id + n - 1);
	cells[3] = strdup(text);
	snprintf(text, sizeof(text), block->node < 0 ? "-" : "%d", block->node);
	cells[4] = strdup(text);
	cells[5] = strdup(zones_of(block, text, sizeof(text)));
	cells[6] = strdup(device ? device : "-");
	r = asprintf(&cells[7], "%s%s%s", stow_leave_name(rows->leave.can),
		     rows->leave.why[0] ? ": " : "", rows->leave.why);
	if (r < 0)
		cells[7] = NULL;
}

/* Format numbers of pages as "anonymous 300Mi, file 20Mi"; "" for none. */
static const char *format_pages(const struct blocks_view *view, const uint64_t *pages, char *buf,
				size_t size)
{
	size_t len = 0;
	char bytes[32];

	buf[0] = '\0';
	for (int kind = 0; kind < STOW_PAGE_KINDS && len < size; kind++)
		if (pages[kind])
			len += (size_t)snprintf(buf + len, size - len, "%s%s %s", len ? ", " : "",
						stow_page_kind_name((enum stow_page_kind)kind),
						stow_grid_size(view->style,
							       pages[kind] * view->page_size, bytes,
							       sizeof(bytes)));
	return buf;
}

/* Print containers one by one, and all other cgroups together. */
static void print_owners(const struct blocks_view *view, const struct stow_block_use *sum)
{
	uint64_t others[STOW_PAGE_KINDS] = { 0 };
	char text[256], id[128], brief[48];
	bool any = false;

	for (size_t i = 0; i < sum->n_owners; i++) {
		const struct stow_owner *owner = &sum->owners[i];
		const char *path = blocks_cgroup_path(view, owner->inode);

		if (!owner->inode)
			continue;
		if (!*stow_cgroup_container(path, id, sizeof(id))) {
			for (int kind = 0; kind < STOW_PAGE_KINDS; kind++)
				others[kind] += owner->pages[kind];
			any = true;
			continue;
		}
		printf("    container %s: %s\n", cli_short_id(id, brief, sizeof(brief)),
		       format_pages(view, owner->pages, text, sizeof(text)));
	}
	if (any)
		printf("    other cgroups: %s\n", format_pages(view, others, text, sizeof(text)));
}

static int print_use(const struct blocks_view *view, const struct blocks_row *rows, size_t n)
{
	struct stow_block_use sum;
	char text[256];
	int r;

	if (!view->owners || !rows->use)
		return 0;
	r = blocks_sum(rows, n, &sum);
	if (r < 0)
		return r;
	printf("    %s\n", format_pages(view, sum.pages, text, sizeof(text)));
	print_owners(view, &sum);
	free(sum.owners);
	return 0;
}

static void print_summary(const struct blocks_view *view)
{
	uint64_t online = 0, size = view->list->block_size;
	char text[32];

	for (size_t i = 0; i < view->n_rows; i++)
		online += view->rows[i].block->state == STOW_MEMBLOCK_ONLINE;
	printf("\nMemory block size:    %8s\n",
	       stow_grid_size(view->style, size, text, sizeof(text)));
	printf("Total online memory:  %8s\n",
	       stow_grid_size(view->style, online * size, text, sizeof(text)));
	printf("Total offline memory: %8s\n",
	       stow_grid_size(view->style, (view->n_rows - online) * size, text, sizeof(text)));
}

/* Warn of added memory that came online in a kernel zone, as most distributions do by default. */
static void print_at_risk(const struct blocks_view *view)
{
	size_t n = 0;
	char size[32];

	for (size_t i = 0; i < view->n_rows; i++)
		n += stow_leave_is_at_risk(view->rows[i].block);
	if (n)
		printf("\n%s of added memory is online in a kernel zone, where the kernel may put "
		       "its own pages: %s\n",
		       stow_grid_size(view->style, n * view->list->block_size, size, sizeof(size)),
		       STOW_LEAVE_ADVICE);
}

/* The lines of the table. */
struct lines {
	const struct blocks_view *view;
	size_t n, *first; /* the line's first row, and one more at the end */
	char **cells;
};

static void lines_done(struct lines *lines)
{
	for (size_t i = 0; lines->cells && i < lines->n * N_TEXT; i++)
		free(lines->cells[i]);
	free(lines->cells);
	free(lines->first);
}

static int below_line(void *data, size_t i)
{
	const struct lines *lines = data;

	return print_use(lines->view, &lines->view->rows[lines->first[i]],
			 lines->first[i + 1] - lines->first[i]);
}

static int print_lines(const struct blocks_view *view, struct stow_err *err)
{
	_cleanup_(lines_done) struct lines lines = { .view = view };
	const struct stow_grid grid = {
		.columns = text_columns,
		.n = N_TEXT,
		.width = cli_width(),
		.after = below_line,
		.data = &lines,
		.style = view->style,
	};

	lines.first = calloc(view->n_rows + 1, sizeof(*lines.first));
	lines.cells = calloc((view->n_rows + 1) * N_TEXT, sizeof(*lines.cells));
	if (!lines.first || !lines.cells)
		return stow_err_sys(err, ENOMEM, "printing the memory blocks");
	for (size_t i = 0; i < view->n_rows; i++) {
		if (i && !view->all && alike(&view->rows[i - 1], &view->rows[i]))
			continue;
		lines.first[lines.n++] = i;
	}
	lines.first[lines.n] = view->n_rows;
	for (size_t i = 0; i < lines.n; i++)
		line_cells(view, &view->rows[lines.first[i]], lines.first[i + 1] - lines.first[i],
			   lines.cells + i * N_TEXT);
	for (size_t i = 0; i < lines.n * N_TEXT; i++)
		if (!lines.cells[i])
			return stow_err_sys(err, ENOMEM, "printing the memory blocks");
	return stow_grid_print(stdout, &grid, lines.cells, lines.n, err);
}

int blocks_print_text(const struct blocks_view *view, struct stow_err *err)
{
	int r = print_lines(view, err);

	if (r < 0 || stow_grid_for_programs(view->style))
		return r;
	print_summary(view);
	print_at_risk(view);
	if (view->unknown)
		printf("\n%s\n", view->unknown);
	else if (view->owners && !view->owners_known)
		printf("\nThe owners are not known: this kernel has no /proc/kpagecgroup\n");
	return 0;
}
