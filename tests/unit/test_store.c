// SPDX-License-Identifier: Apache-2.0
/* The store: what was said to be stored is there again, whatever became of the files' ends. */
#include "unit.h"

#include "etcd.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "numastow/v1/store.pb-c.h"
#include "scheduler/store/etcd.h"
#include "scheduler/store/etcd_standby.h"
#include "scheduler/store/store.h"

END_WHEN_A_CHECK_FAILS

#define N 24

/* --- what is read ------------------------------------------------------------------------------- */

struct seen {
	int reservations, fences, answers, drains;
	struct stow_store_webhook webhooks[4]; /* without their texts */
	int n_webhooks;
	uint64_t last; /* the largest id; ids are written in ascending order */
	bool damaged;  /* something was read that was never written */
};

static uint64_t sum(uint64_t id)
{
	return id * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static int on_reservation(void *ctx, uint64_t id, const void *message, size_t len,
			  const char *request_id, struct stow_err *err)
{
	struct seen *seen = ctx;
	uint64_t value = 0;

	seen->reservations++;
	seen->last = id > seen->last ? id : seen->last;
	if (len == sizeof(value))
		memcpy(&value, message, len);
	seen->damaged |= value != sum(id) || strcmp(request_id, "r") != 0;
	return 0;
}

static int on_fence(void *ctx, const char *machine, const struct stow_idset *numa,
		    struct stow_err *err)
{
	struct seen *seen = ctx;

	seen->fences++;
	seen->damaged |= strcmp(machine, "web-3") != 0 || !stow_idset_has(numa, 5) ||
			 stow_idset_count(numa) != 1;
	return 0;
}

static int on_answer(void *ctx, const char *request_id, uint64_t digest, uint64_t expires,
		     const void *response, size_t len, struct stow_err *err)
{
	struct seen *seen = ctx;

	seen->answers++;
	seen->damaged |= digest != UINT64_MAX || expires != INT64_MAX || len != 3 ||
			 memcmp(response, "yes", 3) != 0 || request_id[0] != 'r';
	return 0;
}

static int on_drain(void *ctx, uint64_t id, uint64_t flags, const void *message, size_t len,
		    const char *request_id, struct stow_err *err)
{
	struct seen *seen = ctx;

	seen->drains++;
	seen->damaged |= flags != 7 || len != 1 || *(const char *)message != 'd' ||
			 strcmp(request_id, "r") != 0;
	return 0;
}

static int on_webhook(void *ctx, const struct stow_store_webhook *webhook, struct stow_err *err)
{
	struct seen *seen = ctx;

	seen->damaged |= webhook->drain != UINT64_MAX || strcmp(webhook->event, "planned") != 0 ||
			 strcmp(webhook->url, "https://x/") != 0 || webhook->len != 2 ||
			 memcmp(webhook->body, "{}", 2) != 0;
	if (seen->n_webhooks < 4)
		seen->webhooks[seen->n_webhooks++] = *webhook;
	return 0;
}

/* The engine of the tests that run on both: etcd while one runs, each test below a prefix of its
 * own. */
static struct unit_etcd etcd;

/* In etcd a store is read by the one that leads; SQLite does not ask for it. */
static int lead(struct stow_store *store, struct stow_err *err)
{
	int r = etcd.pid ? 0 : 1;

	for (int i = 0; r == 0 && i < 600; i++) {
		r = stow_store_lead(store, err);
		if (r == 0 || r == -ENOTCONN || r == -ETIMEDOUT) {
			r = 0;
			usleep(100000);
		}
	}
	return r == 0 ? stow_err_set(err, ETIMEDOUT, "not elected") : r;
}

/* ns that answers are kept when the store is opened; 0: as they are written. */
static uint64_t kept;

/* ns by which the wall clock is set. */
static _Atomic int64_t ahead;

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);

int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = __real_clock_gettime(id, ret);

	if (id == CLOCK_REALTIME)
		ret->tv_sec += atomic_load(&ahead) / (int64_t)STOW_SECOND;
	return r;
}

static int open_store(const char *dir, struct stow_store **ret, struct seen *seen,
		      struct stow_err *err)
{
	struct stow_store_load load = { .reservation = on_reservation,
					.fence = on_fence,
					.answer = on_answer,
					.drain = on_drain,
					.webhook = on_webhook,
					.ctx = seen,
					.answers_least = kept,
					.answers_most = kept };
	struct stow_store_options options = { .dir = dir, .lease = 10 * UINT64_C(1000000000) };
	char where[80], prefix[80];
	int r;

	*seen = (struct seen){ 0 };
	*ret = NULL;
	if (etcd.pid) {
		snprintf(where, sizeof(where), "etcd:%s", etcd.url);
		snprintf(prefix, sizeof(prefix), "%.60s/", dir);
		options.where = where;
		options.prefix = prefix;
	}
	r = stow_store_new(&options, ret, err);
	if (r == 0)
		r = lead(*ret, err);
	if (r >= 0)
		r = stow_store_load(*ret, &load, err);
	if (r < 0)
		stow_store_close(*ret);
	return r;
}

/* --- what is written ---------------------------------------------------------------------------- */

struct waiting {
	sem_t done;
	struct stow_err err;
};

static void on_done(void *ctx, const struct stow_err *err)
{
	struct waiting *w = ctx;

	if (err)
		w->err = *err;
	sem_post(&w->done);
}

static int commit(struct stow_store *store, struct stow_writes *writes, struct stow_err *ret_err)
{
	struct waiting w = { 0 };

	sem_init(&w.done, 0, 0);
	stow_store_commit(store, writes, on_done, &w);
	while (sem_wait(&w.done) < 0)
		;
	sem_destroy(&w.done);
	if (ret_err)
		*ret_err = w.err;
	return -w.err.code;
}

static int store_one(struct stow_store *store, uint64_t id, struct stow_err *err)
{
	struct stow_writes *writes = stow_writes_new();
	uint64_t value = sum(id);

	assert_int_equal(stow_writes_reservation(writes, id, &value, sizeof(value), "r"), 0);
	return commit(store, writes, err);
}

static struct stow_idset five(void)
{
	struct stow_idset set = { 0 };

	stow_idset_add(&set, 5);
	return set;
}

