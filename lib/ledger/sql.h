/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* SQLite with numastow's error convention; only lib/ledger includes this. */

#include <sqlite3.h>
#include <stdarg.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"

struct stow_ledger {
	struct stow_root *root;
	sqlite3 *db;
	int lock;     /* held within a transaction or while reading; else negative */
	dev_t device; /* of the open file: another file may get its name */
	ino_t inode;
};

/* Take the ledger's lock, which every access needs. -EACCES: the caller is not root. -ESTALE: the
 * database was set aside since it was opened. -EDEADLK: this handle has the lock already. */
int stow_sql_lock(struct stow_ledger *ledger, struct stow_err *err);
void stow_sql_unlock(struct stow_ledger *ledger);

/* Take a reader's lock: all reads until stow_sql_read_unlock_ptr() see the same state. Do nothing
 * within a transaction. */
int stow_sql_read_lock(struct stow_ledger *ledger, struct stow_ledger **ret_lock,
		       struct stow_err *err);
void stow_sql_read_unlock_ptr(struct stow_ledger **lock);

/* Declare this before the statements that it protects: they must be finalized first. */
#define _cleanup_read_lock_ __attribute__((cleanup(stow_sql_read_unlock_ptr)))

/* SQLite's access to the file system: "unix-none", without file locks, and with fewer system
 * calls. */
#define STOW_SQL_VFS "numastow"
int stow_sql_register_vfs(void); /* returns an SQLite result code */

/* Return the errno of an extended SQLite result code. */
int stow_sql_errno(int code);

/* Set `err` from the database's last error. Return -errno. */
int stow_sql_fail(struct stow_ledger *ledger, struct stow_err *err, const char *what);

/*
 * Prepare `sql` and bind its parameters by `types`: 'i' int64_t, 'n' const int64_t * (NULL is SQL's
 * NULL), 't' const char * (copied; NULL likewise), 's' const struct stow_idset * (in list format).
 * The caller finalizes *ret_stmt, and holds the lock.
 */
int stow_sql_prepare(struct stow_ledger *ledger, sqlite3_stmt **ret_stmt, struct stow_err *err,
		     const char *sql, const char *types, ...);

/* Run a prepared statement without results again, with other parameters. */
int stow_sql_again(struct stow_ledger *ledger, sqlite3_stmt *stmt, struct stow_err *err,
		   const char *types, ...);

/* Prepare, bind, run and finalize a statement without results. Take the lock unless this handle
 * holds it. */
int stow_sql_run(struct stow_ledger *ledger, struct stow_err *err, const char *sql,
		 const char *types, ...);

/* Call `row` for each row of a SELECT. Its failure, -errno, ends the reading and is returned. Lock
 * as above. */
int stow_sql_each(struct stow_ledger *ledger, struct stow_err *err,
		  int (*row)(sqlite3_stmt *stmt, void *ctx), void *ctx, const char *sql,
		  const char *types, ...);
int stow_sql_each_va(struct stow_ledger *ledger, struct stow_err *err,
		     int (*row)(sqlite3_stmt *stmt, void *ctx), void *ctx, const char *sql,
		     const char *types, va_list ap);

/* Step to the next row: 1, 0 at the end, or -errno. */
int stow_sql_step(struct stow_ledger *ledger, sqlite3_stmt *stmt, struct stow_err *err);

/* Read the first column of the first row as a number; 0 when there is no row. Lock as above. */
int stow_sql_number(struct stow_ledger *ledger, int64_t *ret, struct stow_err *err, const char *sql,
		    const char *types, ...);

/* Copy a text column, "" for NULL; NULL: out of memory. The caller frees it. */
char *stow_sql_text(sqlite3_stmt *stmt, int column);
uint64_t stow_sql_u64(sqlite3_stmt *stmt, int column);
/* Read a column in list format; malformed text gives the empty set. */
void stow_sql_idset(sqlite3_stmt *stmt, int column, struct stow_idset *ret);

static inline void stow_sql_finalize_ptr(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}

#define _cleanup_stmt_ __attribute__((cleanup(stow_sql_finalize_ptr)))
