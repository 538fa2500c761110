// SPDX-License-Identifier: Apache-2.0
#include "cli/fleet/table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>

#include <libsmartcols/libsmartcols.h>

#include "base/clock.h"

struct libscols_table *fleet_table(const char *const *columns)
{
	struct libscols_table *table = scols_new_table();

	for (size_t i = 0; table && columns[i]; i++) {
		bool right = columns[i][0] == '>';

		scols_table_new_column(table, columns[i] + right, 0,
				       right		? SCOLS_FL_RIGHT
				       : columns[i + 1] ? 0
							: SCOLS_FL_WRAP);
	}
	return table;
}

void fleet_row(struct libscols_table *table, const char *const *texts)
{
	struct libscols_line *line = table ? scols_table_new_line(table, NULL) : NULL;

	for (size_t i = 0; line && i < scols_table_get_ncols(table); i++)
		scols_line_set_data(line, i, texts[i]);
}

int fleet_table_print(struct libscols_table *table, FILE *out)
{
	int r = table ? 0 : -ENOMEM;

	if (table) {
		scols_table_set_stream(table, out);
		r = scols_print_table(table);
		scols_unref_table(table);
	}
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