/* --- files -------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	char *dir = strdup("/tmp/test_store.XXXXXX");

	*state = mkdtemp(dir);
	return *state ? 0 : -1;
}

static const char *const files[] = { "scheduler.db", "scheduler.db-wal", "scheduler.db-shm" };

static void path_of(const char *dir, const char *name, char path[256])
{
	snprintf(path, 256, "%s/%s", dir, name);
}

static void empty(const char *dir)
{
	char path[256];

	for (size_t i = 0; i < 3; i++) {
		path_of(dir, files[i], path);
		unlink(path);
	}
}

static int tear_down(void **state)
{
	empty(*state);
	rmdir(*state);
	free(*state);
	return 0;
}

struct copy {
	char *bytes;
	size_t len;
};

static struct copy copy_in(const char *dir, const char *name)
{
	struct copy copy = { 0 };
	struct stat st;
	char path[256];
	FILE *file;

	path_of(dir, name, path);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fstat(fileno(file), &st), 0);
	copy.bytes = malloc((size_t)st.st_size + 1);
	copy.len = fread(copy.bytes, 1, (size_t)st.st_size, file);
	assert_int_equal(copy.len, st.st_size);
	fclose(file);
	return copy;
}

static void copy_out(const char *dir, const char *name, const char *bytes, size_t len)
{
	char path[256];
	FILE *file;

	path_of(dir, name, path);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	fclose(file);
}

/* The files of a store with N commits, one reservation each, as a crash leaves them: with the
 * write-ahead log, in which each commit is a few hundred bytes or more. */
static void crashed(const char *dir, struct copy *db, struct copy *wal)
{
	struct stow_store *store;
	struct seen seen;

	assert_int_equal(open_store(dir, &store, &seen, NULL), 0);
	for (uint64_t id = 1; id <= N; id++)
		assert_int_equal(store_one(store, id, NULL), 0);
	*db = copy_in(dir, "scheduler.db");
	*wal = copy_in(dir, "scheduler.db-wal");
	stow_store_close(store);
	assert_true(wal->len > (size_t)N * 512);
}

/* --- tests -------------------------------------------------------------------------------------- */

static void what_was_stored_is_there_again(void **state)
{
	struct stow_idset set = five(), none = { 0 };
	uint64_t commits, rows, big = sum(UINT64_MAX);
	struct stow_writes *writes;
	struct stow_store *store;
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(seen.reservations + seen.fences + seen.answers, 0);
	writes = stow_writes_new();
	assert_int_equal(stow_writes_reservation(writes, UINT64_MAX, &big, sizeof(big), "r"), 0);
	assert_int_equal(stow_writes_fence(writes, "web-3", &set), 0);
	assert_int_equal(stow_writes_fence(writes, "web-4", &set), 0);
	assert_int_equal(
		stow_writes_answer(writes, "r1", UINT64_MAX, INT64_MAX, INT64_MAX, "yes", 3), 0);
	assert_int_equal(
		stow_writes_answer(writes, "r2", UINT64_MAX, INT64_MAX, INT64_MAX, "yes", 3), 0);
	assert_int_equal(commit(store, writes, NULL), 0);
	assert_int_equal(store_one(store, 1, NULL), 0);
	assert_int_equal(store_one(store, 2, NULL), 0);
	writes = stow_writes_new();
	assert_int_equal(stow_writes_no_reservation(writes, 1), 0);
	assert_int_equal(stow_writes_fence(writes, "web-4", &none), 0);
	assert_int_equal(stow_writes_no_answer(writes, "r2"), 0);
	assert_int_equal(commit(store, writes, NULL), 0);
	stow_store_count(store, &commits, &rows);
	assert_int_equal(commits, 4);
	assert_int_equal(rows, 10);
	stow_store_close(store);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
		assert_int_equal(seen.reservations, 2);
		assert_true(seen.last == UINT64_MAX);
		assert_int_equal(seen.fences, 1);
		assert_int_equal(seen.answers, 1);
		assert_false(seen.damaged);
		stow_store_close(store);
	}
}

static void what_is_queued_at_the_end_is_written(void **state)
{
	struct stow_store *store;
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	for (uint64_t id = 1; id <= 500; id++) {
		struct stow_writes *writes = stow_writes_new();
		uint64_t value = sum(id);

		assert_int_equal(stow_writes_reservation(writes, id, &value, sizeof(value), "r"),
				 0);
		stow_store_commit(store, writes, NULL, NULL);
	}
	stow_store_close(store);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(seen.reservations, 500);
	assert_false(seen.damaged);
	stow_store_close(store);
}

static void answers_that_ran_out_go(void **state)
{
	struct stow_writes *writes;
	struct stow_store *store;
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	writes = stow_writes_new();
	assert_int_equal(stow_writes_answer(writes, "old", 1, 1, 0, "yes", 3), 0);
	assert_int_equal(
		stow_writes_answer(writes, "r", UINT64_MAX, INT64_MAX, INT64_MAX, "yes", 3), 0);
	assert_int_equal(commit(store, writes, NULL), 0);
	stow_store_close(store);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	/* In etcd its lease ends it, later. */
	assert_int_equal(seen.answers, etcd.pid ? 2 : 1);
	assert_int_equal(seen.damaged, etcd.pid != 0);
	stow_store_close(store);
}

/* Write twice: after a batch the store's thread looks for answers that have expired. */
static void store_two(struct stow_store *store)
{
	for (uint64_t id = 1; id <= 2; id++)
		assert_int_equal(store_one(store, id, NULL), 0);
}

static void a_clock_that_is_set_ends_no_answer(void **state)
{
	static const int64_t days[] = { 0, 1, -1 };
	uint64_t hour = 3600 * STOW_SECOND;
	struct stow_writes *writes;
	struct stow_store *store;
	struct seen seen;

	/* While the store is open, and then while it is closed. */
	for (size_t i = 0; i < STOW_ARRAY_SIZE(days); i++) {
		assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
		assert_int_equal(seen.answers, i != 0);
		kept = hour;
		writes = stow_writes_new();
		assert_int_equal(stow_writes_answer(writes, "r", 1, stow_store_time(store) + hour,
						    hour, "yes", 3),
				 0);
		atomic_store(&ahead, days[i] * 24 * (int64_t)hour);
		assert_int_equal(commit(store, writes, NULL), 0);
		store_two(store);
		stow_store_close(store);
		atomic_store(&ahead, 0);
	}
	for (size_t i = 0; i < STOW_ARRAY_SIZE(days); i++) {
		atomic_store(&ahead, days[i] * 24 * (int64_t)hour);
		assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
		assert_int_equal(seen.answers, 1);
		store_two(store);
		stow_store_close(store);
	}
	atomic_store(&ahead, 0);
	kept = 0;
}

