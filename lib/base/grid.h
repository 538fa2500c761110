/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A table of texts below headings, fitted to a terminal (base/fit.h). */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct stow_grid_column {
	const char *heading;
	int width; /* at least, where the terminal has room */
	int least; /* to which it can be wrapped; 0: it cannot */
	bool right;
};

struct stow_grid {
	const struct stow_grid_column *columns;
	int n;
	int width; /* of the terminal; 0: no line is wrapped */
	/* What is printed below a row, or NULL. */
	int (*after)(void *data, size_t row);
	void *data;
};

/* Print `rows` rows, whose cells are `cells`, row by row, and their headings. 0, -ENOMEM, or what
 * `after` returned. */
int stow_grid_print(FILE *out, const struct stow_grid *grid, char *const *cells, size_t rows);
