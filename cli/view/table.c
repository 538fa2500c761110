// SPDX-License-Identifier: Apache-2.0
#include "cli/view/table.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libsmartcols/libsmartcols.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/columns.h"
#include "base/fit.h"
#include "base/math.h"
#include "base/parse.h"
#include "cli/cli.h"

#define COLUMNS_MAX 64
#define TEXT_LEAST  12 /* columns of the terminal that a wrapped text has at least */
#define LAST_LEAST  24

struct cell {
	bool set;
	enum cli_mark mark;
	char *text; /* of the kinds that are texts */
	bool negative;
	uint64_t number; /* the absolute value */
	double real;
};

struct cli_row {
	struct cli_table *table;
	struct cli_row *parent, *next;
	struct libscols_line *line; /* while the table is printed */
	json_object *json;	    /* while JSON is made */
	struct cell cells[];
};

struct cli_table {
	const struct cli_column *columns;
	const struct cli_output *out;
	int n_columns, n_shown;
	int shown[COLUMNS_MAX]; /* numbers of columns, in their order on the screen */
	struct cli_row *first, *last;
	struct cli_row *spare; /* for a row that memory ran out for: writes to it are lost */
	bool failed;
};

static int count(const struct cli_column *columns)
{
	int n = 0;

	while (columns[n].name)
		n++;
	return n;
}

static int select_columns(struct cli_table *table, struct stow_err *err)
{
	struct stow_column columns[COLUMNS_MAX];

	for (int i = 0; i < table->n_columns; i++)
		columns[i] =
			(struct stow_column){ table->columns[i].name, table->columns[i].extra };
	return stow_columns_select(columns, table->n_columns, table->out->columns, table->out->all,
				   table->shown, &table->n_shown, err);
}

static struct cli_row *new_row(struct cli_table *table)
{
	size_t cells = (size_t)table->n_columns * sizeof(struct cell);
	struct cli_row *row = calloc(1, sizeof(*row) + cells);

	if (row)
		row->table = table;
	return row;
}

int cli_table_new(const struct cli_column *columns, const struct cli_output *out,
		  struct cli_table **ret, struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = calloc(1, sizeof(*table));
	int r;

	if (!table)
		return stow_err_sys(err, ENOMEM, "table");
	table->columns = columns;
	table->out = out;
	table->n_columns = STOW_MIN(count(columns), COLUMNS_MAX);
	table->spare = new_row(table);
	if (!table->spare)
		return stow_err_sys(err, ENOMEM, "table");
	r = select_columns(table, err);
	if (r == 0)
		*ret = STOW_TAKE_PTR(table);
	return r;
}

static void free_row(struct cli_row *row)
{
	for (int i = 0; i < row->table->n_columns; i++)
		free(row->cells[i].text);
	free(row);
}

void cli_table_free(struct cli_table *table)
{
	if (!table)
		return;
	for (struct cli_row *row = table->first, *next; row; row = next) {
		next = row->next;
		free_row(row);
	}
	if (table->spare)
		free_row(table->spare);
	free(table);
}

struct cli_row *cli_table_row(struct cli_table *table, struct cli_row *parent)
{
	struct cli_row *row = new_row(table);

	if (!row) {
		table->failed = true;
		return table->spare;
	}
	row->parent = parent;
	if (table->last)
		table->last->next = row;
	else
		table->first = row;
	table->last = row;
	return row;
}

/* --- cells ---------------------------------------------------------------- */

void cli_row_text(struct cli_row *row, int column, const char *text)
{
	struct cell *cell = &row->cells[column];

	free(cell->text);
	cell->text = text ? strdup(text) : NULL;
	cell->set = cell->text != NULL;
	if (text && !cell->text)
		row->table->failed = true;
}

void cli_row_format(struct cli_row *row, int column, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;
	int r;

	va_start(args, format);
	r = vasprintf(&text, format, args);
	va_end(args);
	if (r < 0) {
		text = NULL;
		row->table->failed = true;
		return;
	}
	cli_row_text(row, column, text);
}