/* Cut anywhere in the last commits, it ends before one of them, and what came before is whole. */
static void a_torn_end_loses_the_end_only(void **state)
{
	struct copy db, wal;
	struct stow_store *store;
	struct seen seen;
	uint64_t before = 0;
	size_t from, step;

	crashed(*state, &db, &wal);
	from = wal.len - 2 * (4096 + 24); /* the last two pages of it */
	for (size_t len = from; len <= wal.len; len += step) {
		size_t in_frame = (len - from) % (4096 + 24);

		/* Each byte where frames meet and in their headers; pages have no parts. */
		step = in_frame < 48 || in_frame > 4096 ? 1 : 16;
		empty(*state);
		copy_out(*state, "scheduler.db", db.bytes, db.len);
		copy_out(*state, "scheduler.db-wal", wal.bytes, len);
		assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
		assert_false(seen.damaged);
		assert_int_equal(seen.reservations, seen.last); /* without a hole */
		assert_true(seen.last >= before && seen.last >= N - 3);
		before = seen.last;
		if (len % 128 == 0) { /* and it can go on from there */
			assert_int_equal(store_one(store, seen.last + 1, NULL), 0);
		}
		stow_store_close(store);
	}
	assert_int_equal(before, N);
	free(db.bytes);
	free(wal.bytes);
}

/* The log's checksums end it before the byte that is wrong. */
static void a_flipped_byte_in_the_log_ends_it_there(void **state)
{
	struct copy db, wal;
	struct stow_store *store;
	struct seen seen;
	int shorter = 0;

	crashed(*state, &db, &wal);
	for (size_t at = 0; at < wal.len; at += 61) {
		empty(*state);
		wal.bytes[at] ^= 0x10;
		copy_out(*state, "scheduler.db", db.bytes, db.len);
		copy_out(*state, "scheduler.db-wal", wal.bytes, wal.len);
		wal.bytes[at] ^= 0x10;
		if (open_store(*state, &store, &seen, NULL) < 0)
			continue;
		assert_false(seen.damaged);
		assert_int_equal(seen.reservations, seen.last);
		shorter += seen.last < N;
		stow_store_close(store);
	}
	assert_true(shorter > N);
	free(db.bytes);
	free(wal.bytes);
}

/* The database has no checksums: any content must be read without a crash. */
static void a_flipped_byte_in_the_database_does_not_crash(void **state)
{
	struct stow_store *store;
	struct stow_err err;
	struct seen seen;
	struct copy db, wal;
	int refused = 0;

	crashed(*state, &db, &wal);
	free(db.bytes);
	db = copy_in(*state, "scheduler.db"); /* closing has put the log into it */
	for (size_t at = 0; at < db.len; at += 37) {
		empty(*state);
		db.bytes[at] ^= 0x55;
		copy_out(*state, "scheduler.db", db.bytes, db.len);
		db.bytes[at] ^= 0x55;
		err.msg[0] = '\0';
		if (open_store(*state, &store, &seen, &err) == 0) {
			stow_store_close(store);
			continue;
		}
		refused++;
		assert_non_null(strstr(err.msg, "store: "));
		assert_null(strchr(err.msg, '\n'));
	}
	assert_true(refused > 0);
	free(db.bytes);
	free(wal.bytes);
}

/* What the log grew by while another program read is given back. */
static void the_log_of_a_long_read_shrinks(void **state)
{
	_cleanup_free_ char *large = calloc(1, 1 << 20);
	struct stow_store *store;
	char path[256], log[256];
	struct seen seen;
	struct stat st;
	sqlite3 *db;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	path_of(*state, "scheduler.db", path);
	path_of(*state, "scheduler.db-wal", log);
	assert_int_equal(store_one(store, 1, NULL), 0);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN; SELECT * FROM reservation", NULL, NULL, NULL),
			 SQLITE_OK);
	for (uint64_t id = 2; id < 66; id++) {
		struct stow_writes *writes = stow_writes_new();

		assert_int_equal(stow_writes_reservation(writes, id, large, 1 << 20, "r"), 0);
		assert_int_equal(commit(store, writes, NULL), 0);
	}
	assert_int_equal(stat(log, &st), 0);
	assert_true(st.st_size > 64 << 20);
	sqlite3_close(db);
	for (uint64_t id = 66; id < 70; id++)
		assert_int_equal(store_one(store, id, NULL), 0);
	assert_int_equal(stat(log, &st), 0);
	assert_true(st.st_size <= 32 << 20);
	stow_store_close(store);
}

static void a_file_that_is_no_store_is_left_alone(void **state)
{
	static const char text[] = "this is not a database at all, but somebody may need it\n";
	struct stow_store *store;
	struct stow_err err;
	struct seen seen;
	struct copy copy;

	copy_out(*state, "scheduler.db", text, sizeof(text));
	assert_int_equal(open_store(*state, &store, &seen, &err), -EIO);
	assert_non_null(strstr(err.msg, "not a database"));
	copy = copy_in(*state, "scheduler.db");
	assert_int_equal(copy.len, sizeof(text));
	assert_memory_equal(copy.bytes, text, sizeof(text));
	free(copy.bytes);
	assert_int_equal(open_store("/nowhere/at/all", &store, &seen, &err), -EIO);
	assert_non_null(strstr(err.msg, "/nowhere/at/all/scheduler.db"));
}

static int version_of(const char *path, int set)
{
	sqlite3_stmt *stmt;
	char sql[64];
	sqlite3 *db;
	int version;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	snprintf(sql, sizeof(sql), "PRAGMA user_version=%d", set);
	if (set)
		assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	version = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return version;
}

static void a_newer_store_is_refused_and_left_alone(void **state)
{
	struct stow_store *store;
	struct stow_err err;
	struct seen seen;
	char path[256];

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(store_one(store, 1, NULL), 0);
	stow_store_close(store);
	path_of(*state, "scheduler.db", path);
	assert_int_equal(version_of(path, 0), 2);
	assert_int_equal(version_of(path, 3), 3);
	assert_int_equal(open_store(*state, &store, &seen, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "version 3"));
	assert_int_equal(version_of(path, 0), 3);
	assert_int_equal(version_of(path, 1), 1);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(seen.reservations, 1);
	stow_store_close(store);
}

