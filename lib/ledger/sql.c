// SPDX-License-Identifier: Apache-2.0
#include "ledger/sql.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "ledger/paths.h"

int stow_sql_errno(int code)
{
	switch (code) {
	case SQLITE_CONSTRAINT_PRIMARYKEY:
	case SQLITE_CONSTRAINT_ROWID:
	case SQLITE_CONSTRAINT_UNIQUE:
		return EEXIST;
	case SQLITE_CONSTRAINT_FOREIGNKEY: /* the row that it references is gone */
		return ENOENT;
	case SQLITE_CONSTRAINT_TRIGGER: /* ON DELETE RESTRICT: another row references it */
		return EBUSY;
	default:
		break;
	}
	switch (code & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return EBUSY;
	case SQLITE_NOMEM:
		return ENOMEM;
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return EACCES;
	case SQLITE_CANTOPEN:
		return ENOENT;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* a table or column is missing: another schema */
		return EUCLEAN;
	case SQLITE_CONSTRAINT: /* a CHECK, NOT NULL or type: the caller's mistake */
		return EINVAL;
	default:
		return EIO;
	}
}

int stow_sql_fail(struct stow_ledger *ledger, struct stow_err *err, const char *what)
{
	int code = sqlite3_extended_errcode(ledger->db);
	int e = stow_sql_errno(code);

	if (e == EUCLEAN)
		return stow_err_set(err, e,
				    "the ledger %s%s is damaged (%s: %s); `numastow gc --rebuild` "
				    "sets it aside and starts a new one from the live containers",
				    ledger->root->prefix, STOW_LEDGER_PATH, what,
				    sqlite3_errmsg(ledger->db));
	return stow_err_set(err, e, "the ledger %s%s: %s: %s", ledger->root->prefix,
			    STOW_LEDGER_PATH, what, sqlite3_errmsg(ledger->db));
}

/* --- the lock ------------------------------------------------------------- */

/* Without file locks, SQLite does not check either whether its file still has its name, and would
 * roll the old file's journal back into the new one. */
static int check_in_place(struct stow_ledger *ledger, struct stow_err *err)
{
	const char *path = sqlite3_db_filename(ledger->db, "main");
	struct stat st;

	if (stat(path, &st) == 0 && st.st_ino == ledger->inode && st.st_dev == ledger->device)
		return 0;
	return stow_err_set(err, ESTALE, "the ledger %s was set aside meanwhile; open it again",
			    path);
}

int stow_sql_lock(struct stow_ledger *ledger, struct stow_err *err)
{
	struct stow_err why;
	int r;

	if (ledger->lock >= 0)
		return stow_err_set(err, EDEADLK, "a transaction of the ledger is under way");
	r = stow_root_lock(ledger->root, &why, "%s", STOW_LEDGER_LOCK);
	if (r == -EACCES)
		return stow_err_set(err, EACCES, "reading the ledger %s%s needs root",
				    ledger->root->prefix, STOW_LEDGER_PATH);
	if (r < 0)
		return stow_err_move(err, -why.code, &why);
	ledger->lock = r;
	if (!ledger->db) /* it is being opened */
		return 0;
	r = check_in_place(ledger, err);
	if (r < 0)
		stow_sql_unlock(ledger);
	return r;
}

void stow_sql_unlock(struct stow_ledger *ledger)
{
	stow_root_unlock(&ledger->lock);
}

int stow_sql_read_lock(struct stow_ledger *ledger, struct stow_ledger **ret_lock,
		       struct stow_err *err)
{
	int r;

