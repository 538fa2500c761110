// SPDX-License-Identifier: Apache-2.0
#include "cli/fleet/table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/grid.h"
#include "base/text.h"
#include "cli/cli.h"

enum {
	COLUMNS_MAX = 16,
	CELL_MAX = 4096,
	/* To how many columns of the terminal texts are wrapped. */
	LEAST = 8,
	LAST_LEAST = 24,
};

struct fleet_table {
	struct stow_grid_column columns[COLUMNS_MAX];
	int n;
	char **cells; /* row by row */
	size_t n_cells;
	bool failed;
};

struct fleet_table *fleet_table(const char *const *columns)
{
	struct fleet_table *table = calloc(1, sizeof(*table));

	for (; table && columns[table->n] && table->n < COLUMNS_MAX; table->n++) {
		const char *heading = columns[table->n];
		bool right = heading[0] == '>';

		table->columns[table->n] = (struct stow_grid_column){
			.heading = heading + right,
			.least = right			 ? 0
				 : columns[table->n + 1] ? LEAST
							 : LAST_LEAST,
			.right = right,
		};
	}
	return table;
}

void fleet_row(struct fleet_table *table, const char *const *texts)
{
	for (int i = 0; table && i < table->n && !table->failed; i++) {
		char **cell = STOW_APPEND(table->cells, table->n_cells);

		if (cell)
			*cell = stow_text_copy(texts[i], CELL_MAX);
		table->failed = !cell || !*cell;
	}
}

int fleet_table_print(struct fleet_table *table, FILE *out)
{
	struct stow_grid grid;
	int r = -ENOMEM;

	if (!table)
		return r;
	grid = (struct stow_grid){ .columns = table->columns, .n = table->n, .width = cli_width() };
	if (!table->failed)
		r = stow_grid_print(out, &grid, table->cells, table->n_cells / (size_t)table->n);
	for (size_t i = 0; i < table->n_cells; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
	return r;
}

const char *fleet_age(uint64_t from, uint64_t to, char *buf, size_t size)
{
	static const struct {
		const char *unit;
		uint64_t seconds;
	} units[] = { { "d", 86400 }, { "h", 3600 }, { "m", 60 }, { "s", 1 } };
	uint64_t seconds = stow_clock_elapsed(from, to) / STOW_SECOND;

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (seconds >= 2 * units[i].seconds || units[i].seconds == 1) {
			snprintf(buf, size, "%" PRIu64 "%s", seconds / units[i].seconds,
				 units[i].unit);
			break;
		}
	return buf;
}