/* What version 1 has written, as its schema was. */
static void an_old_store_is_read_and_taken_along(void **state)
{
	static const char old[] =
		"CREATE TABLE reservation(id INTEGER PRIMARY KEY, message BLOB NOT NULL,"
		" request TEXT);"
		"CREATE TABLE fence(machine TEXT PRIMARY KEY, numa TEXT NOT NULL);"
		"CREATE TABLE answer(request TEXT PRIMARY KEY, digest INTEGER,"
		" expires INTEGER, response BLOB NOT NULL) WITHOUT ROWID;"
		"INSERT INTO fence VALUES('web-3', '5');"
		"INSERT INTO answer VALUES('r1', -1, 9223372036854775807, 'yes');"
		"PRAGMA user_version=1;";
	struct stow_store *store;
	struct seen seen;
	char path[256];
	sqlite3 *db;

	path_of(*state, "scheduler.db", path);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, old, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
		assert_int_equal(seen.fences, 1);
		assert_int_equal(seen.answers, 1);
		assert_int_equal(seen.drains, i);
		assert_false(seen.damaged);
		if (i == 0) {
			struct stow_writes *writes = stow_writes_new();

			assert_int_equal(stow_writes_drain(writes, 1, 7, "d", 1, "r"), 0);
			assert_int_equal(commit(store, writes, NULL), 0);
		}
		stow_store_close(store);
	}
	assert_int_equal(version_of(path, 0), 2);
}

static void drains_and_their_webhooks_are_stored(void **state)
{
	struct stow_store_webhook webhook = {
		.drain = UINT64_MAX,
		.event = "planned",
		.url = "https://x/",
		.body = "{}",
		.len = 2,
		.created = 100,
	};
	struct stow_writes *writes;
	struct stow_store *store;
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	writes = stow_writes_new();
	assert_int_equal(stow_writes_drain(writes, UINT64_MAX, 3, "old", 3, NULL), 0);
	assert_int_equal(stow_writes_drain(writes, UINT64_MAX, 7, "d", 1, "r"), 0);
	assert_int_equal(stow_writes_drain(writes, 2, 7, "d", 1, "r"), 0);
	for (webhook.seq = 1; webhook.seq <= 3; webhook.seq++)
		assert_int_equal(stow_writes_webhook(writes, &webhook), 0);
	assert_int_equal(commit(store, writes, NULL), 0);
	writes = stow_writes_new();
	assert_int_equal(stow_writes_no_drain(writes, 2), 0);
	assert_int_equal(stow_writes_no_webhook(writes, 2), 0);
	assert_int_equal(stow_writes_webhook_later(writes, 3, 200, 4), 0);
	assert_int_equal(commit(store, writes, NULL), 0);
	stow_store_close(store);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(seen.drains, 1);
	assert_int_equal(seen.n_webhooks, 2);
	assert_int_equal(seen.webhooks[0].seq, 1);
	assert_int_equal(seen.webhooks[0].next, 100);
	assert_int_equal(seen.webhooks[0].attempts, 0);
	assert_int_equal(seen.webhooks[1].seq, 3);
	assert_int_equal(seen.webhooks[1].created, 100);
	assert_int_equal(seen.webhooks[1].next, 200);
	assert_int_equal(seen.webhooks[1].attempts, 4);
	assert_false(seen.damaged);
	stow_store_close(store);
}

/* A full disk, simulated by a limit on files: a call fails with the reason, stored rows stay, and
 * with room again calls succeed. */
static void a_full_disk_is_reported_and_survived(void **state)
{
	struct rlimit limit, old;
	struct stow_store *store;
	struct stow_err err;
	struct seen seen;
	uint64_t id = 0;
	struct stat st;
	char path[256];

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	for (; id < 5; id++)
		assert_int_equal(store_one(store, id + 1, NULL), 0);
	path_of(*state, "scheduler.db-wal", path);
	assert_int_equal(stat(path, &st), 0);
	limit = old;
	limit.rlim_cur = (rlim_t)st.st_size + 10000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	while (id < 1000 && store_one(store, id + 1, &err) == 0)
		id++;
	assert_true(id < 1000);
	assert_int_equal(err.code, EIO);
	assert_non_null(strstr(err.msg, "the store: "));
	assert_int_equal(store_one(store, id + 1, &err), -EIO);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(store_one(store, id + 1, NULL), 0);
	stow_store_close(store);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(seen.last, id + 1);
	assert_int_equal(seen.reservations, id + 1);
	assert_false(seen.damaged);
	stow_store_close(store);
}

/* Holds the store's thread back, so that what is queued meanwhile is one batch. */
struct gate {
	sem_t reached, open;
};

static void on_gate(void *ctx, const struct stow_err *err)
{
	struct gate *gate = ctx;

	sem_post(&gate->reached);
	while (sem_wait(&gate->open) < 0)
		;
}

static void close_gate(struct stow_store *store, struct gate *gate)
{
	struct stow_writes *writes = stow_writes_new();

	sem_init(&gate->reached, 0, 0);
	sem_init(&gate->open, 0, 0);
	assert_int_equal(stow_writes_no_reservation(writes, 1000), 0);
	stow_store_commit(store, writes, on_gate, gate);
	while (sem_wait(&gate->reached) < 0)
		;
}

static void queue_one(struct stow_store *store, uint64_t id, bool bad, struct waiting *w)
{
	struct stow_writes *writes = stow_writes_new();
	uint64_t value = sum(id);

	*w = (struct waiting){ 0 };
	sem_init(&w->done, 0, 0);
	assert_int_equal(stow_writes_reservation(writes, id, &value, sizeof(value), "r"), 0);
	/* No message: the schema does not take it. */
	if (bad)
		assert_int_equal(stow_writes_reservation(writes, id + 100, NULL, 0, "r"), 0);
	stow_store_commit(store, writes, on_done, w);
}

static void wait_until(struct stow_store *store, bool healthy, uint64_t retries)
{
	struct stow_store_state state;

	for (int i = 0; i < 30000; i++) {
		stow_store_state(store, &state);
		if (state.healthy == healthy && state.retries == retries)
			return;
		usleep(10000);
	}
	fail_msg("healthy %d, retries %llu", state.healthy, (unsigned long long)state.retries);
}

