// SPDX-License-Identifier: Apache-2.0
#include "scheduler/store.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

#define FORGET_EVERY 60 /* s between deletions of answers that have run out */

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
	"PRAGMA user_version=2;";

enum { STORE_VERSION = 2 };

enum kind {
	RESERVATION,
	NO_RESERVATION,
	FENCE,
	NO_FENCE,
	ANSWER,
	NO_ANSWER,
	FORGET,
	DRAIN,
	NO_DRAIN,
	WEBHOOK,
	WEBHOOK_LATER,
	NO_WEBHOOK,
	NO_WEBHOOK_OF,
	KINDS
};

static const char *const statements[KINDS] = {
	[RESERVATION] = "INSERT OR REPLACE INTO reservation VALUES(?1, ?4, ?3)",
	[NO_RESERVATION] = "DELETE FROM reservation WHERE id = ?1",
	[FENCE] = "INSERT OR REPLACE INTO fence VALUES(?3, ?4)",
	[NO_FENCE] = "DELETE FROM fence WHERE machine = ?3",
	[ANSWER] = "INSERT OR REPLACE INTO answer VALUES(?3, ?1, ?2, ?4)",
	[NO_ANSWER] = "DELETE FROM answer WHERE request = ?3",
	[FORGET] = "DELETE FROM answer WHERE expires < ?2",
	[DRAIN] = "INSERT OR REPLACE INTO drain VALUES(?1, ?3, ?2, ?4)",
	[NO_DRAIN] = "DELETE FROM drain WHERE id = ?1",
	[WEBHOOK] = "INSERT OR REPLACE INTO webhook VALUES(?1, ?2, ?3, ?6, ?4, ?5, ?5, 0)",
	[WEBHOOK_LATER] = "UPDATE webhook SET next = ?2, attempts = ?5 WHERE seq = ?1",
	[NO_WEBHOOK] = "DELETE FROM webhook WHERE seq = ?1",
	[NO_WEBHOOK_OF] = "DELETE FROM webhook WHERE drain = ?1 AND event = ?3",
};

/* One row: numbers, texts, bytes, as its statement wants them. */
struct write {
	struct write *next;
	enum kind kind;
	uint64_t a, b, c;
	char *text, *more;
	void *bytes;
	size_t len;
};

struct stow_writes {
	struct stow_writes *next;
	struct write *first, **last;
	void (*done)(void *ctx, const struct stow_err *err);
	void *ctx;
};

struct stow_store {
	sqlite3 *db;
	sqlite3_stmt *stmt[KINDS];
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t queued;
	struct stow_writes *first, **last;
	bool closing;
	uint64_t commits, writes;
};

/* --- writes ------------------------------------------------------------------------------------- */

struct stow_writes *stow_writes_new(void)
{
	struct stow_writes *writes = calloc(1, sizeof(*writes));

	if (writes)
		writes->last = &writes->first;
	return writes;
}

void stow_writes_free(struct stow_writes *writes)
{
	if (!writes)
		return;
	while (writes->first) {
		struct write *w = writes->first;

		writes->first = w->next;
		free(w->text);
		free(w->more);
		free(w->bytes);
		free(w);
	}
	free(writes);
}

static int add(struct stow_writes *writes, enum kind kind, uint64_t a, uint64_t b, const char *text,
	       const void *bytes, size_t len)
{
	struct write *w = writes ? calloc(1, sizeof(*w)) : NULL;

	if (!w)
		return -ENOMEM;
	w->kind = kind;
	w->a = a;
	w->b = b;
	w->len = len;
	w->text = text ? strdup(text) : NULL;
	w->bytes = bytes ? malloc(len + 1) : NULL;
	if ((text && !w->text) || (bytes && !w->bytes)) {
		free(w->text);
		free(w->bytes);
		free(w);
		return -ENOMEM;
	}
	if (bytes)
		memcpy(w->bytes, bytes, len);
	*writes->last = w;
	writes->last = &w->next;
	return 0;
}

int stow_writes_reservation(struct stow_writes *writes, uint64_t id, const void *message,
			    size_t len, const char *request_id)
{
	return add(writes, RESERVATION, id, 0, request_id ? request_id : "", message, len);
}

int stow_writes_no_reservation(struct stow_writes *writes, uint64_t id)
{
	return add(writes, NO_RESERVATION, id, 0, NULL, NULL, 0);
}

int stow_writes_fence(struct stow_writes *writes, const char *machine,
		      const struct stow_idset *numa)
{
	char text[STOW_IDSET_MAX];

	stow_idset_format(numa, text, sizeof(text));
	return add(writes, stow_idset_empty(numa) ? NO_FENCE : FENCE, 0, 0, machine, text,
		   strlen(text));
}

