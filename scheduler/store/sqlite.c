// SPDX-License-Identifier: Apache-2.0
/* The engine for a directory of this machine: SQLite in WAL mode, and a lock for the leader. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "scheduler/store/engine.h"

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS reservation(id INTEGER PRIMARY KEY, message BLOB NOT NULL,"
	" request TEXT);"
	"CREATE TABLE IF NOT EXISTS fence(machine TEXT PRIMARY KEY, numa TEXT NOT NULL);"
	"CREATE TABLE IF NOT EXISTS answer(request TEXT PRIMARY KEY, digest INTEGER,"
	" expires INTEGER, response BLOB NOT NULL) WITHOUT ROWID;"
	/* Since version 2. */
	"CREATE TABLE IF NOT EXISTS drain(id INTEGER PRIMARY KEY, request TEXT, flags INTEGER,"
	" message BLOB NOT NULL);"
	"CREATE TABLE IF NOT EXISTS webhook(seq INTEGER PRIMARY KEY, drain INTEGER, event TEXT,"
	" url TEXT, body BLOB NOT NULL, created INTEGER, next INTEGER, attempts INTEGER);"
	/* The epoch, the last probe, and whether a copy to it has not ended. The version stays 2,
	 * because older programs of version 2 ignore this table. */
	"CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;"
	"PRAGMA user_version=2;";

enum { STORE_VERSION = 2 };

/* How long to wait for another program that locks the database, for example a backup. */
#define LOCKED_MS 1000

/* Statements besides those of the writes. */
enum { FORGET = STOW_WRITE_KINDS, BEGIN, COMMIT, ROLLBACK, SAVE, RELEASE, BACK, STATEMENTS };

static const char *const statements[STATEMENTS] = {
	[STOW_WRITE_RESERVATION] = "INSERT OR REPLACE INTO reservation VALUES(?1, ?4, ?3)",
	[STOW_WRITE_NO_RESERVATION] = "DELETE FROM reservation WHERE id = ?1",
	[STOW_WRITE_FENCE] = "INSERT OR REPLACE INTO fence VALUES(?3, ?4)",
	[STOW_WRITE_NO_FENCE] = "DELETE FROM fence WHERE machine = ?3",
	[STOW_WRITE_ANSWER] = "INSERT OR REPLACE INTO answer VALUES(?3, ?1, ?2, ?4)",
	[STOW_WRITE_NO_ANSWER] = "DELETE FROM answer WHERE request = ?3",
	[FORGET] = "DELETE FROM answer WHERE expires < ?2",
	[STOW_WRITE_DRAIN] = "INSERT OR REPLACE INTO drain VALUES(?1, ?3, ?2, ?4)",
	[STOW_WRITE_NO_DRAIN] = "DELETE FROM drain WHERE id = ?1",
	[STOW_WRITE_WEBHOOK] =
		"INSERT OR REPLACE INTO webhook VALUES(?1, ?2, ?3, ?6, ?4, ?5, ?5, 0)",
	[STOW_WRITE_WEBHOOK_LATER] = "UPDATE webhook SET next = ?2, attempts = ?5 WHERE seq = ?1",
	[STOW_WRITE_NO_WEBHOOK] = "DELETE FROM webhook WHERE seq = ?1",
	[STOW_WRITE_NO_WEBHOOK_OF] = "DELETE FROM webhook WHERE drain = ?1 AND event = ?3",
	[STOW_WRITE_COPYING] = "INSERT OR REPLACE INTO meta VALUES('copying', 1)",
	[STOW_WRITE_NO_COPYING] = "DELETE FROM meta WHERE name = 'copying'",
	[STOW_WRITE_PROBE] = "INSERT OR REPLACE INTO meta VALUES('probe', ?2)",
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[SAVE] = "SAVEPOINT one",
	[RELEASE] = "RELEASE one",
	[BACK] = "ROLLBACK TO one",
};

