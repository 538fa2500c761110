/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The columns of a table that --output and --output-all select, as in util-linux. */

#include <stdbool.h>

#include "base/err.h"

struct stow_column {
	const char *name;
	bool extra; /* not among the default columns */
};

/* Put the numbers of the selected ones of `n` columns into `shown`, which has room for all, in the
 * order in which they are printed, and how many they are into *ret_n. `list`: "NAME,..." in any
 * case of letters, "+NAME,..." for these besides the default columns, NULL for the default. `all`:
 * every column, unless `list` names some. -EINVAL: a name is unknown; the message has the known
 * ones. */
int stow_columns_select(const struct stow_column *columns, int n, const char *list, bool all,
			int *shown, int *ret_n, struct stow_err *err);