void cli_row_number(struct cli_row *row, int column, uint64_t value)
{
	row->cells[column].set = value != STOW_UNKNOWN;
	row->cells[column].number = value;
}

void cli_row_id(struct cli_row *row, int column, int id)
{
	cli_row_number(row, column, id < 0 ? STOW_UNKNOWN : (uint64_t)id);
}

void cli_row_set(struct cli_row *row, int column, const struct stow_idset *set)
{
	char list[512];

	if (!stow_idset_empty(set))
		cli_row_text(row, column, stow_idset_format(set, list, sizeof(list)));
}

void cli_row_signed(struct cli_row *row, int column, int64_t value)
{
	cli_row_number(row, column, value < 0 ? -(uint64_t)value : (uint64_t)value);
	row->cells[column].negative = value < 0;
}

void cli_row_real(struct cli_row *row, int column, double value)
{
	row->cells[column].set = isfinite(value);
	row->cells[column].real = value;
}

void cli_row_mark(struct cli_row *row, int column, enum cli_mark mark)
{
	row->cells[column].mark = mark;
}

/* --- text ----------------------------------------------------------------- */

static int flags_of(const struct cli_column *column)
{
	switch (column->cell) {
	case CLI_NUMBER:
	case CLI_SIZE:
	case CLI_REAL:
		return SCOLS_FL_RIGHT;
	case CLI_TEXT:
	case CLI_LAST:
		return SCOLS_FL_WRAP;
	case CLI_TREE:
		return SCOLS_FL_TREE;
	case CLI_BOOL:
		break;
	}
	return 0;
}

static const char *text_of(const struct cli_table *table, const struct cli_row *row, int column,
			   char *buf, size_t size)
{
	const struct cell *cell = &row->cells[column];

	if (!cell->set)
		return table->out->pairs ? "" : "-";
	switch (table->columns[column].cell) {
	case CLI_NUMBER:
		snprintf(buf, size, "%s%" PRIu64, cell->negative ? "-" : "", cell->number);
		return buf;
	case CLI_SIZE:
		return cli_output_size(table->out, cell->number, buf, size);
	case CLI_REAL:
		snprintf(buf, size, "%.2f", cell->real);
		return buf;
	case CLI_BOOL:
		return cell->number ? "yes" : "no";
	case CLI_TEXT:
	case CLI_LAST:
	case CLI_TREE:
		break;
	}
	return cell->text;
}

static const char *colour_of(enum cli_mark mark)
{
	switch (mark) {
	case CLI_GOOD:
		return "green";
	case CLI_WARNING:
		return "yellow";
	case CLI_BAD:
		return "red";
	case CLI_PLAIN:
		break;
	}
	return NULL;
}

/* Some of a table's columns, which are printed as a table of their own. */
struct part {
	const struct stow_fit *fit;  /* of the shown columns; NULL: as wide as they are */
	int n, columns[COLUMNS_MAX]; /* indices into `shown` */
};

static int fill_cell(const struct cli_table *table, const struct cli_row *row,
		     const struct part *part, int i)
{
	int shown = part->columns[i], column = table->shown[shown], r;
	const char *colour = colour_of(row->cells[column].mark), *text;
	_cleanup_free_ char *wrapped = NULL;
	char buf[64];

	text = text_of(table, row, column, buf, sizeof(buf));
	if (part->fit && flags_of(&table->columns[column]) == SCOLS_FL_WRAP) {
		wrapped = stow_fit_wrap(text, part->fit[shown].width);
		if (!wrapped)
			return -ENOMEM;
		text = wrapped;
	}
	r = scols_line_set_data(row->line, (size_t)i, text);
	if (r == 0 && colour)
		r = scols_cell_set_color(scols_line_get_cell(row->line, (size_t)i), colour);
	return r;
}

static int fill_row(const struct cli_table *table, struct libscols_table *screen,
		    struct cli_row *row, const struct part *part)
{
	int r = 0;

	row->line = scols_table_new_line(screen, row->parent ? row->parent->line : NULL);
	if (!row->line)
		return -ENOMEM;
	for (int i = 0; r == 0 && i < part->n; i++)
		r = fill_cell(table, row, part, i);
	return r;
}

