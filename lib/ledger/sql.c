// SPDX-License-Identifier: Apache-2.0
#include "ledger/sql.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ledger/ledger.h"

int stow_sql_errno(int code)
{
	switch (code & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return EBUSY;
	case SQLITE_NOMEM:
		return ENOMEM;
	case SQLITE_FULL:
		return ENOSPC;
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return EACCES;
	case SQLITE_CANTOPEN:
		return ENOENT;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* a table or column is missing: not our schema */
		return EUCLEAN;
	case SQLITE_CONSTRAINT:
		return EEXIST;
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

int stow_sql_turn(struct stow_ledger *ledger, struct stow_ledger **ret_turn, struct stow_err *err)
{
	struct stow_err why;
	int r;

	*ret_turn = NULL;
	if (ledger->lock >= 0)
		return 0;
	r = stow_root_lock(ledger->root, &why, "%s", STOW_RUN_DIR "/ledger.lock");
	if (r == -EACCES || r == -EROFS)
		return 0;
	if (r < 0)
		return stow_err_set(err, why.code, "%s", why.msg);
	ledger->lock = r;
	*ret_turn = ledger;
	return 0;
}

void stow_sql_turn_ptr(struct stow_ledger **turn)
{
	if (*turn)
		stow_close_ptr(&(*turn)->lock);
	*turn = NULL;
}

static int prepare_va(struct stow_ledger *ledger, sqlite3_stmt **ret_stmt, struct stow_err *err,
		      const char *sql, const char *types, va_list ap)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int code;

	if (sqlite3_prepare_v2(ledger->db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return stow_sql_fail(ledger, err, "preparing");
	code = SQLITE_OK;
	for (int i = 0; types[i] && code == SQLITE_OK; i++) {
		if (types[i] == 'i') {
			code = sqlite3_bind_int64(stmt, i + 1, va_arg(ap, int64_t));
		} else if (types[i] == 't') {
			code = sqlite3_bind_text(stmt, i + 1, va_arg(ap, const char *), -1,
						 SQLITE_TRANSIENT);
		} else {
			char *list = stow_idset_to_list(va_arg(ap, const struct stow_idset *));

			code = list ? sqlite3_bind_text(stmt, i + 1, list, -1, free) : SQLITE_NOMEM;
		}
	}
	if (code != SQLITE_OK)
		return stow_sql_fail(ledger, err, "binding");
	*ret_stmt = STOW_TAKE_PTR(stmt);
	return 0;
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

int stow_sql_run(struct stow_ledger *ledger, struct stow_err *err, const char *sql,
		 const char *types, ...)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	va_list ap;
	int r;

	va_start(ap, types);
	r = prepare_va(ledger, &stmt, err, sql, types, ap);
	va_end(ap);
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0)
		r = 0;
	return r;
}

int stow_sql_number(struct stow_ledger *ledger, int64_t *ret, struct stow_err *err, const char *sql,
		    const char *types, ...)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	va_list ap;
	int r;

	va_start(ap, types);
	r = prepare_va(ledger, &stmt, err, sql, types, ap);
	va_end(ap);
	if (r < 0)
		return r;
	r = stow_sql_step(ledger, stmt, err);
	if (r < 0)
		return r;
	*ret = r ? sqlite3_column_int64(stmt, 0) : 0;
	return 0;
}

char *stow_sql_text(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	return strdup(text ? text : "");
}

void stow_sql_idset(sqlite3_stmt *stmt, int column, struct stow_idset *ret)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	memset(ret, 0, sizeof(*ret));
	if (text)
		(void)stow_idset_parse(text, ret, NULL);
}
