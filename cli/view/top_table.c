// SPDX-License-Identifier: Apache-2.0
#include "cli/view/top_table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/fit.h"
#include "base/math.h"

#define LABEL 11 /* columns of a label */

/* --- lines ------------------------------------------------------------------ */

/* Return how many bytes the first `columns` columns take. */
static size_t bytes_of(const char *text, int columns)
{
	size_t len = 0;

	for (; text[len]; len++)
		if (((unsigned char)text[len] & 0xc0) != 0x80 && columns-- == 0)
			break;
	return len;
}

/* Add a line, and own its text. */
static struct top_line *add_line(struct top_frame *frame, enum top_look look, char *text)
{
	struct top_line *added = text ? STOW_APPEND(frame->lines, frame->n) : NULL;

	if (!added) {
		free(text);
		frame->failed = true;
		return NULL;
	}
	if (frame->width)
		text[bytes_of(text, frame->width)] = '\0';
	added->text = text;
	added->look = look;
	return added;
}

/* Format a text, which the caller frees; NULL: memory ran out. */
static char *text_from(const char *format, va_list args)
{
	char *text;

	return vasprintf(&text, format, args) < 0 ? NULL : text;
}

void top_frame_line(struct top_frame *frame, enum top_look look, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)add_line(frame, look, text_from(format, args));
	va_end(args);
}

