/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tables that fit the terminal (base/grid.h). */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Make a table with aligned columns, fitted to the terminal. `columns` is NULL-terminated; a
 * name with a leading ">" is right-aligned. */
struct fleet_table;
struct fleet_table *fleet_table(const char *const *columns);
/* Add a row with one text per column, which is made harmless for terminals. That memory ran out is
 * recorded, and returned by fleet_table_print(). */
void fleet_row(struct fleet_table *table, const char *const *texts);
/* Print the table to `out`, and free it. -ENOMEM: memory ran out. */
int fleet_table_print(struct fleet_table *table, FILE *out);

/* Format the time between two times in ns since the epoch: "12s", "3m", "2h". */
const char *fleet_age(uint64_t from, uint64_t to, char *buf, size_t size);