struct sqlite {
	char *dir;
	bool power_loss;
	int lock;
	sqlite3 *db;
	sqlite3_stmt *stmt[STATEMENTS];
};

/* --- writing -------------------------------------------------------------- */

static int fail(struct sqlite *store, struct stow_err *err, const char *what)
{
	return stow_err_set(err, sqlite3_errcode(store->db) == SQLITE_BUSY ? EAGAIN : EIO,
			    "the store: %s: %s", what, sqlite3_errmsg(store->db));
}

/* Check that the file is still the one of its name: what is written to a file that was deleted or
 * moved would be lost with the next start. */
static int check_place(struct sqlite *store, struct stow_err *err)
{
	int moved = 0;

	if (sqlite3_file_control(store->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK ||
	    !moved)
		return 0;
	return stow_err_set(err, EIO,
			    "the store: %s/scheduler.db was moved or deleted; put it back, or "
			    "restart the scheduler",
			    store->dir);
}

static int run_plain(struct sqlite *store, int which, struct stow_err *err, const char *what)
{
	int code = sqlite3_step(store->stmt[which]), r = 0;

	if (code != SQLITE_DONE)
		r = fail(store, err, what);
	sqlite3_reset(store->stmt[which]);
	return r;
}

static int run_write(struct sqlite *store, const struct stow_write *w, struct stow_err *err)
{
	sqlite3_stmt *stmt = store->stmt[w->kind];
	int code, r = 0;

	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)w->a);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)w->b);
	sqlite3_bind_text(stmt, 3, w->text, -1, SQLITE_STATIC);
	sqlite3_bind_blob64(stmt, 4, w->bytes, w->len, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 5, (sqlite3_int64)w->c);
	sqlite3_bind_text(stmt, 6, w->more, -1, SQLITE_STATIC);
	code = sqlite3_step(stmt);
	if (code != SQLITE_DONE)
		r = fail(store, err, "writing");
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return r;
}

static int write_rows(struct sqlite *store, const struct stow_writes *writes, uint64_t *n,
		      struct stow_err *err)
{
	int r = 0;

	for (const struct stow_write *w = writes->first; w && r == 0; w = w->next) {
		r = run_write(store, w, err);
		++*n;
	}
	return r;
}

static void roll_back(struct sqlite *store)
{
	/* Some errors, for example a full disk, have rolled back already. */
	if (!sqlite3_get_autocommit(store->db))
		(void)run_plain(store, ROLLBACK, NULL, "undoing");
}

/* Write all lists in one transaction, in which a failed list is rolled back alone. -errno:
 * nothing is written. */
static int write_together(struct sqlite *store, struct stow_writes *batch, uint64_t *ret_n,
			  struct stow_err *err)
{
	uint64_t n = 0;
	int r = check_place(store, err);

	if (r == 0)
		r = run_plain(store, BEGIN, err, "beginning");

	for (struct stow_writes *w = batch; w && r == 0; w = w->next) {
		uint64_t rows = 0;

		r = run_plain(store, SAVE, err, "beginning");
		if (r == 0 && write_rows(store, w, &rows, &w->err) < 0) {
			rows = 0;
			r = sqlite3_get_autocommit(store->db)
				    ? stow_err_set(err, w->err.code, "%s", w->err.msg)
				    : run_plain(store, BACK, err, "undoing");
		}
		if (r == 0)
			r = run_plain(store, RELEASE, err, "writing");
		n += rows;
	}
	if (r == 0)
		r = run_plain(store, COMMIT, err, "committing");
	if (r < 0)
		roll_back(store);
	*ret_n = r < 0 ? 0 : n;
	return r;
}

