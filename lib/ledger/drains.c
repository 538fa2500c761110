// SPDX-License-Identifier: Apache-2.0
#include "ledger/drains.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/idlist.h"
#include "ledger/sql.h"

#define ENDS_KEPT 64 /* ordered drains whose end no scheduler has acknowledged */

#define COLUMNS                                                                              \
	"id, step, worker_pid, worker_start, ordered, cancel, resume, node, device, eject,"  \
	" keep, elsewhere, block_timeout, timeout, removal_timeout, rate, message, created," \
	" updated, bytes, bytes_offline, bytes_staying, release, code"

static const char *const step_names[] = {
	[STOW_DRAIN_STEP_WAITING] = "waiting",	   [STOW_DRAIN_STEP_PLANNED] = "planned",
	[STOW_DRAIN_STEP_FENCED] = "fenced",	   [STOW_DRAIN_STEP_MOVING] = "moving",
	[STOW_DRAIN_STEP_OFFLINING] = "offlining", [STOW_DRAIN_STEP_RETURNING] = "returning",
	[STOW_DRAIN_STEP_SAFE] = "safe",	   [STOW_DRAIN_STEP_REMOVED] = "removed",
	[STOW_DRAIN_STEP_UNDOING] = "undoing",	   [STOW_DRAIN_STEP_DONE] = "done",
	[STOW_DRAIN_STEP_PARTIAL] = "partial",	   [STOW_DRAIN_STEP_FAILED] = "failed",
	[STOW_DRAIN_STEP_CANCELLED] = "cancelled",
};

const char *stow_drain_step_name(enum stow_drain_step step)
{
	return step >= STOW_DRAIN_STEP_WAITING && step <= STOW_DRAIN_STEP_CANCELLED
		       ? step_names[step]
		       : "unknown";
}

static const char *text_of(const char *text)
{
	return text ? text : "";
}

/* --- reading -------------------------------------------------------------- */

/* Return a column's number as struct stow_drain_row_pool has it: one higher, and 0 for NULL. */
static uint64_t number_or_none(sqlite3_stmt *stmt, int column)
{
	return sqlite3_column_type(stmt, column) == SQLITE_NULL ? 0
								: stow_sql_u64(stmt, column) + 1;
}

static int read_row(sqlite3_stmt *stmt, struct stow_drain_row *row)
{
	_cleanup_free_ char *id = stow_sql_text(stmt, 0);

	*row = (struct stow_drain_row){
		.step = (enum stow_drain_step)sqlite3_column_int(stmt, 1),
		.worker = { .pid = (pid_t)sqlite3_column_int(stmt, 2),
			    .start = stow_sql_u64(stmt, 3) },
		.ordered = sqlite3_column_int(stmt, 4) != 0,
		.cancel = sqlite3_column_int(stmt, 5) != 0,
		.resume = sqlite3_column_int(stmt, 6) != 0,
		.node = sqlite3_column_int(stmt, 7),
		.device = stow_sql_text(stmt, 8),
		.eject = (enum stow_drain_eject)sqlite3_column_int(stmt, 9),
		.keep = sqlite3_column_int(stmt, 10) != 0,
		.elsewhere = sqlite3_column_int(stmt, 11) != 0,
		.block_timeout = stow_sql_u64(stmt, 12),
		.timeout = stow_sql_u64(stmt, 13),
		.removal_timeout = stow_sql_u64(stmt, 14),
		.rate = stow_sql_u64(stmt, 15),
		.message = stow_sql_text(stmt, 16),
		.created = stow_sql_u64(stmt, 17),
		.updated = stow_sql_u64(stmt, 18),
		.bytes = stow_sql_u64(stmt, 19),
		.bytes_offline = stow_sql_u64(stmt, 20),
		.bytes_staying = stow_sql_u64(stmt, 21),
		.release = (enum stow_drain_release)sqlite3_column_int(stmt, 22),
		.code = sqlite3_column_int(stmt, 23),
		.force_taint = sqlite3_column_int(stmt, 24) != 0,
	};
	if (!id || !row->device || !row->message)
		return -ENOMEM;
	snprintf(row->id, sizeof(row->id), "%s", id);
	return 0;
}

