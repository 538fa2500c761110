/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* SQLite with our error convention; only lib/ledger includes this. */

#include <sqlite3.h>
#include <stdarg.h>

#include "base/err.h"
#include "base/root.h"

struct stow_ledger {
	struct stow_root *root;
	sqlite3 *db;
	int lock; /* held within a transaction or while reading, else negative */
};

/*
 * Waits for the turn to read; nothing to do within a transaction. SQLite lets readers in beside a
 * writer, who then polls, with growing pauses, for the moment without a reader: with 200 hooks at
 * once a commit took 50 ms, and everybody waited for it. Readers that queue, too, cost
 * microseconds. Who may not lock (not root) reads without. *ret_turn ends with stow_sql_turn_ptr().
 */
int stow_sql_turn(struct stow_ledger *ledger, struct stow_ledger **ret_turn, struct stow_err *err);
void stow_sql_turn_ptr(struct stow_ledger **turn);

#define _cleanup_turn_ __attribute__((cleanup(stow_sql_turn_ptr)))

/* The errno of a SQLite result code. */
int stow_sql_errno(int code);

/* Sets `err` from the database's last error. Returns -errno. */
int stow_sql_fail(struct stow_ledger *ledger, struct stow_err *err, const char *what);

/*
 * Prepares `sql` and binds its parameters by `types`: 'i' int64_t, 't' const char * (copied),
 * 's' const struct stow_idset * (as list format). *ret_stmt is to be finalized.
 */
int stow_sql_prepare(struct stow_ledger *ledger, sqlite3_stmt **ret_stmt, struct stow_err *err,
		     const char *sql, const char *types, ...);

/* Prepares, binds, runs to the end and finalizes a statement without results. */
int stow_sql_run(struct stow_ledger *ledger, struct stow_err *err, const char *sql,
		 const char *types, ...);

/* The next row: 1, 0 at the end, -errno. */
int stow_sql_step(struct stow_ledger *ledger, sqlite3_stmt *stmt, struct stow_err *err);

/* The first column of the first row as a number; 0 when there is no row. */
int stow_sql_number(struct stow_ledger *ledger, int64_t *ret, struct stow_err *err, const char *sql,
		    const char *types, ...);

/* A text column as a string of the caller's, "" for NULL; NULL when memory has run out. */
char *stow_sql_text(sqlite3_stmt *stmt, int column);
/* A column in list format; what is no list is the empty set. */
void stow_sql_idset(sqlite3_stmt *stmt, int column, struct stow_idset *ret);

static inline void stow_sql_finalize_ptr(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}

#define _cleanup_stmt_ __attribute__((cleanup(stow_sql_finalize_ptr)))