static void write_batch(void *engine, struct stow_writes *batch, struct stow_engine_count *count)
{
	struct sqlite *store = engine;
	struct stow_err err;
	uint64_t n;

	if (write_together(store, batch, &n, &err) == 0) {
		count->commits++;
		count->writes += n;
		return;
	}
	/* One by one, so that valid lists are written; but a lock is waited for once. */
	for (struct stow_writes *w = batch; w; w = w->next) {
		struct stow_writes *next = w->next;
		int r = err.code == EAGAIN ? -EAGAIN : 0;

		w->err = (struct stow_err){ 0 };
		w->next = NULL;
		n = 0;
		if (r == 0)
			r = write_together(store, w, &n, &err);
		w->next = next;
		if (r < 0 && !w->err.code)
			w->err = err;
		count->commits += w->err.code == 0;
		count->writes += n;
	}
}

static void forget(void *engine, uint64_t time)
{
	struct sqlite *store = engine;

	sqlite3_bind_int64(store->stmt[FORGET], 2, (sqlite3_int64)time);
	(void)run_plain(store, FORGET, NULL, "forgetting");
}

/* --- reading -------------------------------------------------------------- */

static int each(struct sqlite *store, const char *sql, const struct stow_store_load *load,
		int (*row)(sqlite3_stmt *stmt, const struct stow_store_load *load,
			   struct stow_err *err),
		struct stow_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int code, r = 0;

	if (sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return fail(store, err, "reading");
	while (r == 0 && (code = sqlite3_step(stmt)) != SQLITE_DONE)
		r = code == SQLITE_ROW ? row(stmt, load, err) : fail(store, err, "reading");
	sqlite3_finalize(stmt);
	return r;
}

static const char *text_of(sqlite3_stmt *stmt, int column)
{
	const unsigned char *text = sqlite3_column_text(stmt, column);

	return text ? (const char *)text : "";
}

static int reservation_row(sqlite3_stmt *stmt, const struct stow_store_load *load,
			   struct stow_err *err)
{
	return load->reservation(load->ctx, (uint64_t)sqlite3_column_int64(stmt, 0),
				 sqlite3_column_blob(stmt, 1),
				 (size_t)sqlite3_column_bytes(stmt, 1), text_of(stmt, 2), err);
}

static int fence_row(sqlite3_stmt *stmt, const struct stow_store_load *load, struct stow_err *err)
{
	struct stow_idset set;
	int r = stow_idset_parse(text_of(stmt, 1), &set, err);

	return r < 0 ? r : load->fence(load->ctx, text_of(stmt, 0), &set, err);
}

static int answer_row(sqlite3_stmt *stmt, const struct stow_store_load *load, struct stow_err *err)
{
	return load->answer(load->ctx, text_of(stmt, 0), (uint64_t)sqlite3_column_int64(stmt, 1),
			    (uint64_t)sqlite3_column_int64(stmt, 2), sqlite3_column_blob(stmt, 3),
			    (size_t)sqlite3_column_bytes(stmt, 3), err);
}

static int drain_row(sqlite3_stmt *stmt, const struct stow_store_load *load, struct stow_err *err)
{
	return load->drain(load->ctx, (uint64_t)sqlite3_column_int64(stmt, 0),
			   (uint64_t)sqlite3_column_int64(stmt, 1), sqlite3_column_blob(stmt, 2),
			   (size_t)sqlite3_column_bytes(stmt, 2), text_of(stmt, 3), err);
}

static int webhook_row(sqlite3_stmt *stmt, const struct stow_store_load *load, struct stow_err *err)
{
	struct stow_store_webhook webhook = {
		.seq = (uint64_t)sqlite3_column_int64(stmt, 0),
		.drain = (uint64_t)sqlite3_column_int64(stmt, 1),
		.event = text_of(stmt, 2),
		.url = text_of(stmt, 3),
		.body = sqlite3_column_blob(stmt, 4),
		.len = (size_t)sqlite3_column_bytes(stmt, 4),
		.created = (uint64_t)sqlite3_column_int64(stmt, 5),
		.next = (uint64_t)sqlite3_column_int64(stmt, 6),
		.attempts = (uint64_t)sqlite3_column_int64(stmt, 7),
	};

	return load->webhook(load->ctx, &webhook, err);
}

/* A store of a newer version may have data that this program would drop. */
static int check_version(struct sqlite *store, const char *path, struct stow_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int version, code;

	if (sqlite3_prepare_v2(store->db, "PRAGMA user_version", -1, &stmt, NULL) != SQLITE_OK)
		return fail(store, err, "opening");
	code = sqlite3_step(stmt);
	version = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	if (code != SQLITE_ROW)
		return fail(store, err, "opening");
	if (version < 0 || version > STORE_VERSION)
		return stow_err_set(err, EPROTO,
				    "the store: %s is of version %d, from another numastow; this "
				    "one reads up to %d",
				    path, version, STORE_VERSION);
	return 0;
}

static int prepare(struct sqlite *store, bool power_loss, struct stow_err *err)
{
	/* In WAL mode a commit is in the page cache, which survives the process; FULL also waits
	 * for the disk. The log has 16 MB when it is written from its beginning again; what it got
	 * beyond the limit, while another program read for long, is then cut off. */
	if (sqlite3_exec(store->db,
			 "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=4000;"
			 "PRAGMA journal_size_limit=33554432",
			 NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(store->db,
			 power_loss ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF", NULL,
			 NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(store->db, schema, NULL, NULL, NULL) != SQLITE_OK)
		return fail(store, err, "opening");
	for (size_t i = 0; i < STATEMENTS; i++)
		if (sqlite3_prepare_v2(store->db, statements[i], -1, &store->stmt[i], NULL) !=
		    SQLITE_OK)
			return fail(store, err, "preparing");
	return 0;
}

/* Read a value of the table meta; 0: there is none. */
static int read_meta(struct sqlite *store, const char *name, uint64_t *ret, struct stow_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int code;

	if (sqlite3_prepare_v2(store->db, "SELECT value FROM meta WHERE name = ?1", -1, &stmt,
			       NULL) != SQLITE_OK)
		return fail(store, err, "reading");
	sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
	code = sqlite3_step(stmt);
	*ret = code == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
	sqlite3_finalize(stmt);
	return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : fail(store, err, "reading");
}

/* Compute an epoch that is higher than the last one, and than that of a store that was moved
 * away. */
static int next_epoch(struct sqlite *store, uint64_t *ret_epoch, struct stow_err *err)
{
	uint64_t epoch = stow_clock_wall() / STOW_STORE_TICK, last;
	int code, r = read_meta(store, "epoch", &last, err);
	sqlite3_stmt *stmt = NULL;

	if (r < 0)
		return r;
	if (epoch <= last)
		epoch = last + 1;
	if (sqlite3_prepare_v2(store->db, "INSERT OR REPLACE INTO meta VALUES('epoch', ?1)", -1,
			       &stmt, NULL) != SQLITE_OK)
		return fail(store, err, "writing");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)epoch);
	code = sqlite3_step(stmt);
	sqlite3_finalize(stmt);
	*ret_epoch = epoch;
	return code == SQLITE_DONE ? 0 : fail(store, err, "writing");
}

static int read_all(struct sqlite *store, const struct stow_store_load *load, struct stow_err *err)
{
	static const struct {
		const char *sql;
		int (*row)(sqlite3_stmt *stmt, const struct stow_store_load *load,
			   struct stow_err *err);
	} tables[] = {
		{ "SELECT id, message, request FROM reservation", reservation_row },
		{ "SELECT machine, numa FROM fence", fence_row },
		{ "SELECT request, digest, expires, response FROM answer", answer_row },
		{ "SELECT id, flags, message, request FROM drain", drain_row },
		{ "SELECT seq, drain, event, url, body, created, next, attempts "
		  "FROM webhook ORDER BY seq",
		  webhook_row },
	};
	int r = 0;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(tables) && r == 0; i++)
		r = each(store, tables[i].sql, load, tables[i].row, err);
	return r;
}

