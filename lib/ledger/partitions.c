// SPDX-License-Identifier: Apache-2.0
/* Cgroups whose cpuset.cpus.exclusive numastow has written. */
#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "ledger/ledger.h"
#include "ledger/sql.h"

void stow_ledger_partitions_free(struct stow_ledger_partition *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(rows[i].path);
	free(rows);
}

struct rows {
	struct stow_ledger_partition *list;
	size_t n;
};

static int add_row(sqlite3_stmt *stmt, void *ctx)
{
	struct rows *rows = ctx;
	struct stow_ledger_partition *added = STOW_APPEND(rows->list, rows->n);

	if (!added)
		return -ENOMEM;
	*added = (struct stow_ledger_partition){
		.path = stow_sql_text(stmt, 0),
		.inode = stow_sql_u64(stmt, 1),
		.leaf = sqlite3_column_int(stmt, 2) != 0,
		.again = stow_sql_u64(stmt, 3),
	};
	return added->path ? 0 : -ENOMEM;
}

int stow_ledger_partitions(struct stow_ledger *ledger, struct stow_ledger_partition **ret,
			   size_t *ret_n, struct stow_err *err)
{
	struct rows rows = { 0 };
	int r = stow_sql_each(ledger, err, add_row, &rows,
			      "SELECT path, inode, leaf, again FROM partition"
			      " ORDER BY length(path) DESC",
			      "");

	if (r < 0) {
		stow_ledger_partitions_free(rows.list, rows.n);
		return r;
	}
	*ret = rows.list;
	*ret_n = rows.n;
	return 0;
}

int stow_ledger_partition_put(struct stow_ledger *ledger, const struct stow_ledger_partition *row,
			      struct stow_err *err)
{
	return stow_sql_run(ledger, err, "INSERT OR REPLACE INTO partition VALUES(?, ?, ?, ?)",
			    "tiii", row->path, (int64_t)row->inode, (int64_t)row->leaf,
			    (int64_t)row->again);
}

int stow_ledger_partition_drop(struct stow_ledger *ledger, const char *path, struct stow_err *err)
{
	return stow_sql_run(ledger, err, "DELETE FROM partition WHERE path = ?", "t", path);
}
