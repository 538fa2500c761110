/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* SQLite with our error convention; only lib/ledger includes this. */

#include <sqlite3.h>
#include <stdarg.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/root.h"

#define STOW_LEDGER_LOCK "/run/numastow/ledger.lock"

struct stow_ledger {
	struct stow_root *root;
	sqlite3 *db;
	int lock;     /* held within a transaction or while reading, else negative */
	dev_t device; /* of the file that is open: another one may get its name */
	ino_t inode;
};

/* Takes the ledger's lock, which every access needs. -EACCES: the caller is not root. -ESTALE: the
 * database was set aside since it was opened. -EDEADLK: this handle has it already. */
int stow_sql_lock(struct stow_ledger *ledger, struct stow_err *err);
void stow_sql_unlock(struct stow_ledger *ledger);

/* The lock of a reader: everything that is read until stow_sql_read_unlock_ptr() is of one moment.
 * Within a transaction there is nothing to do. */
int stow_sql_read_lock(struct stow_ledger *ledger, struct stow_ledger **ret_lock,
		       struct stow_err *err);
void stow_sql_read_unlock_ptr(struct stow_ledger **lock);

/* To be declared before the statements that are read under it: they have to end first. */
#define _cleanup_read_lock_ __attribute__((cleanup(stow_sql_read_unlock_ptr)))

/* The file system as SQLite sees it: "unix-none", without file locks, and a few calls less. */
#define STOW_SQL_VFS "numastow"
int stow_sql_register_vfs(void); /* returns a result code of SQLite */

/* The errno of an extended SQLite result code. */
int stow_sql_errno(int code);

/* Sets `err` from the database's last error. Returns -errno. */
int stow_sql_fail(struct stow_ledger *ledger, struct stow_err *err, const char *what);

/*
 * Prepares `sql` and binds its parameters by `types`: 'i' int64_t, 'n' const int64_t * (NULL is
 * SQL's NULL), 't' const char * (copied; likewise), 's' const struct stow_idset * (as list format).
 * *ret_stmt is to be finalized. The lock must be held.
 */
int stow_sql_prepare(struct stow_ledger *ledger, sqlite3_stmt **ret_stmt, struct stow_err *err,
		     const char *sql, const char *types, ...);
int stow_sql_prepare_va(struct stow_ledger *ledger, sqlite3_stmt **ret_stmt, struct stow_err *err,
			const char *sql, const char *types, va_list ap);

/* Runs a prepared statement without results once more, with other parameters. */
int stow_sql_again(struct stow_ledger *ledger, sqlite3_stmt *stmt, struct stow_err *err,
		   const char *types, ...);

/* Prepares, binds, runs to the end and finalizes a statement without results; under the lock, which
 * it takes when nobody has. */
int stow_sql_run(struct stow_ledger *ledger, struct stow_err *err, const char *sql,
		 const char *types, ...);

/* The next row: 1, 0 at the end, -errno. */
int stow_sql_step(struct stow_ledger *ledger, sqlite3_stmt *stmt, struct stow_err *err);

/* The first column of the first row as a number; 0 when there is no row. Locks as above. */
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
