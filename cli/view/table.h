/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Tables: rows of typed cells, from which text (libsmartcols, fitted to the terminal), KEY="value"
 * pairs, raw columns and JSON are made, with the columns that --output selects.
 *
 * A cell that is not set is unknown: "-" in text, null in JSON. When memory runs out, the table
 * records it, and printing fails.
 */

#include <stdint.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "cli/view/output.h"

enum cli_cell {
	CLI_TEXT,   /* left */
	CLI_LAST,   /* a text that may be long: wrapped at the terminal's edge */
	CLI_TREE,   /* a text with the tree's branches before it */
	CLI_NUMBER, /* right; a number in JSON */
	CLI_SIZE,   /* bytes: "2Gi", a number of bytes in JSON */
	CLI_REAL,   /* right, with two decimals; a number in JSON */
	CLI_BOOL,   /* "yes" and "no"; true and false in JSON */
};

struct cli_column {
	const char *name; /* "NODE"; with JSON its lower case, "-" as "_", unless it has a key */
	enum cli_cell cell;
	const char *help; /* what it is, for --help; NULL: the name says it */
	bool extra;	  /* not among the default columns */
	const char *key;  /* its key in JSON, or NULL */
};

/* How a cell is coloured, where colours are wanted. Texts never depend on it. */
enum cli_mark { CLI_PLAIN, CLI_GOOD, CLI_WARNING, CLI_BAD };

struct cli_table;
struct cli_row;

/* Make a table of `columns`, which end with one without a name and outlive the table. -EINVAL:
 * `out->columns` names an unknown column; the message lists the known ones. */
int cli_table_new(const struct cli_column *columns, const struct cli_output *out,
		  struct cli_table **ret, struct stow_err *err);
void cli_table_free(struct cli_table *table);
STOW_DEFINE_CLEANUP(cli_table_free, struct cli_table);

/* Add a row below `parent`, or at the top level (NULL). The table owns it; never NULL. */
struct cli_row *cli_table_row(struct cli_table *table, struct cli_row *parent);
/* Set the cell of column number `column` in the order of the table's definition. A text is
 * copied; what other programs chose must have been cleaned (base/text.h). */
void cli_row_text(struct cli_row *row, int column, const char *text);
__attribute__((format(printf, 3, 4))) void cli_row_format(struct cli_row *row, int column,
							  const char *format, ...);
/* Set a cell of CLI_NUMBER, CLI_SIZE or CLI_BOOL; STOW_UNKNOWN leaves it empty. */
void cli_row_number(struct cli_row *row, int column, uint64_t value);
/* The same for the number of a node, CPU or the like; a negative one leaves it empty. */
void cli_row_id(struct cli_row *row, int column, int id);
/* Set a text to a list, as in "0-3,8"; an empty set leaves it empty. */
void cli_row_set(struct cli_row *row, int column, const struct stow_idset *set);
void cli_row_signed(struct cli_row *row, int column, int64_t value);
void cli_row_real(struct cli_row *row, int column, double value);
void cli_row_mark(struct cli_row *row, int column, enum cli_mark mark);

/* Print the rows as text, pairs or raw columns. An empty table prints nothing. 0 or -ENOMEM. */
int cli_table_print(struct cli_table *table);
/* Return the rows as an array of objects with the selected columns; children of a row are in its
 * "children". NULL: out of memory. */
json_object *cli_table_json(struct cli_table *table);

/* Print the list of a table's columns for --help: "Columns:" and one per line. */
void cli_columns_help(const struct cli_column *columns);