static int block_row(sqlite3_stmt *stmt, void *ctx)
{
	struct stow_drain_row *row = ctx;
	struct stow_drain_row_block *added = STOW_APPEND(row->blocks, row->n_blocks);
	bool gone = sqlite3_column_int(stmt, 2) != 0;

	if (!added)
		return -ENOMEM;
	*added = (struct stow_drain_row_block){
		.id = stow_sql_u64(stmt, 0),
		.zone = (enum stow_memblock_zone)sqlite3_column_int(stmt, 1),
		.gone = gone,
		.noted = gone,
	};
	return 0;
}

static int pool_row(sqlite3_stmt *stmt, void *ctx)
{
	struct stow_drain_row *row = ctx;

	if (row->n_pools < STOW_POOLS_MAX)
		row->pools[row->n_pools++] =
			(struct stow_drain_row_pool){ .size = stow_sql_u64(stmt, 0),
						      .lost = stow_sql_u64(stmt, 1),
						      .ours = stow_sql_u64(stmt, 2),
						      .used = stow_sql_u64(stmt, 3),
						      .before = number_or_none(stmt, 4),
						      .target = number_or_none(stmt, 5) };
	return 0;
}

struct moved {
	struct stow_drain_row *row;
	int64_t last; /* `seq` of the previous row; a container has a row for each of its nodes */
};

static int moved_row(sqlite3_stmt *stmt, void *ctx)
{
	struct moved *moved = ctx;
	struct stow_drain_row *row = moved->row;
	int64_t seq = sqlite3_column_int64(stmt, 0);
	int node = sqlite3_column_int(stmt, 2);

	if (seq != moved->last) {
		_cleanup_free_ char *id = stow_sql_text(stmt, 1);
		int r = id ? stow_drain_row_add_move(row, id, NULL) : -ENOMEM;

		if (r < 0)
			return r;
		row->moved[row->n_moved - 1].noted = true;
		moved->last = seq;
	}
	if (node < STOW_IDSET_MAX)
		stow_idset_add(&row->moved[row->n_moved - 1].nodes, node);
	return 0;
}

int stow_drain_row_add_move(struct stow_drain_row *row, const char *id,
			    const struct stow_idset *nodes)
{
	struct stow_drain_row_move *added;
	char *copy = strdup(id);

	added = copy ? STOW_APPEND(row->moved, row->n_moved) : NULL;
	if (!added) {
		free(copy);
		return -ENOMEM;
	}
	added->id = copy;
	if (nodes)
		added->nodes = *nodes;
	return 0;
}

char *stow_drain_row_blocks(const struct stow_drain_row *row, bool gone)
{
	_cleanup_free_ uint64_t *ids = calloc(row->n_blocks + 1, sizeof(*ids));
	size_t n = 0;

	for (size_t i = 0; ids && i < row->n_blocks; i++)
		if (!gone || row->blocks[i].gone)
			ids[n++] = row->blocks[i].id;
	return ids ? stow_idlist_format(ids, n) : NULL;
}

void stow_drain_row_done(struct stow_drain_row *row)
{
	for (size_t i = 0; i < row->n_moved; i++)
		free(row->moved[i].id);
	free(row->moved);
	free(row->blocks);
	free(row->device);
	free(row->message);
	*row = (struct stow_drain_row){ 0 };
}

void stow_drain_rows_free(struct stow_drain_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		stow_drain_row_done(&rows[i]);
	free(rows);
}

struct rows {
	struct stow_drain_row *list;
	size_t n;
};

static int add_row(sqlite3_stmt *stmt, void *ctx)
{
	struct rows *rows = ctx;
	struct stow_drain_row *added = STOW_APPEND(rows->list, rows->n);

	return added ? read_row(stmt, added) : -ENOMEM;
}

static int read_parts(struct stow_ledger *ledger, struct stow_drain_row *row, struct stow_err *err)
{
	struct moved moved = { .row = row, .last = -1 };
	int r;

	r = stow_sql_each(ledger, err, block_row, row,
			  "SELECT block, zone, gone FROM drain_block WHERE drain = ?"
			  " ORDER BY block",
			  "t", row->id);
	if (r == 0)
		r = stow_sql_each(ledger, err, pool_row, row,
				  "SELECT size, lost, ours, used, before, target FROM drain_pool"
				  " WHERE drain = ? ORDER BY size",
				  "t", row->id);
	if (r == 0)
		r = stow_sql_each(ledger, err, moved_row, &moved,
				  "SELECT seq, container, node FROM drain_moved WHERE drain = ?"
				  " ORDER BY seq, node",
				  "t", row->id);
	return r;
}