int stow_writes_answer(struct stow_writes *writes, const char *request_id, uint64_t digest,
		       uint64_t expires, const void *response, size_t len)
{
	return add(writes, ANSWER, digest, expires, request_id, response, len);
}

int stow_writes_no_answer(struct stow_writes *writes, const char *request_id)
{
	return add(writes, NO_ANSWER, 0, 0, request_id, NULL, 0);
}

int stow_writes_drain(struct stow_writes *writes, uint64_t id, uint64_t flags, const void *message,
		      size_t len, const char *request_id)
{
	return add(writes, DRAIN, id, flags, request_id ? request_id : "", message, len);
}

int stow_writes_no_drain(struct stow_writes *writes, uint64_t id)
{
	return add(writes, NO_DRAIN, id, 0, NULL, NULL, 0);
}

/* What add() has just put at the end. */
static struct write *newest(struct stow_writes *writes)
{
	return (struct write *)(void *)((char *)writes->last - offsetof(struct write, next));
}

int stow_writes_webhook(struct stow_writes *writes, const struct stow_store_webhook *webhook)
{
	int r = add(writes, WEBHOOK, webhook->seq, webhook->drain, webhook->event, webhook->body,
		    webhook->len);

	if (r < 0)
		return r;
	newest(writes)->c = webhook->created;
	newest(writes)->more = strdup(webhook->url);
	return newest(writes)->more ? 0 : -ENOMEM;
}

int stow_writes_webhook_later(struct stow_writes *writes, uint64_t seq, uint64_t next,
			      uint64_t attempts)
{
	int r = add(writes, WEBHOOK_LATER, seq, next, NULL, NULL, 0);

	if (r == 0)
		newest(writes)->c = attempts;
	return r;
}

int stow_writes_no_webhook(struct stow_writes *writes, uint64_t seq)
{
	return add(writes, NO_WEBHOOK, seq, 0, NULL, NULL, 0);
}

int stow_writes_no_webhook_of(struct stow_writes *writes, uint64_t drain, const char *event)
{
	return add(writes, NO_WEBHOOK_OF, drain, 0, event, NULL, 0);
}

/* --- the thread --------------------------------------------------------------------------------- */

static int fail(struct stow_store *store, struct stow_err *err, const char *what)
{
	return stow_err_set(err, EIO, "the store: %s: %s", what, sqlite3_errmsg(store->db));
}

static int run_write(struct stow_store *store, const struct write *w, struct stow_err *err)
{
	sqlite3_stmt *stmt = store->stmt[w->kind];
	int code;

	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)w->a);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)w->b);
	sqlite3_bind_text(stmt, 3, w->text, -1, SQLITE_STATIC);
	sqlite3_bind_blob64(stmt, 4, w->bytes, w->len, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 5, (sqlite3_int64)w->c);
	sqlite3_bind_text(stmt, 6, w->more, -1, SQLITE_STATIC);
	code = sqlite3_step(stmt);
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return code == SQLITE_DONE ? 0 : fail(store, err, "writing");
}

static int write_all(struct stow_store *store, const struct stow_writes *batch, uint64_t *ret_n,
		     struct stow_err *err)
{
	int r = 0;

