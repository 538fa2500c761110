// SPDX-License-Identifier: Apache-2.0
/* The ledger as a file: who may read it, versions, damage, and many processes at once. */
#include "unit.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ledger/ledger.h"
#include "records.h"
#include "tree.h"

TEST(no_ledger_is_no_error_to_guess_about)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_ledger *l;

	assert_int_equal(stow_ledger_open(t->root, false, &l, NULL), -ENOENT);
	assert_int_equal(stow_root_exists(t->root, "%s", STOW_RUN_DIR), 0);
}

TEST(a_damaged_ledger_is_reported_and_set_aside)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	struct stow_err err = { 0 };
	char name[512];

	tree_write(t, STOW_LEDGER_PATH,
		   "this is no database, it only has its name, and its length\n");
	assert_int_equal(stow_ledger_open(t->root, true, &l, &err), -EUCLEAN);
	assert_non_null(strstr(err.msg, "numastow gc --rebuild"));
	assert_int_equal(stow_ledger_set_aside(t->root, name, sizeof(name), NULL), 0);
	assert_int_equal(stow_ledger_open(t->root, true, &l, &err), 0);
}

TEST(an_empty_ledger_of_placed_containers_is_damaged)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	struct stow_err err = { 0 };
	char name[512];

	tree_write_data(t, STOW_LEDGER_PATH, "", 0);
	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0); /* its maker was killed */
	stow_ledger_close(STOW_TAKE_PTR(l));
	tree_write_data(t, STOW_LEDGER_PATH, "", 0);
	tree_write(t, STOW_APPLIED_PATH, "online 0-3\n");
	assert_int_equal(stow_ledger_open(t->root, true, &l, &err), -EUCLEAN);
	assert_non_null(strstr(err.msg, "numastow gc --rebuild"));
	assert_int_equal(stow_ledger_open(t->root, false, &l, NULL), -EUCLEAN);
	assert_int_equal(stow_ledger_set_aside(t->root, name, sizeof(name), NULL), 0);
	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
}

/* The applier has run, so there was a ledger. */
TEST(a_missing_ledger_is_an_error_after_a_placement)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	struct stow_err err = { 0 };
	char name[512];

	tree_write(t, STOW_APPLIED_PATH, "online 0-3\n");
	for (int create = 0; create < 2; create++) {
		assert_int_equal(stow_ledger_open(t->root, create, &l, &err), -EUCLEAN);
		assert_non_null(strstr(err.msg, "is missing"));
		assert_non_null(strstr(err.msg, "numastow gc --rebuild"));
	}
	assert_int_equal(stow_root_exists(t->root, "%s", STOW_LEDGER_PATH), 0);
	assert_int_equal(stow_ledger_set_aside(t->root, name, sizeof(name), &err), 0);
	assert_string_equal(name, "");
	assert_int_equal(stow_ledger_open(t->root, false, &l, NULL), 0);
}

TEST(an_older_ledger_is_refused_with_the_command_that_helps)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	_cleanup_free_ char *path = NULL;
	struct stow_err err = { 0 };
	char name[512];
	sqlite3 *db;

	tree_mkdir(t, STOW_RUN_DIR);
	assert_int_equal(stow_root_path(t->root, STOW_LEDGER_PATH, &path, NULL), 0);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE container(key); PRAGMA user_version=3",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	assert_int_equal(stow_ledger_open(t->root, true, &l, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "numastow gc --rebuild"));
	assert_non_null(strstr(err.msg, "schema 3"));
	assert_int_equal(stow_ledger_set_aside(t->root, name, sizeof(name), NULL), 0);
	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=9", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	stow_ledger_close(STOW_TAKE_PTR(l));
	assert_int_equal(stow_ledger_open(t->root, true, &l, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "newer"));
}

static unsigned mode_of(struct tree *t, const char *path)
{
	_cleanup_free_ char *real = NULL;
	struct stat st;

	assert_int_equal(stow_root_path(t->root, path, &real, NULL), 0);
	assert_int_equal(stat(real, &st), 0);
	return st.st_mode & 07777;
}

TEST(the_ledger_is_its_owners_alone)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	mode_t mask = umask(0);
	int r = stow_ledger_open(t->root, true, &l, NULL);

	umask(mask);
	assert_int_equal(r, 0);
	assert_int_equal(mode_of(t, STOW_LEDGER_PATH), 0600);
	assert_int_equal(mode_of(t, STOW_RUN_DIR "/ledger.lock"), 0600);
}

