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

static int read_rows(struct stow_ledger *ledger, sqlite3_stmt *stmt,
		     struct stow_ledger_partition **rows, size_t *n, struct stow_err *err)
{
	int r;

	while ((r = stow_sql_step(ledger, stmt, err)) > 0) {
		struct stow_ledger_partition *added = STOW_APPEND(*rows, *n);

		if (!added)
			return stow_err_sys(err, ENOMEM, "reading the ledger");
		*added = (struct stow_ledger_partition){
			.path = stow_sql_text(stmt, 0),
			.inode = (uint64_t)sqlite3_column_int64(stmt, 1),
			.leaf = sqlite3_column_int(stmt, 2) != 0,
			.again = (uint64_t)sqlite3_column_int64(stmt, 3),
		};
		if (!added->path)
			return stow_err_sys(err, ENOMEM, "reading the ledger");
	}
	return r;
}

int stow_ledger_partitions(struct stow_ledger *ledger, struct stow_ledger_partition **ret,
			   size_t *ret_n, struct stow_err *err)
{
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	struct stow_ledger_partition *rows = NULL;
	size_t n = 0;
	int r;

	r = stow_sql_read_lock(ledger, &lock, err);
	if (r == 0)
		r = stow_sql_prepare(ledger, &stmt, err,
				     "SELECT path, inode, leaf, again FROM partition"
				     " ORDER BY length(path) DESC",
				     "");
	if (r == 0)
		r = read_rows(ledger, stmt, &rows, &n, err);
	if (r < 0) {
		stow_ledger_partitions_free(rows, n);
		return r;
	}
	*ret = rows;
	*ret_n = n;
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
