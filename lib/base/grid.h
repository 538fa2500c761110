/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A table of texts below headings, fitted to a terminal (base/fit.h), or for programs. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* What the options of util-linux's commands say of a table. */
struct stow_grid_style {
	const char *columns; /* of --output, see base/columns.h; NULL: the default */
	bool all;	     /* every column */
	bool noheadings;
	bool pairs, raw; /* NAME="value", and columns separated by one space */
	bool bytes;	 /* sizes as numbers of bytes: see stow_grid_size() */
};

struct stow_grid_column {
	const char *heading;
	int width; /* at least, where the terminal has room */
	int least; /* to which it can be wrapped; 0: it cannot */
	bool right;
	bool extra; /* not among the default columns */
};

struct stow_grid {
	const struct stow_grid_column *columns;
	int n;
	int width; /* of the terminal; 0: no line is wrapped */
	/* What is printed below a row, or NULL; not called for programs. */
	int (*after)(void *data, size_t row);
	void *data;
	const struct stow_grid_style *style; /* NULL: headings, and the default columns */
};

/* Print `rows` rows, whose cells are `cells`, row by row, and their headings; without a row
 * nothing. A cell of "-" is empty in pairs. 0; -EINVAL: --output names an unknown column, also
 * without a row; -ENOMEM, or what `after` returned. */
int stow_grid_print(FILE *out, const struct stow_grid *grid, char *const *cells, size_t rows,
		    struct stow_err *err);

/* Print the names of the columns, for --help. */
void stow_grid_help(const struct stow_grid_column *columns, int n, FILE *out);

/* Return whether a program reads the table: then nothing but its rows is printed. `style` may be
 * NULL. */
bool stow_grid_for_programs(const struct stow_grid_style *style);

/* Format a size as the style wants it: "2Gi", or in bytes. `style` may be NULL. Return `buf`. */
const char *stow_grid_size(const struct stow_grid_style *style, uint64_t bytes, char *buf,
			   size_t size);