	*ret_lock = NULL;
	if (ledger->lock >= 0)
		return 0;
	r = stow_sql_lock(ledger, err);
	if (r < 0)
		return r;
	/* Within a transaction, SQLite checks only once for a journal and for changes of the
	 * file. */
	if (sqlite3_exec(ledger->db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK) {
		r = stow_sql_fail(ledger, err, "beginning to read");
		stow_sql_unlock(ledger);
		return r;
	}
	*ret_lock = ledger;
	return 0;
}

void stow_sql_read_unlock_ptr(struct stow_ledger **lock)
{
	if (!*lock)
		return;
	(void)sqlite3_exec((*lock)->db, "COMMIT", NULL, NULL, NULL);
	stow_sql_unlock(*lock);
	*lock = NULL;
}

/* --- statements ----------------------------------------------------------- */

static int bind_one(sqlite3_stmt *stmt, int i, char type, va_list *ap)
{
	const int64_t *number;
	char *list;

	switch (type) {
	case 'i':
		return sqlite3_bind_int64(stmt, i, va_arg(*ap, int64_t));
	case 'n':
		number = va_arg(*ap, const int64_t *);
		return number ? sqlite3_bind_int64(stmt, i, *number) : sqlite3_bind_null(stmt, i);
	case 't':
		return sqlite3_bind_text(stmt, i, va_arg(*ap, const char *), -1, SQLITE_TRANSIENT);
	default:
		list = stow_idset_to_list(va_arg(*ap, const struct stow_idset *));
		return list ? sqlite3_bind_text(stmt, i, list, -1, free) : SQLITE_NOMEM;
	}
}

static int bind_va(struct stow_ledger *ledger, sqlite3_stmt *stmt, struct stow_err *err,
		   const char *types, va_list ap)
{
	int code = SQLITE_OK;
	va_list args;

	va_copy(args, ap);
	for (int i = 0; types[i] && code == SQLITE_OK; i++)
		code = bind_one(stmt, i + 1, types[i], &args);
	va_end(args);
	return code == SQLITE_OK ? 0 : stow_sql_fail(ledger, err, "binding");
}

static int prepare_va(struct stow_ledger *ledger, sqlite3_stmt **ret_stmt, struct stow_err *err,
		      const char *sql, const char *types, va_list ap)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	assert(ledger->lock >= 0);
	if (sqlite3_prepare_v2(ledger->db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return stow_sql_fail(ledger, err, "preparing");
	r = bind_va(ledger, stmt, err, types, ap);
	if (r == 0)
		*ret_stmt = STOW_TAKE_PTR(stmt);
	return r;
}

int stow_sql_prepare(struct stow_ledger *ledger, sqlite3_stmt **ret_stmt, struct stow_err *err,
		     const char *sql, const char *types, ...)
{
	va_list ap;
	int r;

	va_start(ap, types);
	r = prepare_va(ledger, ret_stmt, err, sql, types, ap);
	va_end(ap);
	return r;
}

int stow_sql_step(struct stow_ledger *ledger, sqlite3_stmt *stmt, struct stow_err *err)
{
	switch (sqlite3_step(stmt)) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		return 0;
	default:
		return stow_sql_fail(ledger, err, "running");
	}
}

static int run_to_end(struct stow_ledger *ledger, sqlite3_stmt *stmt, struct stow_err *err)
{
	int r;

	do
		r = stow_sql_step(ledger, stmt, err);
	while (r > 0);
	return r;
}

int stow_sql_again(struct stow_ledger *ledger, sqlite3_stmt *stmt, struct stow_err *err,
		   const char *types, ...)
{
	va_list ap;
	int r;

	(void)sqlite3_reset(stmt); /* returns the error of the previous run, which was handled */
	va_start(ap, types);
	r = bind_va(ledger, stmt, err, types, ap);
	va_end(ap);
	return r < 0 ? r : run_to_end(ledger, stmt, err);
}

int stow_sql_run(struct stow_ledger *ledger, struct stow_err *err, const char *sql,
		 const char *types, ...)
{
	bool alone = ledger->lock < 0; /* then it is a transaction of its own */
	sqlite3_stmt *stmt = NULL;
	va_list ap;
	int r;

	r = alone ? stow_sql_lock(ledger, err) : 0;
	if (r < 0)
		return r;
	va_start(ap, types);
	r = prepare_va(ledger, &stmt, err, sql, types, ap);
	va_end(ap);
	if (r == 0)
		r = run_to_end(ledger, stmt, err);
	sqlite3_finalize(stmt);
	if (alone)
		stow_sql_unlock(ledger);
	return r;
}

int stow_sql_each_va(struct stow_ledger *ledger, struct stow_err *err,
		     int (*row)(sqlite3_stmt *stmt, void *ctx), void *ctx, const char *sql,
		     const char *types, va_list ap)
{
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = stow_sql_read_lock(ledger, &lock, err);
	if (r == 0)
		r = prepare_va(ledger, &stmt, err, sql, types, ap);
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		r = row(stmt, ctx);
		if (r < 0)
			return stow_err_sys(err, -r, "reading the ledger");
	}
	return r;
}

int stow_sql_each(struct stow_ledger *ledger, struct stow_err *err,
		  int (*row)(sqlite3_stmt *stmt, void *ctx), void *ctx, const char *sql,
		  const char *types, ...)
{
	va_list ap;
	int r;

	va_start(ap, types);
	r = stow_sql_each_va(ledger, err, row, ctx, sql, types, ap);
	va_end(ap);
	return r;
}

static int number_row(sqlite3_stmt *stmt, void *ret)
{
	*(int64_t *)ret = sqlite3_column_int64(stmt, 0);
	return 0;
}

int stow_sql_number(struct stow_ledger *ledger, int64_t *ret, struct stow_err *err, const char *sql,
		    const char *types, ...)
{
	va_list ap;
	int r;

	*ret = 0;
	va_start(ap, types);
	r = stow_sql_each_va(ledger, err, number_row, ret, sql, types, ap);
	va_end(ap);
	return r;
}

char *stow_sql_text(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	return strdup(text ? text : "");
}

uint64_t stow_sql_u64(sqlite3_stmt *stmt, int column)
{
	return (uint64_t)sqlite3_column_int64(stmt, column);
}

void stow_sql_idset(sqlite3_stmt *stmt, int column, struct stow_idset *ret)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	memset(ret, 0, sizeof(*ret));
	if (text && *text)
		(void)stow_idset_parse(text, ret, NULL);
}
