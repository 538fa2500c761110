/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tables that fit the terminal (base/grid.h). */

#include <stdio.h>

#include "base/grid.h"

/* Make a table with aligned columns, fitted to the terminal. `columns` is NULL-terminated; a
 * name with a leading ">" is right-aligned, one with a leading "+" not among the default columns. */
struct cli_grid;
struct cli_grid *cli_grid(const char *const *columns);
/* Print the names of `columns`, for --help. */
void cli_grid_help(const char *const *columns, FILE *out);
/* Add a row with one text per column, which is made harmless for terminals. That memory ran out is
 * recorded until the table is printed. */
void cli_grid_row(struct cli_grid *table, const char *const *texts);
/* Print the table to `out`, and free it. That memory ran out is printed to standard error. */
void cli_grid_print(struct cli_grid *table, FILE *out);
/* The same in the style that options say, see stow_grid_print(), and return what went wrong. */
int cli_grid_print_as(struct cli_grid *table, const struct stow_grid_style *style, FILE *out,
		      struct stow_err *err);