int stow_drain_rows(struct stow_ledger *ledger, struct stow_drain_row **ret, size_t *ret_n,
		    struct stow_err *err)
{
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	struct rows rows = { 0 };
	int r;

	r = stow_sql_read_lock(ledger, &lock, err);
	if (r == 0)
		r = stow_sql_each(ledger, err, add_row, &rows,
				  "SELECT " COLUMNS ", EXISTS(SELECT 1 FROM fence WHERE owner ="
				  " 'no-execute:' || id) FROM drain ORDER BY created, id",
				  "");
	for (size_t i = 0; i < rows.n && r == 0; i++)
		r = read_parts(ledger, &rows.list[i], err);
	if (r < 0) {
		stow_drain_rows_free(rows.list, rows.n);
		return r;
	}
	*ret = rows.list;
	*ret_n = rows.n;
	return 0;
}

bool stow_drain_row_cancelled(struct stow_ledger *ledger, const char *id)
{
	int64_t cancel;

	/* No row must count as cancelled: so count the rows that are not. */
	return stow_sql_number(ledger, &cancel, NULL,
			       "SELECT count(*) FROM drain WHERE id = ? AND cancel = 0", "t",
			       id) == 0 &&
	       cancel == 0;
}

/* --- writing -------------------------------------------------------------- */

static int check_alone(struct stow_ledger *ledger, const char *id, struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = stow_sql_prepare(ledger, &stmt, err,
			     "SELECT id, worker_pid FROM drain WHERE id = ?1 OR step < ?2", "ti",
			     id, (int64_t)STOW_DRAIN_STEP_DONE);
	if (r == 0)
		r = stow_sql_step(ledger, stmt, err);
	if (r > 0) {
		_cleanup_free_ char *other = stow_sql_text(stmt, 0);

		if (other && strcmp(other, id) == 0)
			return stow_err_set(err, EEXIST, "there is a drain %s already", id);
		return stow_err_set(
			err, EBUSY,
			"drain %s is under way (process %d); one at a time on a machine",
			text_of(other), sqlite3_column_int(stmt, 1));
	}
	return r;
}

/* SQLite's integers are signed. */
static int64_t signed_of(uint64_t number)
{
	return number < INT64_MAX ? (int64_t)number : INT64_MAX;
}

static int insert_blocks(struct stow_ledger *ledger, const struct stow_drain_row *row,
			 struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = stow_sql_prepare(ledger, &stmt, err, "INSERT INTO drain_block VALUES(?, ?, ?, ?)", "");
	for (size_t i = 0; i < row->n_blocks && r == 0; i++) {
		const struct stow_drain_row_block *block = &row->blocks[i];

		r = stow_sql_again(ledger, stmt, err, "tiii", row->id, (int64_t)block->id,
				   (int64_t)block->zone, (int64_t)block->gone);
	}
	return r;
}

static int update_blocks(struct stow_ledger *ledger, const struct stow_drain_row *row,
			 struct stow_err *err)
{
	int r = 0;

	for (size_t i = 0; i < row->n_blocks && r == 0; i++)
		if (row->blocks[i].gone != row->blocks[i].noted)
			r = stow_sql_run(ledger, err,
					 "UPDATE drain_block SET gone = ? WHERE drain = ? AND"
					 " block = ?",
					 "iti", (int64_t)row->blocks[i].gone, row->id,
					 (int64_t)row->blocks[i].id);
	return r;
}

static int write_pools(struct stow_ledger *ledger, const struct stow_drain_row *row,
		       struct stow_err *err)
{
	int r;

	r = stow_sql_run(ledger, err, "DELETE FROM drain_pool WHERE drain = ?", "t", row->id);
	for (size_t i = 0; i < row->n_pools && r == 0; i++) {
		const struct stow_drain_row_pool *p = &row->pools[i];

		/* The last two are one higher than the number, and 0 for NULL: number_or_none(). */
		r = stow_sql_run(ledger, err,
				 "INSERT INTO drain_pool VALUES(?1, ?2, ?3, ?4, ?5,"
				 " nullif(?6, -1), nullif(?7, -1))",
				 "tiiiiii", row->id, signed_of(p->size), signed_of(p->lost),
				 signed_of(p->ours), signed_of(p->used), signed_of(p->before) - 1,
				 signed_of(p->target) - 1);
	}
	return r;
}