TEST(reading_needs_root)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_ledger *l = NULL;
	struct stow_err err = { 0 };
	pid_t child;
	int status;

	if (geteuid() != 0)
		skip();
	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	stow_ledger_close(STOW_TAKE_PTR(l));
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(setuid(65534) == 0 && stow_ledger_open(t->root, false, &l, &err) == -EACCES &&
				      strstr(err.msg, "needs root")
			      ? 0
			      : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(a_handle_on_a_ledger_that_was_set_aside_is_stale)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *old = NULL, *l = NULL;
	struct stow_idset set;
	char name[512];

	assert_int_equal(stow_ledger_open(t->root, true, &old, NULL), 0);
	assert_int_equal(stow_ledger_set_aside(t->root, name, sizeof(name), NULL), 0);
	assert_int_equal(stow_ledger_begin(old, NULL), -ESTALE);
	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(stow_ledger_begin(old, NULL), -ESTALE);
	assert_int_equal(stow_ledger_exclusive(old, &set, NULL), -ESTALE);
	assert_int_equal(stow_ledger_begin(l, NULL), 0); /* the lock was given back */
	assert_int_equal(stow_ledger_begin(l, NULL), -EDEADLK);
	assert_int_equal(stow_ledger_commit(l, NULL), 0);
}

TEST(every_commit_changes_the_number_of_changes)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL, *other = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *rec = record_new("a", true, "2", 0);
	uint32_t before;

	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(stow_ledger_open(t->root, true, &other, NULL), 0);
	before = stow_ledger_changes(l);
	assert_int_equal(record_put(other, rec), 0);
	assert_int_not_equal(stow_ledger_changes(l), before);
	before = stow_ledger_changes(l);
	assert_int_equal(stow_ledger_begin(other, NULL), 0);
	assert_int_equal(stow_ledger_delete(other, rec->key, NULL), 1);
	stow_ledger_rollback(other);
	assert_int_equal(stow_ledger_changes(l), before);
	exclusive_is(l, "2");
	assert_int_equal(stow_ledger_changes(l), before);
}

/* --- several processes -------------------------------------------------------------------------- */

/* System calls that change files, as SQLite makes them in this process: the last of `calls_left` is
 * the one at which it is killed, with half of the bytes written. */
static int calls_left;

static bool is_last_call(void)
{
	return --calls_left == 0;
}

static _Noreturn void die(void)
{
	kill(getpid(), SIGKILL);
	abort();
}

static ssize_t dying_pwrite(int fd, const void *buf, size_t n, off_t offset)
{
	if (!is_last_call())
		return pwrite(fd, buf, n, offset);
	(void)!pwrite(fd, buf, n / 2, offset);
	die();
}

static int dying_ftruncate(int fd, off_t length)
{
	if (is_last_call())
		die();
	return ftruncate(fd, length);
}

static int dying_unlink(const char *path)
{
	if (is_last_call())
		die();
	return unlink(path);
}

static void die_at_call(int n)
{
	static const char *const writes[] = { "pwrite", "pwrite64" };
	sqlite3_vfs *vfs = sqlite3_vfs_find("unix-none");

	calls_left = n;
	for (size_t i = 0; i < 2; i++)
		(void)vfs->xSetSystemCall(vfs, writes[i], (sqlite3_syscall_ptr)dying_pwrite);
	(void)vfs->xSetSystemCall(vfs, "ftruncate", (sqlite3_syscall_ptr)dying_ftruncate);
	(void)vfs->xSetSystemCall(vfs, "unlink", (sqlite3_syscall_ptr)dying_unlink);
}

/* One transaction that gives the CPUs of one container to another, and writes to most tables. */
static int change_hands(struct stow_ledger *l, struct stow_record *rec)
{
	struct stow_ledger_pool pool = { .node = 1, .size = 4096, .added = 1 };
	int64_t before = rec->key;
	int r = stow_ledger_begin(l, NULL);

	if (r == 0)
		r = stow_ledger_event(l, "placed", rec->id, rec, "text", NULL);
	if (r == 0 && before)
		r = stow_ledger_delete(l, before, NULL);
	if (r >= 0)
		r = stow_ledger_insert(l, rec, NULL);
	if (r == 0)
		r = stow_ledger_pool_put(l, &pool, NULL);
	return r < 0 ? r : stow_ledger_commit(l, NULL);
}

static struct stow_record *record_of_eight(int base)
{
	struct stow_record *rec = record_new("x", true, "", 0);

	for (int i = 0; i < 8; i++)
		stow_idset_add(&rec->cpus, base + i);
	return rec;
}