static void run_sql(const char *dir, const char *sql)
{
	char path[256];
	sqlite3 *db;

	path_of(dir, "scheduler.db", path);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* Whether the row alone is undone, or the whole transaction with it. */
static void a_refused_row_is_its_own_callers_failure(void **state)
{
	static const char *const triggers[] = {
		"SELECT 1",
		"CREATE TRIGGER t BEFORE INSERT ON reservation WHEN NEW.id = 2 "
		"BEGIN SELECT RAISE(ABORT, 'not this one'); END",
		"CREATE TRIGGER t BEFORE INSERT ON reservation WHEN NEW.id = 2 "
		"BEGIN SELECT RAISE(ROLLBACK, 'not this one'); END",
	};

	for (size_t i = 0; i < 3; i++) {
		struct stow_store_state at;
		struct stow_store *store;
		struct waiting w[3];
		struct gate gate;
		struct seen seen;

		empty(*state);
		assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
		run_sql(*state, triggers[i]);
		close_gate(store, &gate);
		for (uint64_t id = 1; id <= 3; id++)
			queue_one(store, id, id == 2, &w[id - 1]);
		sem_post(&gate.open);
		for (int n = 0; n < 3; n++) {
			while (sem_wait(&w[n].done) < 0)
				;
			assert_int_equal(w[n].err.code, n == 1 ? EIO : 0);
		}
		assert_non_null(strstr(w[1].err.msg, i ? "not this one" : "NOT NULL"));
		wait_until(store, true, 0);
		stow_store_state(store, &at);
		assert_int_equal(at.failed, 1);
		stow_store_close(store);
		assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
		assert_int_equal(seen.reservations, 2);
		assert_int_equal(seen.last, 3);
		assert_false(seen.damaged);
		stow_store_close(store);
	}
}

static void a_deletion_that_failed_is_made_up_for(void **state)
{
	static const char no[] = "CREATE TRIGGER t BEFORE DELETE ON reservation "
				 "BEGIN SELECT RAISE(ABORT, 'full'); END;"
				 "CREATE TRIGGER p BEFORE INSERT ON meta "
				 "BEGIN SELECT RAISE(ABORT, 'full'); END";
	struct stow_writes *writes;
	struct stow_store *store;
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(store_one(store, 1, NULL), 0);
	assert_int_equal(store_one(store, 2, NULL), 0);
	run_sql(*state, no);
	writes = stow_writes_new();
	assert_int_equal(stow_writes_no_reservation(writes, 1), 0);
	stow_store_commit(store, writes, NULL, NULL);
	wait_until(store, false, 1);
	run_sql(*state, "DROP TRIGGER t; DROP TRIGGER p");
	wait_until(store, true, 0);
	stow_store_close(store);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(seen.reservations, 1);
	assert_int_equal(seen.last, 2);
	stow_store_close(store);
}

static void writes_after_the_stop_are_refused(void **state)
{
	struct stow_store *store;
	struct stow_err err;
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(store_one(store, 1, NULL), 0);
	stow_store_stop(store);
	assert_int_equal(store_one(store, 2, &err), -ESHUTDOWN);
	stow_store_close(store);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(seen.reservations, 1);
	stow_store_close(store);
}

/* Over starts, over a store that was made anew, and never over the clock's time alone. */
static void a_long_list_is_written_as_one(void **state)
{
	struct stow_writes *writes = stow_writes_new();
	struct stow_store *store;
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	for (uint64_t id = 1; id <= 700; id++) {
		uint64_t value = sum(id);

		assert_int_equal(stow_writes_reservation(writes, id, &value, sizeof(value), "r"),
				 0);
	}
	assert_int_equal(commit(store, writes, NULL), 0);
	writes = stow_writes_new();
	assert_int_equal(stow_writes_no_reservation(writes, 7), 0);
	assert_int_equal(commit(store, writes, NULL), 0);
	stow_store_close(store);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(seen.reservations, 699);
	assert_false(seen.damaged);
	stow_store_close(store);
}

/* Of all URLs: what was stored before, in the same batch, and in the same list. */
static void the_webhooks_of_a_drain_are_deleted_together(void **state)
{
	struct stow_store_webhook webhook = { .drain = UINT64_MAX,
					      .event = "planned",
					      .url = "https://x/",
					      .body = "{}",
					      .len = 2,
					      .created = 100 };
	struct stow_writes *writes[3];
	struct stow_store *store;
	struct waiting w;
	struct gate gate;
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	for (int i = 0; i < 3; i++)
		writes[i] = stow_writes_new();
	for (webhook.seq = 1; webhook.seq <= 6; webhook.seq++)
		assert_int_equal(stow_writes_webhook(writes[(webhook.seq - 1) / 2], &webhook), 0);
	assert_int_equal(commit(store, writes[0], NULL), 0);
	assert_int_equal(stow_writes_no_webhook_of(writes[2], UINT64_MAX, "planned"), 0);
	assert_int_equal(stow_writes_webhook_later(writes[2], 5, 9, 9), 0);
	assert_int_equal(stow_writes_webhook(writes[2], &webhook), 0);
	assert_int_equal(stow_writes_no_webhook_of(writes[2], UINT64_MAX, "removed"), 0);
	close_gate(store, &gate);
	stow_store_commit(store, writes[1], NULL, NULL);
	w = (struct waiting){ 0 };
	sem_init(&w.done, 0, 0);
	stow_store_commit(store, writes[2], on_done, &w);
	sem_post(&gate.open);
	while (sem_wait(&w.done) < 0)
		;
	assert_int_equal(w.err.code, 0);
	stow_store_close(store);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(seen.n_webhooks, 1);
	assert_int_equal(seen.webhooks[0].seq, 7);
	assert_false(seen.damaged);
	stow_store_close(store);
}

static void a_row_without_a_message_is_its_own_callers_failure(void **state)
{
	struct stow_store *store;
	struct waiting w[3];
	struct gate gate;
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	close_gate(store, &gate);
	for (uint64_t id = 1; id <= 3; id++)
		queue_one(store, id, id == 2, &w[id - 1]);
	sem_post(&gate.open);
	for (int n = 0; n < 3; n++) {
		while (sem_wait(&w[n].done) < 0)
			;
		assert_int_equal(w[n].err.code != 0, n == 1);
	}
	wait_until(store, true, 0);
	stow_store_close(store);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(seen.reservations, 2);
	assert_int_equal(seen.last, 3);
	assert_false(seen.damaged);
	stow_store_close(store);
}

static void every_start_is_a_later_epoch(void **state)
{
	struct stow_store *store;
	uint64_t last = 0;
	struct seen seen;

	for (int i = 0; i < 4; i++) {
		if (i == 3)
			empty(*state);
		assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
		assert_true(stow_store_epoch(store) > last);
		last = stow_store_epoch(store);
		stow_store_close(store);
		usleep(2000);
	}
}

static void one_leads_and_the_next_when_it_has_ended(void **state)
{
	struct stow_store_options options = { .dir = *state };
	struct stow_store *one, *two;
	char path[256];

	assert_int_equal(stow_store_new(&options, &one, NULL), 0);
	assert_int_equal(stow_store_new(&options, &two, NULL), 0);
	assert_int_equal(stow_store_lead(one, NULL), 1);
	assert_int_equal(stow_store_lead(two, NULL), 0);
	stow_store_close(one);
	assert_int_equal(stow_store_lead(two, NULL), 1);
	assert_true(stow_store_leads(two, NULL));
	stow_store_close(two);
	path_of(*state, "scheduler.lock", path);
	unlink(path);
}

/* --- etcd's own --------------------------------------------------------------------------------- */

/* Changes that another program makes in that etcd. */
static void *ask(const ProtobufCServiceDescriptor *service, const char *method, const void *request)
{
	struct etcd *other;
	void *answer = NULL;

	assert_int_equal(etcd_new(etcd.url, NULL, &other, NULL), 0);
	assert_int_equal(etcd_ask(other, service, method, request, 60 * STOW_SECOND, &answer, NULL),
			 0);
	etcd_free(other);
	return answer;
}

static EtcdRangeResponse *look_at(const char *dir, const char *name)
{
	EtcdRangeRequest request = ETCD_RANGE_REQUEST__INIT;
	char key[128];

	snprintf(key, sizeof(key), "%.60s/%s", dir, name);
	request.key.data = (uint8_t *)key;
	request.key.len = strlen(key);
	return ask(&etcd_kv__descriptor, "Range", &request);
}

static int64_t put(const char *dir, const char *name, const void *value, size_t len)
{
	EtcdTxnRequest request = ETCD_TXN_REQUEST__INIT;
	EtcdRequestOp op = ETCD_REQUEST_OP__INIT, *ops = &op;
	EtcdPutRequest put = ETCD_PUT_REQUEST__INIT;
	EtcdTxnResponse *answer;
	int64_t revision;
	char key[128];

	snprintf(key, sizeof(key), "%.60s/%s", dir, name);
	put.key.data = (uint8_t *)key;
	put.key.len = strlen(key);
	put.value.data = (uint8_t *)(uintptr_t)value;
	put.value.len = len;
	op.request_case = ETCD_REQUEST_OP__REQUEST_REQUEST_PUT;
	op.request_put = &put;
	request.success = &ops;
	request.n_success = 1;
	answer = ask(&etcd_kv__descriptor, "Txn", &request);
	assert_true(answer->succeeded);
	revision = answer->header->revision;
	stow_rpc_message_free(answer);
	return revision;
}

/* As if it had been paused for longer than its lease. */
static void a_leader_without_its_lease_cannot_write(void **state)
{
	EtcdLeaseRevokeRequest revoke = ETCD_LEASE_REVOKE_REQUEST__INIT;
	struct stow_store *one, *two;
	EtcdRangeResponse *leader;
	struct seen seen;
	struct stow_err err;

	assert_int_equal(open_store(*state, &one, &seen, NULL), 0);
	assert_int_equal(store_one(one, 1, NULL), 0);
	leader = look_at(*state, "leader");
	assert_int_equal(leader->n_kvs, 1);
	revoke.id = leader->kvs[0]->lease;
	stow_rpc_message_free(leader);
	stow_rpc_message_free(ask(&etcd_lease__descriptor, "LeaseRevoke", &revoke));
	assert_int_equal(open_store(*state, &two, &seen, NULL), 0);
	assert_int_equal(seen.reservations, 1);
	assert_true(stow_store_epoch(two) > stow_store_epoch(one));
	/* The error comes with the write, or a moment later with the lease. */
	assert_int_equal(store_one(one, 2, &err), -ESTALE);
	assert_true(strstr(err.msg, "etcd refused a write") || strstr(err.msg, "has ended"));
	assert_true(stow_store_lost(one, NULL));
	assert_false(stow_store_leads(one, NULL));
	assert_int_equal(store_one(two, 3, NULL), 0);
	stow_store_close(one);
	assert_int_equal(store_one(two, 4, NULL), 0);
	stow_store_close(two);
	assert_int_equal(open_store(*state, &two, &seen, NULL), 0);
	assert_int_equal(seen.reservations, 3);
	assert_int_equal(seen.last, 4);
	stow_store_close(two);
}

static int store_answer(struct stow_store *store, const char *request)
{
	struct stow_writes *writes = stow_writes_new();

	assert_int_equal(
		stow_writes_answer(writes, request, 1, INT64_MAX, 3600 * STOW_SECOND, "yes", 3), 0);
	return commit(store, writes, NULL);
}

/* As by an administrator: the next answer gets another one. */
static void a_lease_of_answers_that_is_revoked_is_replaced(void **state)
{
	EtcdLeaseRevokeRequest revoke = ETCD_LEASE_REVOKE_REQUEST__INIT;
	struct stow_store *store;
	EtcdRangeResponse *row;
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(store_answer(store, "one"), 0);
	row = look_at(*state, "a/one");
	assert_int_equal(row->n_kvs, 1);
	revoke.id = row->kvs[0]->lease;
	stow_rpc_message_free(row);
	stow_rpc_message_free(ask(&etcd_lease__descriptor, "LeaseRevoke", &revoke));
	assert_int_equal(store_answer(store, "two"), 0);
	row = look_at(*state, "a/two");
	assert_int_equal(row->n_kvs, 1);
	assert_int_not_equal(row->kvs[0]->lease, revoke.id);
	stow_rpc_message_free(row);
	stow_store_close(store);
}

/* The answer does not come, etcd does it all the same: it is sent again, and done once. */
static void what_is_in_doubt_is_done_once(void **state)
{
	EtcdRangeResponse *row;
	struct stow_store *store;
	struct waiting w;
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(store_one(store, 1, NULL), 0);
	kill(etcd.pid, SIGSTOP);
	queue_one(store, 2, false, &w);
	sleep(3); /* longer than one try, shorter than would matter */
	kill(etcd.pid, SIGCONT);
	while (sem_wait(&w.done) < 0)
		;
	/* A slow machine may lose the lease meanwhile: then it is known to be in doubt. */
	if (w.err.code) {
		assert_true(stow_store_lost(store, NULL));
	} else {
		row = look_at(*state, "r/0000000000000002");
		assert_int_equal(row->n_kvs, 1);
		assert_int_equal(row->kvs[0]->version, 1);
		stow_rpc_message_free(row);
	}
	stow_store_close(store);
}

static void an_unfinished_list_is_finished(void **state)
{
	PbStoreBundle bundle = PB_STORE_BUNDLE__INIT;
	PbStoreChange change[2] = { PB_STORE_CHANGE__INIT, PB_STORE_CHANGE__INIT };
	PbStoreChange *changes[] = { &change[0], &change[1] };
	PbStoreRow row = PB_STORE_ROW__INIT;
	uint64_t value = sum(2);
	struct stow_store *store;
	EtcdRangeResponse *left;
	char keys[2][128];
	uint8_t bytes[1024];
	struct seen seen;

	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(store_one(store, 1, NULL), 0);
	stow_store_close(store);
	row.message.data = (uint8_t *)&value;
	row.message.len = sizeof(value);
	row.request_id = (char *)(uintptr_t) "r";
	for (int i = 0; i < 2; i++) {
		snprintf(keys[i], 128, "%.60s/r/%016d", (const char *)*state, i + 1);
		change[i].key.data = (uint8_t *)keys[i];
		change[i].key.len = strlen(keys[i]);
	}
	change[1].row = &row; /* the first one is deleted */
	bundle.changes = changes;
	bundle.n_changes = 2;
	put(*state, "bundle", bytes, pb_store_bundle__pack(&bundle, bytes));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
		assert_int_equal(seen.reservations, 1);
		assert_int_equal(seen.last, 2);
		assert_false(seen.damaged);
		stow_store_close(store);
		left = look_at(*state, "bundle");
		assert_int_equal(left->n_kvs, 0);
		stow_rpc_message_free(left);
	}
}

