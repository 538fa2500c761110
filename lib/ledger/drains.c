// SPDX-License-Identifier: Apache-2.0
#include "ledger/drains.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "ledger/sql.h"

#define ENDS_KEPT 64 /* of ordered drains whose end no scheduler has heard of */

#define COLUMNS                                                                              \
	"id, step, worker_pid, worker_start, ordered, cancel, resume, node, device, blocks," \
	" gone, zones, pools, moved, spec, message, created, updated, bytes, bytes_offline, code"

static const char *const step_names[] = {
	[STOW_DRAIN_WAITING] = "waiting",     [STOW_DRAIN_PLANNED] = "planned",
	[STOW_DRAIN_FENCED] = "fenced",	      [STOW_DRAIN_MOVING] = "moving",
	[STOW_DRAIN_OFFLINING] = "offlining", [STOW_DRAIN_RETURNING] = "returning",
	[STOW_DRAIN_SAFE] = "safe",	      [STOW_DRAIN_REMOVED] = "removed",
	[STOW_DRAIN_UNDOING] = "undoing",     [STOW_DRAIN_DONE] = "done",
	[STOW_DRAIN_PARTIAL] = "partial",     [STOW_DRAIN_FAILED] = "failed",
	[STOW_DRAIN_CANCELLED] = "cancelled",
};

const char *stow_drain_step_name(enum stow_drain_step step)
{
	return step >= STOW_DRAIN_WAITING && step <= STOW_DRAIN_CANCELLED ? step_names[step]
									  : "unknown";
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static const char *text_of(const char *text)
{
	return text ? text : "";
}

/* --- reading ------------------------------------------------------------------------------------ */

static int read_row(sqlite3_stmt *stmt, struct stow_drain_row *row, struct stow_err *err)
{
	_cleanup_free_ char *id = stow_sql_text(stmt, 0);

	*row = (struct stow_drain_row){
		.step = (enum stow_drain_step)sqlite3_column_int(stmt, 1),
		.worker = { .pid = (pid_t)sqlite3_column_int(stmt, 2),
			    .start = (uint64_t)sqlite3_column_int64(stmt, 3) },
		.ordered = sqlite3_column_int(stmt, 4) != 0,
		.cancel = sqlite3_column_int(stmt, 5) != 0,
		.resume = sqlite3_column_int(stmt, 6) != 0,
		.node = sqlite3_column_int(stmt, 7),
		.device = stow_sql_text(stmt, 8),
		.blocks = stow_sql_text(stmt, 9),
		.gone = stow_sql_text(stmt, 10),
		.zones = stow_sql_text(stmt, 11),
		.pools = stow_sql_text(stmt, 12),
		.moved = stow_sql_text(stmt, 13),
		.spec = stow_sql_text(stmt, 14),
		.message = stow_sql_text(stmt, 15),
		.created = (uint64_t)sqlite3_column_int64(stmt, 16),
		.updated = (uint64_t)sqlite3_column_int64(stmt, 17),
		.bytes = (uint64_t)sqlite3_column_int64(stmt, 18),
		.bytes_offline = (uint64_t)sqlite3_column_int64(stmt, 19),
		.code = sqlite3_column_int(stmt, 20),
	};
	if (!id || !row->device || !row->blocks || !row->gone || !row->zones || !row->pools ||
	    !row->moved || !row->spec || !row->message)
		return stow_err_set(err, ENOMEM, "out of memory");
	snprintf(row->id, sizeof(row->id), "%s", id);
	return 0;
}

void stow_drain_row_done(struct stow_drain_row *row)
{
	free(row->device);
	free(row->blocks);
	free(row->gone);
	free(row->zones);
	free(row->pools);
	free(row->moved);
	free(row->spec);
	free(row->message);
	*row = (struct stow_drain_row){ 0 };
}

void stow_drain_rows_free(struct stow_drain_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		stow_drain_row_done(&rows[i]);
	free(rows);
}

int stow_drain_rows(struct stow_ledger *ledger, struct stow_drain_row **ret, size_t *ret_n,
		    struct stow_err *err)
{
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	struct stow_drain_row *rows = NULL;
	size_t n = 0;
	int r;

	r = stow_sql_turn(ledger, &turn, err);
	if (r == 0)
		r = stow_sql_prepare(ledger, &stmt, err,
				     "SELECT " COLUMNS " FROM drain ORDER BY created, id", "");
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		struct stow_drain_row *grown = reallocarray(rows, n + 1, sizeof(*grown));

		r = grown ? read_row(stmt, &grown[n], err)
			  : stow_err_set(err, ENOMEM, "out of memory");
		if (grown) {
			rows = grown;
			n++;
		}
	}
	if (r < 0) {
		stow_drain_rows_free(rows, n);
		return r;
	}
	*ret = rows;
	*ret_n = n;
	return 0;
}