static int new_column(struct libscols_table *screen, const struct cli_column *column)
{
	struct libscols_column *made =
		scols_table_new_column(screen, column->name, 0, flags_of(column));
	int r;

	if (!made)
		return -ENOMEM;
	if (flags_of(column) != SCOLS_FL_WRAP)
		return 0;
	/* Where stow_fit_wrap() put newlines, and nowhere else. */
	r = scols_column_set_safechars(made, "\n");
	return r ? r
		 : scols_column_set_wrapfunc(made, scols_wrapnl_chunksize, scols_wrapnl_nextchunk,
					     NULL);
}

static int fill(struct cli_table *table, struct libscols_table *screen, const struct part *part)
{
	const struct cli_output *out = table->out;
	int r = 0;

	scols_table_enable_noheadings(screen, out->noheadings);
	scols_table_enable_export(screen, out->pairs);
	scols_table_enable_raw(screen, out->raw);
	scols_table_enable_ascii(screen, 1);
	scols_table_enable_colors(screen, cli_output_coloured());
	for (int i = 0; r == 0 && i < part->n; i++)
		r = new_column(screen, &table->columns[table->shown[part->columns[i]]]);
	for (struct cli_row *row = table->first; r == 0 && row; row = row->next)
		r = fill_row(table, screen, row, part);
	return r;
}

static int print_part(struct cli_table *table, const struct part *part)
{
	struct libscols_table *screen = scols_new_table();
	int r;

	if (!screen)
		return -ENOMEM;
	r = fill(table, screen, part);
	if (r == 0)
		r = scols_print_table(screen);
	scols_unref_table(screen);
	return r < 0 ? -ENOMEM : 0;
}

static int depth_of(const struct cli_row *row)
{
	int depth = 0;

	while (row->parent) {
		row = row->parent;
		depth++;
	}
	return depth;
}

static void measure(const struct cli_table *table, struct stow_fit *fit)
{
	for (int i = 0; i < table->n_shown; i++) {
		const struct cli_column *column = &table->columns[table->shown[i]];
		int heading = table->out->noheadings ? 1 : (int)strlen(column->name), least;

		fit[i].natural = heading;
		for (const struct cli_row *row = table->first; row; row = row->next) {
			char buf[64];
			int wide = stow_fit_columns(
				text_of(table, row, table->shown[i], buf, sizeof(buf)));

			/* Each level has a branch of two characters. */
			if (column->cell == CLI_TREE)
				wide += 2 * depth_of(row);
			fit[i].natural = STOW_MAX(fit[i].natural, wide);
		}
		least = column->cell == CLI_LAST ? LAST_LEAST : TEXT_LEAST;
		fit[i].least = flags_of(column) == SCOLS_FL_WRAP
				       ? STOW_MIN(fit[i].natural, STOW_MAX(heading, least))
				       : fit[i].natural;
	}
}

/* Return whether two rows are alike in the first `n` columns. */
static bool alike(const struct cli_table *table, const struct cli_row *a, const struct cli_row *b,
		  int n)
{
	for (int i = 0; i < n; i++) {
		char first[64], second[64];

		if (strcmp(text_of(table, a, table->shown[i], first, sizeof(first)),
			   text_of(table, b, table->shown[i], second, sizeof(second))) != 0)
			return false;
	}
	return true;
}

/* Return how many of the first columns tell rows apart from the ones above them: each part repeats
 * these, unless they take half of the terminal. */
static int count_keys(const struct cli_table *table, const struct stow_fit *fit, int width)
{
	int keys = 1, wide = fit[0].least;

	for (const struct cli_row *row = table->first; row->next; row = row->next)
		while (keys < table->n_shown && alike(table, row, row->next, keys))
			wide += 1 + fit[keys++].least;
	return wide <= width / 2 ? keys : 1;
}