static int insert_moved(struct stow_ledger *ledger, const struct stow_drain_row *row,
			struct stow_err *err)
{
	int r = 0;

	for (size_t i = 0; i < row->n_moved; i++) {
		if (row->moved[i].noted)
			continue;
		STOW_IDSET_FOR(node, &row->moved[i].nodes)
			if (r == 0)
				r = stow_sql_run(ledger, err,
						 "INSERT INTO drain_moved VALUES(?, ?, ?, ?)",
						 "titi", row->id, (int64_t)i, row->moved[i].id,
						 (int64_t)node);
	}
	return r;
}

/* The row is committed: what it has of gone blocks and moved containers need not be written again. */
static void set_noted(struct stow_drain_row *row)
{
	for (size_t i = 0; i < row->n_blocks; i++)
		row->blocks[i].noted = row->blocks[i].gone;
	for (size_t i = 0; i < row->n_moved; i++)
		row->moved[i].noted = true;
}

static int insert(struct stow_ledger *ledger, const struct stow_drain_row *row,
		  struct stow_err *err)
{
	int64_t now = (int64_t)stow_clock_wall();
	int r;

	r = stow_sql_run(ledger, err,
			 "INSERT INTO drain(" COLUMNS ")"
			 " VALUES(?,?,?,?,?,0,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0)",
			 "tiiiiiitiiiiiiitiiiiii", row->id, (int64_t)row->step,
			 (int64_t)row->worker.pid, (int64_t)row->worker.start,
			 (int64_t)row->ordered, (int64_t)row->resume, (int64_t)row->node,
			 text_of(row->device), (int64_t)row->eject, (int64_t)row->keep,
			 (int64_t)row->elsewhere, signed_of(row->block_timeout),
			 signed_of(row->timeout), signed_of(row->removal_timeout),
			 signed_of(row->rate), text_of(row->message), now, now,
			 signed_of(row->bytes), signed_of(row->bytes_offline),
			 signed_of(row->bytes_staying), (int64_t)row->release);
	if (r == 0)
		r = insert_blocks(ledger, row, err);
	if (r == 0)
		r = write_pools(ledger, row, err);
	return r < 0 ? r : insert_moved(ledger, row, err);
}

int stow_drain_row_begin(struct stow_ledger *ledger, struct stow_drain_row *row,
			 struct stow_err *err)
{
	int r;

	r = stow_ledger_begin(ledger, err);
	if (r < 0)
		return r;
	r = check_alone(ledger, row->id, err);
	if (r == 0)
		r = stow_sql_run(ledger, err,
				 "DELETE FROM drain WHERE step >= ?1 AND id NOT IN (SELECT id FROM"
				 " drain WHERE step >= ?1 ORDER BY updated DESC LIMIT ?2)",
				 "ii", (int64_t)STOW_DRAIN_STEP_DONE, (int64_t)ENDS_KEPT);
	if (r == 0)
		r = insert(ledger, row, err);
	if (r == 0)
		r = stow_sql_run(ledger, err,
				 "INSERT OR REPLACE INTO fence SELECT 'drain:' || ?1, ?2 UNION ALL"
				 " SELECT 'no-execute:' || ?1, ?2 WHERE ?3",
				 "tii", row->id, (int64_t)row->node, (int64_t)row->force_taint);
	r = stow_ledger_end(ledger, r, err);
	if (r == 0)
		set_noted(row);
	return r;
}

static int update(struct stow_ledger *ledger, const struct stow_drain_row *row,
		  struct stow_err *err)
{
	int r;

	r = stow_sql_run(ledger, err,
			 "UPDATE drain SET step=?, worker_pid=?, worker_start=?, message=?,"
			 " updated=?, bytes_offline=?, bytes_staying=?, release=?, code=?"
			 " WHERE id=?",
			 "iiitiiiiit", (int64_t)row->step, (int64_t)row->worker.pid,
			 (int64_t)row->worker.start, text_of(row->message),
			 (int64_t)stow_clock_wall(), signed_of(row->bytes_offline),
			 signed_of(row->bytes_staying), (int64_t)row->release, (int64_t)row->code,
			 row->id);
	if (r == 0 && sqlite3_changes(ledger->db) == 0)
		r = stow_err_set(err, ENOENT, "drain %s is not in the ledger any more", row->id);
	if (r == 0)
		r = update_blocks(ledger, row, err);
	if (r == 0)
		r = write_pools(ledger, row, err);
	return r < 0 ? r : insert_moved(ledger, row, err);
}