void top_frame_label(struct top_frame *frame, const char *label, const char *format, ...)
{
	_cleanup_free_ char *text = NULL, *wrapped = NULL;
	char *rest;
	va_list args;

	va_start(args, format);
	text = text_from(format, args);
	va_end(args);
	if (text)
		wrapped = frame->width > LABEL + 1 ? stow_fit_wrap(text, frame->width - LABEL - 1)
						   : strdup(text);
	if (!wrapped) {
		frame->failed = true;
		return;
	}
	for (char *line = strtok_r(wrapped, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		top_frame_line(frame, TOP_PLAIN, "%-*s %s", LABEL, label, line);
		label = "";
	}
}

void top_frame_done(struct top_frame *frame)
{
	for (size_t i = 0; i < frame->n; i++)
		free(frame->lines[i].text);
	free(frame->lines);
	*frame = (struct top_frame){ 0 };
}

/* --- tables ----------------------------------------------------------------- */

void top_table_row(struct top_table *table)
{
	size_t n = (table->n_rows + 1) * (size_t)table->n;
	struct top_cell *grown;

	if (table->failed)
		return;
	grown = reallocarray(table->cells, n, sizeof(*grown));
	if (!grown) {
		table->failed = true;
		return;
	}
	table->cells = grown;
	memset(&grown[n - (size_t)table->n], 0, (size_t)table->n * sizeof(*grown));
	table->n_rows++;
}

void top_table_set(struct top_table *table, int column, enum cli_mark mark, const char *format, ...)
{
	struct top_cell *cell;
	va_list args;
	char *text;

	if (table->failed || !table->n_rows)
		return;
	va_start(args, format);
	text = text_from(format, args);
	va_end(args);
	table->failed |= !text;
	cell = &table->cells[(table->n_rows - 1) * (size_t)table->n + (size_t)column];
	free(cell->text);
	*cell = (struct top_cell){ text, mark };
}

void top_table_done(struct top_table *table)
{
	for (size_t i = 0; i < table->n_rows * (size_t)table->n; i++)
		free(table->cells[i].text);
	free(table->cells);
	*table = (struct top_table){ 0 };
}

static const struct top_cell *cell_of(const struct top_table *table, size_t row, int column)
{
	return &table->cells[row * (size_t)table->n + (size_t)column];
}

static const char *text_of(const struct top_cell *cell)
{
	return cell->text && *cell->text ? cell->text : "-";
}

/* Return what the columns take together, with a space between them; 0 is left out. */
static int sum(const int *widths, int n)
{
	int all = -1;

	for (int i = 0; i < n; i++)
		all += widths[i] ? widths[i] + 1 : 0;
	return all;
}

/* Compute the widths that the cells need. */
static void natural(const struct top_table *table, bool limited, int *widths)
{
	for (int i = 0; i < table->n; i++) {
		const struct top_column *column = &table->columns[i];

		widths[i] = STOW_MAX(column->least, stow_fit_columns(column->name));
		for (size_t row = 0; row < table->n_rows; row++)
			widths[i] = STOW_MAX(widths[i],
					     stow_fit_columns(text_of(cell_of(table, row, i))));
		if (limited && column->most)
			widths[i] = STOW_MIN(widths[i], column->most);
	}
}

/* Return the column that is left out next; -1: none may be. */
static int next_to_go(const struct top_table *table, const int *widths)
{
	int found = -1;

	for (int i = 0; i < table->n; i++)
		if (widths[i] && table->columns[i].drop &&
		    (found < 0 || table->columns[i].drop >= table->columns[found].drop))
			found = i;
	return found;
}

/* Compute the widths of the columns. Where there is no room, the first column shrinks to its least
 * width; then other columns are left out. */
static void fit(const struct top_table *table, int width, int *widths)
{
	int wanted, column;

	natural(table, width > 0, widths);
	if (!width)
		return;
	wanted = widths[0];
	widths[0] = STOW_MIN(wanted, STOW_MAX(table->columns[0].least,
					      stow_fit_columns(table->columns[0].name)));
	while (sum(widths, table->n) > width && (column = next_to_go(table, widths)) >= 0)
		widths[column] = 0;
	widths[0] = STOW_MIN(wanted, widths[0] + STOW_MAX(0, width - sum(widths, table->n)));
}

/* Print a cell into its width; what is longer ends with "+". */
static void put_cell(FILE *to, const char *text, int width, bool left, bool last)
{
	int columns = stow_fit_columns(text);

	if (columns > width) {
		fprintf(to, "%.*s+", (int)bytes_of(text, width - 1), text);
		return;
	}
	if (!left)
		fprintf(to, "%*s", width - columns, "");
	fputs(text, to);
	if (left && !last)
		fprintf(to, "%*s", width - columns, "");
}

/* Add one line: row `row`, or the heading (-1). */
static void put_row(const struct top_table *table, struct top_frame *frame, const int *widths,
		    long row, enum top_look look)
{
	struct top_line line = { 0 }, *added;
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);
	int at = 0, last = table->n - 1;

	if (!to) {
		frame->failed = true;
		return;
	}
	while (last > 0 && !widths[last])
		last--;
	for (int i = 0; i <= last; i++) {
		const struct top_cell *cell = row < 0 ? NULL : cell_of(table, (size_t)row, i);

		if (!widths[i])
			continue;
		if (at)
			fputc(' ', to);
		at += at ? 1 : 0;
		put_cell(to, cell ? text_of(cell) : table->columns[i].name, widths[i],
			 table->columns[i].left, i == last);
		if (cell && cell->mark != CLI_PLAIN && line.n_spans < TOP_SPANS) {
			line.spans[line.n_spans].from = at;
			line.spans[line.n_spans].columns = widths[i];
			line.spans[line.n_spans++].mark = cell->mark;
		}
		at += widths[i];
	}
	if (fclose(to) != 0) {
		free(text);
		text = NULL;
	}
	added = add_line(frame, look, text);
	if (!added)
		return;
	memcpy(added->spans, line.spans, sizeof(added->spans));
	added->n_spans = line.n_spans;
}

void top_table_print(const struct top_table *table, struct top_frame *frame, size_t first,
		     size_t count, long cursor)
{
	_cleanup_free_ int *widths = calloc((size_t)table->n, sizeof(*widths));

	frame->failed |= table->failed || !widths;
	if (frame->failed)
		return;
	fit(table, frame->width, widths);
	put_row(table, frame, widths, -1, TOP_HEADING);
	for (size_t row = first; row < table->n_rows && row - first < count; row++)
		put_row(table, frame, widths, (long)row,
			(long)row == cursor ? TOP_CURSOR : TOP_PLAIN);
}
