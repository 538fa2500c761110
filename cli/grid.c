// SPDX-License-Identifier: Apache-2.0
#include "cli/grid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"

enum {
	COLUMNS_MAX = 16,
	CELL_MAX = 4096,
	/* To how many columns of the terminal texts are wrapped. */
	LEAST = 8,
	LAST_LEAST = 24,
};

struct cli_grid {
	struct stow_grid_column columns[COLUMNS_MAX];
	int n;
	char **cells; /* row by row */
	size_t n_cells;
	bool failed;
};

struct cli_grid *cli_grid(const char *const *columns)
{
	struct cli_grid *table = calloc(1, sizeof(*table));

	for (; table && columns[table->n] && table->n < COLUMNS_MAX; table->n++) {
		const char *heading = columns[table->n];
		bool right = heading[0] == '>', extra = heading[0] == '+';

		table->columns[table->n] = (struct stow_grid_column){
			.heading = heading + right + extra,
			.least = right			 ? 0
				 : columns[table->n + 1] ? LEAST
							 : LAST_LEAST,
			.right = right,
			.extra = extra,
		};
	}
	return table;
}

void cli_grid_help(const char *const *columns, FILE *out)
{
	_cleanup_free_ struct cli_grid *table = cli_grid(columns);

	if (table)
		stow_grid_help(table->columns, table->n, out);
}

void cli_grid_row(struct cli_grid *table, const char *const *texts)
{
	for (int i = 0; table && i < table->n && !table->failed; i++) {
		char **cell = STOW_APPEND(table->cells, table->n_cells);

		if (cell)
			*cell = stow_text_copy(texts[i], CELL_MAX);
		table->failed = !cell || !*cell;
	}
}

void cli_grid_print(struct cli_grid *table, FILE *out)
{
	if (cli_grid_print_as(table, NULL, out, NULL) < 0)
		fprintf(stderr, "numastow: out of memory\n");
}

int cli_grid_print_as(struct cli_grid *table, const struct stow_grid_style *style, FILE *out,
		      struct stow_err *err)
{
	struct stow_grid grid;
	int r;

	if (!table)
		return stow_err_sys(err, ENOMEM, "a table");
	grid = (struct stow_grid){
		.columns = table->columns, .n = table->n, .width = cli_width(), .style = style
	};
	if (table->failed)
		r = stow_err_sys(err, ENOMEM, "a table");
	else
		r = stow_grid_print(out, &grid, table->cells, table->n_cells / (size_t)table->n,
				    err);
	for (size_t i = 0; i < table->n_cells; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
	return r;
}
