/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tables on a terminal, with libsmartcols. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Make a table with aligned columns, fitted to the terminal. `columns` is NULL-terminated; a
 * name with a leading ">" is right-aligned. */
struct libscols_table;
struct libscols_table *fleet_table(const char *const *columns);
/* Add a row with one text per column. -ENOMEM is recorded, and returned by fleet_table_print(). */
void fleet_row(struct libscols_table *table, const char *const *texts);
/* Print the table to `out`, and free it. */
int fleet_table_print(struct libscols_table *table, FILE *out);

/* Format the time between two times in ns since the epoch: "12s", "3m", "2h". */
const char *fleet_age(uint64_t from, uint64_t to, char *buf, size_t size);