int stow_drain_row_put_pages(struct stow_ledger *ledger, struct stow_drain_row *row,
			     const struct stow_drain_pages *pages, size_t n, struct stow_err *err)
{
	int r;

	r = stow_ledger_begin(ledger, err);
	if (r < 0)
		return r;
	r = update(ledger, row, err);
	for (size_t i = 0; i < n && r == 0; i++) {
		struct stow_ledger_pool pool;

		r = stow_ledger_pool_get(ledger, row->node, pages[i].size, &pool, err);
		if (r < 0)
			break;
		pool.added += pages[i].plus;
		pool.added -= pages[i].minus < pool.added ? pages[i].minus : pool.added;
		r = stow_ledger_pool_put(ledger, &pool, err);
	}
	r = stow_ledger_end(ledger, r, err);
	if (r == 0)
		set_noted(row);
	return r;
}

int stow_drain_row_adopt(struct stow_ledger *ledger, struct stow_drain_row *row,
			 const struct stow_pidref *self, struct stow_err *err)
{
	int r;

	r = stow_sql_run(ledger, err,
			 "UPDATE drain SET worker_pid=?, worker_start=? WHERE id=? AND"
			 " worker_pid=? AND worker_start=? AND updated=? AND step<?",
			 "iitiiii", (int64_t)self->pid, (int64_t)self->start, row->id,
			 (int64_t)row->worker.pid, (int64_t)row->worker.start,
			 (int64_t)row->updated, (int64_t)STOW_DRAIN_STEP_DONE);
	if (r == 0 && sqlite3_changes(ledger->db) == 0)
		r = stow_err_set(err, EBUSY, "drain %s has another worker already", row->id);
	if (r == 0)
		row->worker = *self;
	return r;
}

int stow_drain_row_end(struct stow_ledger *ledger, struct stow_drain_row *row, const char *event,
		       struct stow_err *err)
{
	int r;

	r = stow_ledger_begin(ledger, err);
	if (r < 0)
		return r;
	r = stow_sql_run(ledger, err,
			 "DELETE FROM fence WHERE owner IN ('drain:' || ?1, 'no-execute:' || ?1)",
			 "t", row->id);
	if (r == 0)
		r = row->ordered ? update(ledger, row, err)
				 : stow_sql_run(ledger, err, "DELETE FROM drain WHERE id = ?", "t",
						row->id);
	if (r == 0)
		r = stow_ledger_event(ledger, event, row->id, NULL, text_of(row->message), err);
	r = stow_ledger_end(ledger, r, err);
	if (r == 0)
		set_noted(row);
	return r;
}

/* --- for other programs --------------------------------------------------- */

int stow_drain_cancel(struct stow_ledger *ledger, const char *id,
		      char ret_id[STOW_DRAIN_ID_LEN + 1], struct stow_err *err)
{
	struct stow_drain_row *rows;
	const char *found = NULL;
	size_t n, matches = 0;
	int r;

	r = stow_drain_rows(ledger, &rows, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (!stow_drain_step_is_end(rows[i].step) &&
		    strncmp(rows[i].id, id, strlen(id)) == 0) {
			found = rows[i].id;
			matches++;
		}
	if (matches == 0)
		r = stow_err_set(err, ENOENT, "no drain%s%.64s is under way on this machine",
				 *id ? " " : "", id);
	else if (matches > 1)
		r = stow_err_set(err, ENOTUNIQ, "several drains begin with \"%.64s\"", id);
	if (r == 0)
		r = stow_sql_run(ledger, err, "UPDATE drain SET cancel = 1 WHERE id = ?", "t",
				 found);
	if (r == 0 && ret_id)
		snprintf(ret_id, STOW_DRAIN_ID_LEN + 1, "%s", found);
	stow_drain_rows_free(rows, n);
	return r;
}

int stow_drain_forget(struct stow_ledger *ledger, const char *id, struct stow_err *err)
{
	return stow_sql_run(ledger, err, "DELETE FROM drain WHERE id = ? AND step >= ?", "ti", id,
			    (int64_t)STOW_DRAIN_STEP_DONE);
}