static void what_is_damaged_or_newer_is_refused(void **state)
{
	static const char *const keys[] = { "r/1",   "r/000000000000000g", "d/", "about", "about",
					    "bundle" };
	static const char *const values[] = { "", "", "", "x", "2 5", "\xff\xff" };
	static const int errors[] = { -EUCLEAN, -EUCLEAN, -EUCLEAN, -EUCLEAN, -EPROTO, -EUCLEAN };
	struct stow_store *store;
	struct stow_err err;
	struct seen seen;
	char dir[80];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(keys); i++) {
		snprintf(dir, sizeof(dir), "%.50s/%zu", (const char *)*state, i);
		put(dir, keys[i], values[i], strlen(values[i]));
		assert_int_equal(open_store(dir, &store, &seen, &err), errors[i]);
		assert_non_null(strstr(err.msg, "the store: "));
		assert_null(strchr(err.msg, '\n'));
	}
}

struct keys {
	int n;
	bool ascend;
	char last[64];
};

static void on_key(void *ctx, const struct etcd_key *key)
{
	struct keys *keys = ctx;
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)key->key_len, (const char *)key->key);
	keys->ascend &= keys->n == 0 || strcmp(keys->last, name) < 0;
	memcpy(keys->last, name, sizeof(name));
	keys->n++;
}

