// SPDX-License-Identifier: Apache-2.0
/* A repin in progress: a second set of rows of share, page and cpu, with `target` 1. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "ledger/internal.h"
#include "ledger/ledger.h"
#include "ledger/sql.h"

/* Read the record's mode (-ENOENT: it is gone), and its page sizes in the order of its `pages`. */
static int read_owner(struct stow_ledger *ledger, int64_t key, bool *ret_exclusive,
		      struct stow_page_request *sizes, size_t *ret_n, struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *mode = NULL, *size = NULL;
	size_t n = 0;
	int r;

	r = stow_sql_prepare(ledger, &mode, err, "SELECT mode FROM container WHERE key = ?", "i",
			     key);
	if (r == 0)
		r = stow_sql_step(ledger, mode, err);
	if (r < 0)
		return r;
	if (r == 0)
		return stow_err_set(err, ENOENT, "the record is gone");
	*ret_exclusive = sqlite3_column_int(mode, 0) != 0;
	r = stow_sql_prepare(ledger, &size, err,
			     "SELECT DISTINCT size FROM page WHERE container = ? AND target = 0"
			     " ORDER BY size",
			     "i", key);
	while (r == 0 && n < STOW_POOLS_MAX && (r = stow_sql_step(ledger, size, err)) > 0) {
		sizes[n++].size = stow_sql_u64(size, 0);
		r = 0;
	}
	*ret_n = n;
	return r;
}

int stow_ledger_move_begin(struct stow_ledger *ledger, int64_t key, const struct stow_move *move,
			   struct stow_err *err)
{
	static const struct stow_idset none;
	struct stow_page_request sizes[STOW_POOLS_MAX];
	size_t n = 0;
	bool exclusive = false;
	int r;

	r = read_owner(ledger, key, &exclusive, sizes, &n, err);
	if (r < 0)
		return r;
	r = stow_sql_run(ledger, err, "INSERT INTO move VALUES(?, ?, ?, ?, ?, ?, ?)", "iiiisst",
			 key, (int64_t)move->worker.pid, (int64_t)move->worker.start,
			 (int64_t)move->step, exclusive ? &none : &move->cpus, &move->nodes,
			 move->reason ? move->reason : "");
	if (r == -EEXIST)
		return stow_err_set(err, EBUSY, "a repin of this container is under way");
	if (r == 0)
		r = stow_ledger_put_shares(ledger, key, 1, exclusive, move->shares, move->n_shares,
					   sizes, n, err);
	if (r == 0 && exclusive)
		r = stow_ledger_put_cpus(ledger, key, 1, &move->cpus, err);
	return r;
}

static int none_under_way(struct stow_ledger *ledger, int r, struct stow_err *err)
{
	if (r < 0 || sqlite3_changes(ledger->db) > 0)
		return r;
	return stow_err_set(err, ENOENT, "no repin of this container is under way");
}

int stow_ledger_move_step(struct stow_ledger *ledger, int64_t key, enum stow_move_step step,
			  struct stow_err *err)
{
	return none_under_way(ledger,
			      stow_sql_run(ledger, err,
					   "UPDATE move SET step = ? WHERE container = ?", "ii",
					   (int64_t)step, key),
			      err);
}

int stow_ledger_move_adopt(struct stow_ledger *ledger, int64_t key,
			   const struct stow_pidref *worker, struct stow_err *err)
{
	return none_under_way(ledger,
			      stow_sql_run(ledger, err,
					   "UPDATE move SET worker_pid = ?, worker_start = ?"
					   " WHERE container = ?",
					   "iii", (int64_t)worker->pid, (int64_t)worker->start,
					   key),
			      err);
}

int stow_ledger_move_end(struct stow_ledger *ledger, int64_t key, bool arrived,
			 struct stow_err *err)
{
	/* Pages follow their shares through the foreign key. */
	static const char *const arrive[] = {
		("UPDATE container SET (cpus, nodes, reason) ="
		 " (SELECT cpus, nodes, reason FROM move WHERE container = key) WHERE key = ?"),
		"DELETE FROM share WHERE container = ? AND target = 0",
		"DELETE FROM cpu WHERE container = ? AND target = 0",
		"UPDATE share SET target = 0 WHERE container = ?",
		"UPDATE cpu SET target = 0 WHERE container = ?",
	};
	static const char *const drop[] = {
		"DELETE FROM share WHERE container = ? AND target = 1",
		"DELETE FROM cpu WHERE container = ? AND target = 1",
	};
	const char *const *statements = arrived ? arrive : drop;
	size_t n = arrived ? STOW_ARRAY_SIZE(arrive) : STOW_ARRAY_SIZE(drop);
	int64_t under_way = 0;
	int r;

	r = stow_sql_number(ledger, &under_way, err, "SELECT 1 FROM move WHERE container = ?", "i",
			    key);
	if (r < 0 || !under_way)
		return r;
	for (size_t i = 0; i < n && r == 0; i++)
		r = stow_sql_run(ledger, err, statements[i], "i", key);
	if (r == 0)
		r = stow_sql_run(ledger, err, "DELETE FROM move WHERE container = ?", "i", key);
	return r < 0 ? r : 1;
}