static void check_intact(struct tree *t)
{
	_cleanup_free_ char *path = NULL;
	sqlite3_stmt *stmt;
	sqlite3 *db;

	assert_int_equal(stow_root_path(t->root, STOW_LEDGER_PATH, &path, NULL), 0);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK); /* nobody writes now */
	assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "ok");
	sqlite3_finalize(stmt);
	assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA foreign_key_check", -1, &stmt, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
	sqlite3_finalize(stmt);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* All that is there is whole, and given back. Returns how many records there were. */
static size_t take_all_back(struct stow_ledger *l)
{
	struct stow_record **all;
	size_t n;

	assert_int_equal(stow_ledger_records(l, NULL, &all, &n, NULL), 0);
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(stow_idset_count(&all[i]->cpus), 8);
		assert_int_equal(all[i]->n_shares, 1);
		assert_int_equal(all[i]->pages[0].count, 5);
		assert_int_equal(stow_ledger_delete(l, all[i]->key, NULL), 1);
	}
	assert_int_equal(stow_ledger_commit(l, NULL), 0);
	exclusive_is(l, "");
	stow_records_free(all, n);
	return n;
}

/* Make the ledger and two transactions in a process that dies at its n-th call. Return whether it
 * came to the end before that. */
static bool write_and_die(struct tree *t, int n)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		struct stow_record *rec = record_of_eight(0);
		struct stow_ledger *l;

		die_at_call(n);
		_exit(stow_ledger_open(t->root, true, &l, NULL) == 0 && change_hands(l, rec) == 0 &&
				      change_hands(l, rec) == 0
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status)) {
		assert_int_equal(WEXITSTATUS(status), 0); /* no write has failed */
		return true;
	}
	assert_int_equal(WTERMSIG(status), SIGKILL);
	return false;
}

TEST(a_writer_may_be_killed_at_any_call)
{
	int n = 1;
	bool done = false;

	for (; !done; n++) {
		_cleanup_(tree_free_ptr) struct tree *t = tree_new();
		_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
		_cleanup_(stow_record_free_ptr) struct stow_record *rec = record_of_eight(0);

		done = write_and_die(t, n);
		assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
		assert_true(take_all_back(l) <= 1);
		assert_int_equal(change_hands(l, rec), 0);
		check_intact(t);
	}
	assert_true(n > 100); /* or the calls were not counted */
}

TEST(killed_writers_leave_it_whole)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	unsigned seed = 1;

	for (int round = 0; round < 50; round++) {
		_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
		pid_t children[2];
		int status;

		for (int i = 0; i < 2; i++) {
			children[i] = fork();
			assert_true(children[i] >= 0);
			if (children[i] == 0) {
				struct stow_record *rec = record_of_eight(100 * i);

				if (stow_ledger_open(t->root, true, &l, NULL) == 0)
					while (change_hands(l, rec) == 0)
						;
				_exit(1);
			}
		}
		usleep(1000 + (useconds_t)rand_r(&seed) % 15000);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(kill(children[i], SIGKILL), 0);
			assert_int_equal(waitpid(children[i], &status, 0), children[i]);
			assert_true(WIFSIGNALED(status)); /* no write has failed */
		}
		assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
		assert_true(take_all_back(l) <= 2);
		check_intact(t);
	}
}

/* Counts up in a pool's row: an update that is lost would be missing in the end. */
static int count_up(struct tree *t, int times)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	struct stow_ledger_pool pool;
	int r = stow_ledger_open(t->root, true, &l, NULL);

	for (int i = 0; i < times && r == 0; i++) {
		r = stow_ledger_begin(l, NULL);
		if (r < 0)
			break;
		r = stow_ledger_pool_get(l, 1, 4096, &pool, NULL);
		pool.added++;
		if (r == 0)
			r = stow_ledger_pool_put(l, &pool, NULL);
		r = stow_ledger_end(l, r, NULL);
	}
	return r;
}

TEST(two_processes_write_at_once)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	struct stow_ledger_pool pool;
	pid_t children[2];
	int status;

	for (int i = 0; i < 2; i++) {
		children[i] = fork();
		assert_true(children[i] >= 0);
		if (children[i] == 0)
			_exit(count_up(t, 200) == 0 ? 0 : 1);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	assert_int_equal(stow_ledger_open(t->root, false, &l, NULL), 0);
	assert_int_equal(stow_ledger_pool_get(l, 1, 4096, &pool, NULL), 0);
	assert_int_equal(pool.added, 400);
	check_intact(t);
}