static void keys_are_read_in_pages_and_followed(void **state)
{
	EtcdCompactionRequest compact = ETCD_COMPACTION_REQUEST__INIT;
	struct keys keys = { .ascend = true };
	struct etcd_mirror *mirror;
	struct etcd *other;
	uint64_t n, reads;
	char prefix[80], name[16];
	int64_t last = 0;

	snprintf(prefix, sizeof(prefix), "%.60s/", (const char *)*state);
	for (int i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "%03d", i);
		put(*state, name, "v", 1);
	}
	assert_int_equal(etcd_new(etcd.url, NULL, &other, NULL), 0);
	assert_int_equal(etcd_mirror_new(other, prefix, &mirror, NULL), 0);
	assert_int_equal(etcd_mirror_follow(mirror, NULL), 0);
	etcd_mirror_count(mirror, &n, &reads);
	assert_int_equal(n, 600);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "new%d", i);
		last = put(*state, name, "v", 1);
	}
	assert_true(etcd_mirror_reaches(mirror, last, 60 * STOW_SECOND));
	etcd_mirror_count(mirror, &n, &reads);
	assert_int_equal(n, 620);
	assert_int_equal(reads, 1);
	etcd_mirror_stop(mirror);
	etcd_mirror_each(mirror, on_key, &keys);
	assert_int_equal(keys.n, 620);
	assert_true(keys.ascend);
	/* An interruption goes on where it was; what was compacted meanwhile is read anew. */
	last = put(*state, "later", "v", 1);
	assert_int_equal(etcd_mirror_follow(mirror, NULL), 0);
	assert_true(etcd_mirror_reaches(mirror, last, 60 * STOW_SECOND));
	etcd_mirror_count(mirror, &n, &reads);
	assert_int_equal(n, 621);
	assert_int_equal(reads, 1);
	etcd_mirror_stop(mirror);
	put(*state, "gone", "v", 1);
	compact.revision = last = put(*state, "last", "v", 1);
	stow_rpc_message_free(ask(&etcd_kv__descriptor, "Compact", &compact));
	for (int i = 0; i < 600 && reads < 2; i++) {
		assert_int_equal(etcd_mirror_follow(mirror, NULL), 0);
		(void)etcd_mirror_reaches(mirror, last, STOW_SECOND / 10);
		etcd_mirror_count(mirror, &n, &reads);
	}
	assert_int_equal(reads, 2);
	assert_int_equal(n, 623);
	/* As when etcd was restored from a backup. */
	assert_true(etcd_mirror_reaches(mirror, last, 60 * STOW_SECOND));
	etcd_mirror_outdated(mirror);
	assert_false(etcd_mirror_reaches(mirror, last, 60 * STOW_SECOND));
	assert_int_equal(etcd_mirror_follow(mirror, NULL), 0);
	etcd_mirror_count(mirror, &n, &reads);
	assert_int_equal(reads, 3);
	etcd_mirror_free(mirror);
	etcd_free(other);
}

