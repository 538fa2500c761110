// SPDX-License-Identifier: Apache-2.0
#include "base/columns.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static int find(const struct stow_column *columns, int n, const char *name, size_t len)
{
	for (int i = 0; i < n; i++)
		if (strlen(columns[i].name) == len && strncasecmp(columns[i].name, name, len) == 0)
			return i;
	return -1;
}

static int unknown(const struct stow_column *columns, int n, const char *name, size_t len,
		   struct stow_err *err)
{
	char known[256] = "";

	for (int i = 0; i < n; i++) {
		size_t end = strlen(known);

		snprintf(known + end, sizeof(known) - end, "%s%s", i ? "," : "", columns[i].name);
	}
	return stow_err_set(err, EINVAL, "--output \"%.*s\": expected columns of %s",
			    (int)(len < 32 ? len : 32), name, known);
}

/* Append a column, unless it is shown already. */
static void show(int column, int *shown, int *n)
{
	for (int i = 0; i < *n; i++)
		if (shown[i] == column)
			return;
	shown[(*n)++] = column;
}

int stow_columns_select(const struct stow_column *columns, int n, const char *list, bool all,
			int *shown, int *ret_n, struct stow_err *err)
{
	bool more = !list || *list == '+';

	*ret_n = 0;
	for (int i = 0; more && i < n; i++)
		if (all || !columns[i].extra)
			show(i, shown, ret_n);
	if (!list)
		return 0;
	for (list += *list == '+';;) {
		size_t len = strcspn(list, ",");
		int column = find(columns, n, list, len);

		if (column < 0)
			return unknown(columns, n, list, len, err);
		show(column, shown, ret_n);
		if (!list[len])
			return 0;
		list += len + 1;
	}
}