/* Have the answers expire as the loading program sees them: the clock may have been set since they
 * were written, or be wrong now. */
static int bound_answers(struct sqlite *store, const struct stow_store_load *load,
			 struct stow_err *err)
{
	static const char sql[] = "UPDATE answer SET expires = MIN(MAX(expires, ?1), ?2)"
				  " WHERE expires NOT BETWEEN ?1 AND ?2";
	uint64_t now = stow_clock_wall();
	sqlite3_stmt *stmt = NULL;
	int code;

	if (!load->answers_most)
		return 0;
	if (sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return fail(store, err, "preparing");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)(now + load->answers_least));
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)(now + load->answers_most));
	code = sqlite3_step(stmt);
	sqlite3_finalize(stmt);
	return code == SQLITE_DONE ? 0 : fail(store, err, "writing");
}

static int load(void *engine, const struct stow_store_load *load, uint64_t *ret_epoch,
		struct stow_err *err)
{
	struct sqlite *store = engine;
	uint64_t copying = 0;
	char path[4200];
	int r = 0;

	snprintf(path, sizeof(path), "%s/scheduler.db", store->dir);
	if (sqlite3_open_v2(path, &store->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		return stow_err_set(err, EIO, "cannot open %s: %s", path,
				    store->db ? sqlite3_errmsg(store->db) : "out of memory");
	sqlite3_busy_timeout(store->db, LOCKED_MS);
	r = check_version(store, path, err);
	if (r == 0)
		r = prepare(store, store->power_loss, err);
	if (r == 0)
		r = read_meta(store, "copying", &copying, err);
	if (r == 0 && copying)
		r = stow_store_refuse_copying(load, err);
	if (r == 0)
		r = bound_answers(store, load, err);
	if (r == 0)
		r = read_all(store, load, err);
	return r < 0 ? r : next_epoch(store, ret_epoch, err);
}

/* --- leading -------------------------------------------------------------- */

/* The kernel releases the lock when its holder exits. */
static int lead(void *engine, struct stow_err *err)
{
	struct sqlite *store = engine;
	char path[4200];

	if (store->lock < 0) {
		if (mkdir(store->dir, 0750) < 0 && errno != EEXIST)
			return stow_err_sys(err, errno, "cannot make %s", store->dir);
		snprintf(path, sizeof(path), "%s/scheduler.lock", store->dir);
		store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
		if (store->lock < 0)
			return stow_err_sys(err, errno, "cannot open %s", path);
	}
	if (flock(store->lock, LOCK_EX | LOCK_NB) == 0)
		return 1;
	return errno == EWOULDBLOCK || errno == EINTR
		       ? 0
		       : stow_err_sys(err, errno, "cannot lock %s/scheduler.lock", store->dir);
}

static int check(const char *dir, const struct stow_store_options *options, struct stow_err *err)
{
	return dir[0] ? 0 : stow_err_set(err, EINVAL, "sqlite: no directory; expected sqlite:DIR");
}

static int make(const char *dir, const struct stow_store_options *options, void **ret_engine,
		struct stow_err *err)
{
	struct sqlite *store = calloc(1, sizeof(*store));

	if (store)
		store->dir = strdup(dir);
	if (!store || !store->dir) {
		free(store);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	store->lock = -EBADF;
	store->power_loss = options->power_loss;
	*ret_engine = store;
	return 0;
}

static void sqlite_free(void *engine)
{
	struct sqlite *store = engine;

	for (size_t i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(store->stmt[i]);
	sqlite3_close(store->db);
	if (store->lock >= 0)
		close(store->lock);
	free(store->dir);
	free(store);
}

const struct stow_engine_ops stow_engine_sqlite = {
	.check = check,
	.make = make,
	.lead = lead,
	.load = load,
	.write = write_batch,
	.forget = forget,
	.free = sqlite_free,
};