/* Its own lag, and what the leader reads of it. */
static void a_standby_publishes_its_lag(void **state)
{
	struct stow_store_standbys found = { 0 };
	struct etcd_standby *standby;
	struct etcd_mirror *mirror;
	struct stow_store *store;
	struct etcd *other;
	struct seen seen;
	char prefix[80];
	int64_t last;

	snprintf(prefix, sizeof(prefix), "%.60s/", (const char *)*state);
	assert_int_equal(open_store(*state, &store, &seen, NULL), 0);
	assert_int_equal(etcd_new(etcd.url, NULL, &other, NULL), 0);
	assert_int_equal(etcd_mirror_new(other, prefix, &mirror, NULL), 0);
	standby = etcd_standby_new(other, prefix, "b.example:7200");
	assert_int_equal(etcd_mirror_follow(mirror, NULL), 0);
	etcd_mirror_stop(mirror); /* what comes now it does not see */
	last = put(*state, "commit", "x", 1);
	etcd_standby_look(standby, mirror);
	for (int i = 0; i < 600 && etcd_standby_lag(standby) < 2 * STOW_SECOND; i++) {
		usleep(100000);
		etcd_standby_look(standby, mirror);
	}
	assert_in_range(etcd_standby_lag(standby), 2 * STOW_SECOND, 60 * STOW_SECOND);
	for (int i = 0; i < 600 && (!found.n || !found.list[0].lag); i++) {
		usleep(100000);
		etcd_standby_look(standby, mirror);
		stow_store_look(store);
		stow_store_standbys(store, &found);
	}
	assert_int_equal(found.n, 1);
	assert_string_equal(found.list[0].name, "b.example:7200");
	assert_in_range(found.list[0].lag, STOW_SECOND, 600 * STOW_SECOND);
	assert_int_equal(etcd_mirror_follow(mirror, NULL), 0);
	assert_true(etcd_mirror_reaches(mirror, last, 60 * STOW_SECOND));
	for (int i = 0; i < 600 && etcd_standby_lag(standby); i++) {
		usleep(100000);
		etcd_standby_look(standby, mirror);
	}
	assert_int_equal(etcd_standby_lag(standby), 0);
	etcd_standby_free(standby);
	etcd_mirror_free(mirror);
	etcd_free(other);
	stow_store_close(store);
}

static void urls_are_checked(void **state)
{
	static const char *const good[] = { "http://127.0.0.1:2379", "http://localhost:2379",
					    "http://[::1]:2379", "https://a.example:2379",
					    "https://a:2379,https://b:2379/" };
	static const char *const bad[] = { "",
					   "a:2379",
					   "http://10.0.0.1:2379",
					   "http://a.example:2379",
					   "https://a",
					   "https://a:0",
					   "https://a:70000",
					   "https://a:2379/v3",
					   "https://a:2379,http://127.0.0.1:2379",
					   "https://a:2379,,https://b:2379" };
	struct stow_err err;
	bool tls;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(good); i++)
		assert_int_equal(etcd_urls_check(good[i], &tls, NULL), 0);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		assert_int_equal(etcd_urls_check(bad[i], &tls, &err), -EINVAL);
		assert_true(err.msg[0] != '\0');
	}
}

static void there_is_no_etcd(void **state)
{
	skip();
}

int main(void)
{
#define ENTRY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		ENTRY(what_was_stored_is_there_again),
		ENTRY(what_is_queued_at_the_end_is_written),
		ENTRY(answers_that_ran_out_go),
		ENTRY(a_clock_that_is_set_ends_no_answer),
		ENTRY(a_torn_end_loses_the_end_only),
		ENTRY(a_flipped_byte_in_the_log_ends_it_there),
		ENTRY(a_flipped_byte_in_the_database_does_not_crash),
		ENTRY(the_log_of_a_long_read_shrinks),
		ENTRY(a_file_that_is_no_store_is_left_alone),
		ENTRY(a_newer_store_is_refused_and_left_alone),
		ENTRY(an_old_store_is_read_and_taken_along),
		ENTRY(drains_and_their_webhooks_are_stored),
		ENTRY(a_full_disk_is_reported_and_survived),
		ENTRY(a_refused_row_is_its_own_callers_failure),
		ENTRY(a_deletion_that_failed_is_made_up_for),
		ENTRY(writes_after_the_stop_are_refused),
		ENTRY(a_long_list_is_written_as_one),
		ENTRY(the_webhooks_of_a_drain_are_deleted_together),
		ENTRY(a_row_without_a_message_is_its_own_callers_failure),
		ENTRY(every_start_is_a_later_epoch),
		ENTRY(one_leads_and_the_next_when_it_has_ended),
	};

	/* Those of them that are about no file, and etcd's own. */
	const struct CMUnitTest on_etcd[] = {
		ENTRY(what_was_stored_is_there_again),
		ENTRY(what_is_queued_at_the_end_is_written),
		ENTRY(answers_that_ran_out_go),
		ENTRY(drains_and_their_webhooks_are_stored),
		ENTRY(writes_after_the_stop_are_refused),
		ENTRY(a_long_list_is_written_as_one),
		ENTRY(the_webhooks_of_a_drain_are_deleted_together),
		ENTRY(a_row_without_a_message_is_its_own_callers_failure),
		ENTRY(every_start_is_a_later_epoch),
		ENTRY(a_leader_without_its_lease_cannot_write),
		ENTRY(a_lease_of_answers_that_is_revoked_is_replaced),
		ENTRY(what_is_in_doubt_is_done_once),
		ENTRY(an_unfinished_list_is_finished),
		ENTRY(what_is_damaged_or_newer_is_refused),
		ENTRY(keys_are_read_in_pages_and_followed),
		ENTRY(a_standby_publishes_its_lag),
		ENTRY(urls_are_checked),
	};
	const struct CMUnitTest without[] = { ENTRY(there_is_no_etcd) };
	int failed = cmocka_run_group_tests_name("SQLite", tests, NULL, NULL);

	if (unit_etcd_start(&etcd)) {
		failed += cmocka_run_group_tests_name("etcd", on_etcd, NULL, NULL);
		unit_etcd_stop(&etcd);
	} else {
		failed += cmocka_run_group_tests_name("etcd", without, NULL, NULL);
	}
	return failed;
}