	if (sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
		return fail(store, err, "beginning");
	for (const struct stow_writes *w = batch; w && r == 0; w = w->next)
		for (const struct write *row = w->first; row && r == 0; row = row->next) {
			r = run_write(store, row, err);
			++*ret_n;
		}
	if (r == 0 && sqlite3_exec(store->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		r = fail(store, err, "committing");
	if (r < 0)
		(void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

static struct stow_writes *take_batch(struct stow_store *store)
{
	struct stow_writes *batch;

	pthread_mutex_lock(&store->lock);
	while (!store->first && !store->closing)
		pthread_cond_wait(&store->queued, &store->lock);
	batch = store->first;
	store->first = NULL;
	store->last = &store->first;
	pthread_mutex_unlock(&store->lock);
	return batch;
}

static void *run(void *arg)
{
	struct stow_store *store = arg;
	struct stow_writes *batch;
	time_t forgot = 0;

	while ((batch = take_batch(store))) {
		struct stow_err err = { 0 };
		uint64_t n = 0;
		int r = write_all(store, batch, &n, &err);

		pthread_mutex_lock(&store->lock);
		store->commits += r == 0;
		store->writes += r == 0 ? n : 0;
		pthread_mutex_unlock(&store->lock);
		while (batch) {
			struct stow_writes *w = batch;

			batch = w->next;
			if (w->done)
				w->done(w->ctx, r < 0 ? &err : NULL);
			stow_writes_free(w);
		}
		if (time(NULL) >= forgot + FORGET_EVERY) {
			struct write w = { .kind = FORGET };

			forgot = time(NULL);
			w.b = (uint64_t)forgot * UINT64_C(1000000000);
			(void)run_write(store, &w, NULL);
		}
	}
	return NULL;
}

void stow_store_commit(struct stow_store *store, struct stow_writes *writes,
		       void (*done)(void *ctx, const struct stow_err *err), void *ctx)
{
	writes->done = done;
	writes->ctx = ctx;
	writes->next = NULL;
	pthread_mutex_lock(&store->lock);
	*store->last = writes;
	store->last = &writes->next;
	pthread_cond_signal(&store->queued);
	pthread_mutex_unlock(&store->lock);
}

void stow_store_count(struct stow_store *store, uint64_t *ret_commits, uint64_t *ret_writes)
{
	pthread_mutex_lock(&store->lock);
	*ret_commits = store->commits;
	*ret_writes = store->writes;
	pthread_mutex_unlock(&store->lock);
}

/* --- opening ------------------------------------------------------------------------------------ */

static int each(struct stow_store *store, const char *sql, const struct stow_store_load *load,
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
	if (!load->drain)
		return 0;
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

	return load->webhook ? load->webhook(load->ctx, &webhook, err) : 0;
}

/* What a newer program has written may mean something that this one would drop. */
static int check_version(struct stow_store *store, const char *path, struct stow_err *err)
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

static int prepare(struct stow_store *store, bool power_loss, struct stow_err *err)
{
	/* In WAL mode a commit is in the file's pages in memory, which the kernel keeps when the
	 * process dies; FULL waits for the disk, too. */
	if (sqlite3_exec(store->db, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=4000", NULL,
			 NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(store->db,
			 power_loss ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF", NULL,
			 NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(store->db, schema, NULL, NULL, NULL) != SQLITE_OK)
		return fail(store, err, "opening");
	for (size_t i = 0; i < KINDS; i++)
		if (sqlite3_prepare_v2(store->db, statements[i], -1, &store->stmt[i], NULL) !=
		    SQLITE_OK)
			return fail(store, err, "preparing");
	return 0;
}

int stow_store_open(const char *dir, bool power_loss, const struct stow_store_load *load,
		    struct stow_store **ret_store, struct stow_err *err)
{
	struct stow_store *store = calloc(1, sizeof(*store));
	char path[4200];
	int r = 0;

	if (!store)
		return stow_err_set(err, ENOMEM, "out of memory");
	store->last = &store->first;
	pthread_mutex_init(&store->lock, NULL);
	pthread_cond_init(&store->queued, NULL);
	snprintf(path, sizeof(path), "%s/scheduler.db", dir);
	if (sqlite3_open_v2(path, &store->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		r = stow_err_set(err, EIO, "cannot open %s: %s", path,
				 store->db ? sqlite3_errmsg(store->db) : "out of memory");
	if (r == 0)
		r = check_version(store, path, err);
	if (r == 0)
		r = prepare(store, power_loss, err);
	if (r == 0)
		r = each(store, "SELECT id, message, request FROM reservation", load,
			 reservation_row, err);
	if (r == 0)
		r = each(store, "SELECT machine, numa FROM fence", load, fence_row, err);
	if (r == 0)
		r = each(store, "SELECT request, digest, expires, response FROM answer", load,
			 answer_row, err);
	if (r == 0)
		r = each(store, "SELECT id, flags, message, request FROM drain", load, drain_row,
			 err);
	if (r == 0)
		r = each(store,
			 "SELECT seq, drain, event, url, body, created, next, attempts "
			 "FROM webhook ORDER BY seq",
			 load, webhook_row, err);
	if (r == 0) {
		r = -pthread_create(&store->thread, NULL, run, store);
		store->running = r == 0;
		if (r < 0)
			stow_err_sys(err, -r, "cannot start a thread");
	}
	if (r < 0) {
		stow_store_close(store);
		return r;
	}
	*ret_store = store;
	return 0;
}

void stow_store_close(struct stow_store *store)
{
	if (!store)
		return;
	pthread_mutex_lock(&store->lock);
	store->closing = true;
	pthread_cond_signal(&store->queued);
	pthread_mutex_unlock(&store->lock);
	if (store->running)
		pthread_join(store->thread, NULL);
	for (size_t i = 0; i < KINDS; i++)
		sqlite3_finalize(store->stmt[i]);
	sqlite3_close(store->db);
	pthread_cond_destroy(&store->queued);
	pthread_mutex_destroy(&store->lock);
	free(store);
}
