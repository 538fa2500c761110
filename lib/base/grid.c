// SPDX-License-Identifier: Apache-2.0
#include "base/grid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/columns.h"
#include "base/fit.h"
#include "base/math.h"
#include "base/parse.h"

#define COLUMNS_MAX 16
#define HELP_WIDTH  79

struct part {
	FILE *out;
	const struct stow_grid *grid;
	const struct stow_fit *fit;
	int n, columns[COLUMNS_MAX];
};

static void measure(const struct stow_grid *grid, char *const *cells, size_t rows,
		    struct stow_fit *fit)
{
	for (int i = 0; i < grid->n; i++) {
		const struct stow_grid_column *column = &grid->columns[i];
		bool headed = !grid->style || !grid->style->noheadings;
		int longest = headed ? (int)strlen(column->heading) : 1;
		int least = STOW_MAX(longest, column->least);

		for (size_t row = 0; row < rows; row++)
			longest = STOW_MAX(
				longest,
				stow_fit_columns(cells[row * (size_t)grid->n + (size_t)i]));
		fit[i].least = column->least ? STOW_MIN(longest, least) : longest;
		fit[i].natural = STOW_MAX(longest, column->width);
		fit[i].width = fit[i].natural;
	}
}

static int columns_of(const char *line, size_t len)
{
	int n = 0;

	/* Of UTF-8, as stow_fit_columns() counts it. */
	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)line[i] & 0xc0) != 0x80;
	return n;
}

/* Print the first line of a cell, which `*rest` is at, `*column` being where the line has come to,
 * and move to the next one. Blanks are printed only before something. */
static void print_line(const struct part *part, int i, int start, int *column, char **rest)
{
	int width = part->fit[part->columns[i]].width;
	size_t len = strcspn(*rest, "\n");
	int wide = columns_of(*rest, len);

	if (len && part->grid->columns[part->columns[i]].right)
		start += STOW_MAX(width - wide, 0);
	if (len) {
		fprintf(part->out, "%*s%.*s", start - *column, "", (int)len, *rest);
		*column = start + wide;
	}
	*rest += len + ((*rest)[len] == '\n');
}

static int print_row(const struct part *part, char *const *cells)
{
	char *wrapped[COLUMNS_MAX] = { NULL }, *rest[COLUMNS_MAX];
	bool more = true;
	int r = 0;

	for (int i = 0; r == 0 && i < part->n; i++) {
		int column = part->columns[i];

		wrapped[i] = part->grid->width
				     ? stow_fit_wrap(cells[column], part->fit[column].width)
				     : strdup(cells[column]);
		rest[i] = wrapped[i];
		if (!wrapped[i])
			r = -ENOMEM;
	}
	while (r == 0 && more) {
		int start = 0, column = 0;

		more = false;
		for (int i = 0; i < part->n; i++) {
			print_line(part, i, start, &column, &rest[i]);
			start += part->fit[part->columns[i]].width + 1;
			more = more || *rest[i];
		}
		fputc('\n', part->out);
	}
	for (int i = 0; i < part->n; i++)
		free(wrapped[i]);
	return r;
}

static int print_part(const struct part *part, char *const *cells, size_t rows, bool last)
{
	const struct stow_grid *grid = part->grid;
	char *headings[COLUMNS_MAX];
	int r = 0;

	for (int i = 0; i < grid->n; i++)
		headings[i] = (char *)grid->columns[i].heading;
	if (!grid->style || !grid->style->noheadings)
		r = print_row(part, headings);
	for (size_t row = 0; r == 0 && row < rows; row++) {
		r = print_row(part, cells + row * (size_t)grid->n);
		if (r == 0 && last && grid->after)
			r = grid->after(grid->data, row);
	}
	return r;
}

static int print_fitted(FILE *out, const struct stow_grid *grid, char *const *cells, size_t rows)
{
	struct stow_fit fit[COLUMNS_MAX];
	struct part part = { .out = out, .grid = grid, .fit = fit };
	int r = 0;

	measure(grid, cells, rows, fit);
	for (int from = 0; r == 0 && from < grid->n;) {
		if (from)
			fputc('\n', out);
		part.n = stow_fit_part(fit, grid->n, 1, from, grid->width, part.columns);
		if (grid->width)
			(void)stow_fit_widths(fit, part.columns, part.n, grid->width);
		from = part.columns[part.n - 1] + 1;
		r = print_part(&part, cells, rows, from == grid->n);
	}
	return r;
}