bool stow_drain_row_cancelled(struct stow_ledger *ledger, const char *id)
{
	int64_t cancel;

	/* Without a row the answer is 0 rows: count those that may go on. */
	return stow_sql_number(ledger, &cancel, NULL,
			       "SELECT count(*) FROM drain WHERE id = ? AND cancel = 0", "t",
			       id) == 0 &&
	       cancel == 0;
}

/* --- writing ------------------------------------------------------------------------------------ */

static void fence_owner(const char *id, char *buf, size_t size)
{
	snprintf(buf, size, "drain:%s", id);
}

static int check_alone(struct stow_ledger *ledger, const char *id, struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = stow_sql_prepare(ledger, &stmt, err,
			     "SELECT id, worker_pid FROM drain WHERE id = ?1 OR step < ?2", "ti",
			     id, (int64_t)STOW_DRAIN_DONE);
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

static int insert(struct stow_ledger *ledger, const struct stow_drain_row *row,
		  struct stow_err *err)
{
	int64_t now = (int64_t)now_ns();

	return stow_sql_run(ledger, err,
			    "INSERT INTO drain(" COLUMNS ")"
			    " VALUES(?,?,?,?,?,0,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0)",
			    "tiiiiiitttttttt"
			    "iiii",
			    row->id, (int64_t)row->step, (int64_t)row->worker.pid,
			    (int64_t)row->worker.start, (int64_t)row->ordered, (int64_t)row->resume,
			    (int64_t)row->node, text_of(row->device), text_of(row->blocks),
			    text_of(row->gone), text_of(row->zones), text_of(row->pools),
			    text_of(row->moved), text_of(row->spec), text_of(row->message), now,
			    now, (int64_t)row->bytes, (int64_t)row->bytes_offline);
}

int stow_drain_row_begin(struct stow_ledger *ledger, const struct stow_drain_row *row,
			 struct stow_err *err)
{
	char owner[64];
	int r;

	fence_owner(row->id, owner, sizeof(owner));
	r = stow_ledger_begin(ledger, err);
	if (r < 0)
		return r;
	r = check_alone(ledger, row->id, err);
	if (r == 0)
		r = stow_sql_run(ledger, err,
				 "DELETE FROM drain WHERE step >= ?1 AND id NOT IN (SELECT id FROM"
				 " drain WHERE step >= ?1 ORDER BY updated DESC LIMIT ?2)",
				 "ii", (int64_t)STOW_DRAIN_DONE, (int64_t)ENDS_KEPT);
	if (r == 0)
		r = insert(ledger, row, err);
	if (r == 0)
		r = stow_sql_run(ledger, err, "INSERT OR REPLACE INTO fence VALUES(?, ?)", "ti",
				 owner, (int64_t)row->node);
	return stow_ledger_end(ledger, r, err);
}

static int update(struct stow_ledger *ledger, const struct stow_drain_row *row,
		  struct stow_err *err)
{
	int r;

	r = stow_sql_run(ledger, err,
			 "UPDATE drain SET step=?, worker_pid=?, worker_start=?, gone=?, pools=?,"
			 " moved=?, message=?, updated=?, bytes_offline=?, code=? WHERE id=?",
			 "iiittttiiit", (int64_t)row->step, (int64_t)row->worker.pid,
			 (int64_t)row->worker.start, text_of(row->gone), text_of(row->pools),
			 text_of(row->moved), text_of(row->message), (int64_t)now_ns(),
			 (int64_t)row->bytes_offline, (int64_t)row->code, row->id);
	if (r == 0 && sqlite3_changes(ledger->db) == 0)
		r = stow_err_set(err, ENOENT, "drain %s is not in the ledger any more", row->id);
	return r;
}

int stow_drain_row_put(struct stow_ledger *ledger, const struct stow_drain_row *row,
		       struct stow_err *err)
{
	return stow_drain_row_put_pages(ledger, row, NULL, 0, err);
}

int stow_drain_row_put_pages(struct stow_ledger *ledger, const struct stow_drain_row *row,
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
	return stow_ledger_end(ledger, r, err);
}

int stow_drain_row_adopt(struct stow_ledger *ledger, struct stow_drain_row *row,
			 const struct stow_life *self, struct stow_err *err)
{
	int r;

	r = stow_ledger_begin(ledger, err);
	if (r < 0)
		return r;
	r = stow_sql_run(ledger, err,
			 "UPDATE drain SET worker_pid=?, worker_start=? WHERE id=? AND"
			 " worker_pid=? AND worker_start=? AND updated=? AND step<?",
			 "iitiiii", (int64_t)self->pid, (int64_t)self->start, row->id,
			 (int64_t)row->worker.pid, (int64_t)row->worker.start,
			 (int64_t)row->updated, (int64_t)STOW_DRAIN_DONE);
	if (r == 0 && sqlite3_changes(ledger->db) == 0)
		r = stow_err_set(err, EBUSY, "drain %s has another worker already", row->id);
	r = stow_ledger_end(ledger, r, err);
	if (r == 0)
		row->worker = *self;
	return r;
}

int stow_drain_row_end(struct stow_ledger *ledger, const struct stow_drain_row *row,
		       const char *event, struct stow_err *err)
{
	char owner[64];
	int r;

	fence_owner(row->id, owner, sizeof(owner));
	r = stow_ledger_begin(ledger, err);
	if (r < 0)
		return r;
	r = stow_sql_run(ledger, err, "DELETE FROM fence WHERE owner = ?", "t", owner);
	if (r == 0)
		r = row->ordered ? update(ledger, row, err)
				 : stow_sql_run(ledger, err, "DELETE FROM drain WHERE id = ?", "t",
						row->id);
	if (r == 0)
		r = stow_ledger_event(ledger, event, row->id, NULL, text_of(row->message), err);
	return stow_ledger_end(ledger, r, err);
}

/* --- from others -------------------------------------------------------------------------------- */

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
		r = stow_ledger_begin(ledger, err);
	if (r == 0) {
		r = stow_sql_run(ledger, err, "UPDATE drain SET cancel = 1 WHERE id = ?", "t",
				 found);
		r = stow_ledger_end(ledger, r, err);
	}
	if (r == 0 && ret_id)
		snprintf(ret_id, STOW_DRAIN_ID_LEN + 1, "%s", found);
	stow_drain_rows_free(rows, n);
	return r;
}

int stow_drain_forget(struct stow_ledger *ledger, const char *id, struct stow_err *err)
{
	int r;

	r = stow_ledger_begin(ledger, err);
	if (r < 0)
		return r;
	r = stow_sql_run(ledger, err, "DELETE FROM drain WHERE id = ? AND step >= ?", "ti", id,
			 (int64_t)STOW_DRAIN_DONE);
	return stow_ledger_end(ledger, r, err);
}