static int print_fitted(struct cli_table *table, int width)
{
	struct stow_fit fit[COLUMNS_MAX];
	struct part part = { .fit = fit };
	int keys, r = 0;

	measure(table, fit);
	keys = count_keys(table, fit, width);
	for (int from = 0; r == 0 && from < table->n_shown;) {
		if (from)
			putchar('\n');
		part.n = stow_fit_part(fit, table->n_shown, keys, from, width, part.columns);
		(void)stow_fit_widths(fit, part.columns, part.n, width);
		from = part.columns[part.n - 1] + 1;
		r = print_part(table, &part);
	}
	return r;
}

static bool is_ascii(const char *text)
{
	while (*text && !(*text & 0x80))
		text++;
	return !*text;
}

/* libsmartcols prints characters that the locale does not have as "\xc3". A locale is as much to
 * read as all else, and few tables have such characters. */
static void set_locale(const struct cli_table *table)
{
	for (const struct cli_row *row = table->first; row; row = row->next)
		for (int i = 0; i < table->n_columns; i++)
			if (row->cells[i].text && !is_ascii(row->cells[i].text)) {
				(void)setlocale(LC_CTYPE, "C.UTF-8");
				return;
			}
}

int cli_table_print(struct cli_table *table)
{
	struct part whole = { .n = table->n_shown };
	int width = isatty(STDOUT_FILENO) ? cli_width() : 0;

	if (table->failed)
		return -ENOMEM;
	if (!table->first)
		return 0;
	set_locale(table);
	if (width && !table->out->raw && !table->out->pairs)
		return print_fitted(table, width);
	for (int i = 0; i < whole.n; i++)
		whole.columns[i] = i;
	return print_part(table, &whole);
}

/* --- JSON ----------------------------------------------------------------- */

static json_object *value_of(const struct cli_column *column, const struct cell *cell)
{
	switch (column->cell) {
	case CLI_NUMBER:
	case CLI_SIZE:
		return cell->negative ? json_object_new_int64(-(int64_t)cell->number)
				      : json_object_new_uint64(cell->number);
	case CLI_REAL:
		return cli_output_real(cell->real);
	case CLI_BOOL:
		return json_object_new_boolean(cell->number != 0);
	case CLI_TEXT:
	case CLI_LAST:
	case CLI_TREE:
		break;
	}
	return json_object_new_string(cell->text);
}

static const char *key_of(const struct cli_column *column, char *buf, size_t size)
{
	if (column->key)
		return column->key;
	snprintf(buf, size, "%s", column->name);
	for (char *p = buf; *p; p++)
		if (*p == '-')
			*p = '_';
		else
			*p = (char)tolower((unsigned char)*p);
	return buf;
}

static json_object *row_json(struct json_writer *w, const struct cli_table *table,
			     const struct cli_row *row)
{
	json_object *o = json_object_new_object();

	for (int i = 0; o && i < table->n_shown; i++) {
		const struct cli_column *column = &table->columns[table->shown[i]];
		const struct cell *cell = &row->cells[table->shown[i]];
		char buf[64];
		const char *key = key_of(column, buf, sizeof(buf));

		/* json-c has no object for null. */
		if (!cell->set)
			json_object_object_add(o, key, NULL);
		else
			json_put(w, o, key, value_of(column, cell));
	}
	return o;
}

json_object *cli_table_json(struct cli_table *table)
{
	json_object *rows = json_object_new_array();
	struct json_writer w = { .ok = rows != NULL && !table->failed };

	for (struct cli_row *row = table->first; w.ok && row; row = row->next) {
		json_object *to = rows;

		row->json = row_json(&w, table, row);
		if (row->parent && !json_object_object_get_ex(row->parent->json, "children", &to)) {
			to = json_object_new_array();
			json_put(&w, row->parent->json, "children", to);
		}
		json_append(&w, to, row->json);
	}
	if (w.ok)
		return rows;
	json_object_put(rows);
	return NULL;
}

void cli_columns_help(const struct cli_column *columns)
{
	int width = 0;

	for (int i = 0; columns[i].name; i++)
		width = STOW_MAX(width, (int)strlen(columns[i].name));
	printf("\nColumns:\n");
	for (int i = 0; columns[i].name; i++)
		printf("  %-*s  %s\n", width, columns[i].name,
		       columns[i].help ? columns[i].help : "");
}