/* --- for programs --------------------------------------------------------- */

/* Print a text with those characters as "\x20" that end it or that a shell expands, as
 * libsmartcols does. */
static void print_escaped(FILE *out, const char *text, const char *special)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < ' ' || c == 0x7f || strchr(special, c))
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
}

static void print_pair(FILE *out, const char *heading, const char *cell)
{
	fprintf(out, "%s=\"", heading);
	print_escaped(out, strcmp(cell, "-") == 0 ? "" : cell, "\"\\`$");
	fputc('"', out);
}

static void print_programs(FILE *out, const struct stow_grid *grid, char *const *cells, size_t rows)
{
	const struct stow_grid_style *style = grid->style;

	for (int i = 0; style->raw && !style->noheadings && i < grid->n; i++)
		fprintf(out, "%s%c", grid->columns[i].heading, i < grid->n - 1 ? ' ' : '\n');
	for (size_t row = 0; row < rows; row++)
		for (int i = 0; i < grid->n; i++, cells++) {
			if (style->pairs)
				print_pair(out, grid->columns[i].heading, *cells);
			else
				print_escaped(out, **cells ? *cells : "-", " \\");
			fputc(i < grid->n - 1 ? ' ' : '\n', out);
		}
}

bool stow_grid_for_programs(const struct stow_grid_style *style)
{
	return style && (style->noheadings || style->pairs || style->raw);
}

const char *stow_grid_size(const struct stow_grid_style *style, uint64_t bytes, char *buf,
			   size_t size)
{
	if (!style || !style->bytes)
		return stow_format_size(bytes, buf, size);
	snprintf(buf, size, "%" PRIu64, bytes);
	return buf;
}

void stow_grid_help(const struct stow_grid_column *columns, int n, FILE *out)
{
	_cleanup_free_ char *list = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&list, &len);

	if (!to)
		return;
	for (int i = 0; i < n; i++)
		fprintf(to, "%s%s", i ? ", " : "", columns[i].heading);
	if (fclose(to) == 0 && list)
		stow_fit_print(out, 0, "\nColumns:", 2, list, HELP_WIDTH);
}

/* --- all ------------------------------------------------------------------ */

static int select_columns(const struct stow_grid *grid, int *shown, int *n, struct stow_err *err)
{
	const struct stow_grid_style *style = grid->style;
	struct stow_column known[COLUMNS_MAX];

	for (int i = 0; i < grid->n; i++)
		known[i] = (struct stow_column){ grid->columns[i].heading, grid->columns[i].extra };
	return stow_columns_select(known, grid->n, style ? style->columns : NULL,
				   style && style->all, shown, n, err);
}

int stow_grid_print(FILE *out, const struct stow_grid *grid, char *const *cells, size_t rows,
		    struct stow_err *err)
{
	_cleanup_free_ char **picked = NULL;
	struct stow_grid_column columns[COLUMNS_MAX];
	struct stow_grid selected = *grid;
	int shown[COLUMNS_MAX], r;

	if (grid->n > COLUMNS_MAX)
		return stow_err_set(err, EINVAL, "a table of %d columns", grid->n);
	r = select_columns(grid, shown, &selected.n, err);
	if (r < 0 || !rows)
		return r;
	picked = calloc(rows * (size_t)selected.n, sizeof(*picked));
	if (!picked)
		return stow_err_sys(err, ENOMEM, "a table");
	selected.columns = columns;
	for (int i = 0; i < selected.n; i++)
		columns[i] = grid->columns[shown[i]];
	for (size_t row = 0; row < rows; row++)
		for (int i = 0; i < selected.n; i++)
			picked[row * (size_t)selected.n + (size_t)i] =
				cells[row * (size_t)grid->n + (size_t)shown[i]];
	if (stow_grid_for_programs(grid->style))
		selected.after = NULL;
	if (grid->style && (grid->style->pairs || grid->style->raw)) {
		print_programs(out, &selected, picked, rows);
		return 0;
	}
	r = print_fitted(out, &selected, picked, rows);
	return r == -ENOMEM ? stow_err_sys(err, ENOMEM, "a table") : r;
}
