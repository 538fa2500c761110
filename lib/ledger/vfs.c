// SPDX-License-Identifier: Apache-2.0
/*
 * SQLite's access to the file system (sqlite.org/vfs.html): its own without file locks, minus the
 * checks whose result is known. They were a tenth of a hook's system calls.
 */
#include "ledger/sql.h"

#include <string.h>

/* The path is absolute already. SQLite would check each folder in it for a symbolic link. */
static int full_path(sqlite3_vfs *vfs, const char *path, int size, char *ret)
{
	sqlite3_vfs *base = sqlite3_vfs_find("unix-none");
	size_t len = strlen(path);

	if (path[0] != '/')
		return base ? base->xFullPathname(base, path, size, ret) : SQLITE_CANTOPEN;
	if (len >= (size_t)size)
		return SQLITE_CANTOPEN;
	memcpy(ret, path, len + 1);
	return SQLITE_OK;
}

/* There is no write-ahead log: it needs locks. */
static int access_file(sqlite3_vfs *vfs, const char *path, int flags, int *ret)
{
	sqlite3_vfs *base = sqlite3_vfs_find("unix-none");
	size_t len = strlen(path);

	*ret = 0;
	if (len > 4 && strcmp(path + len - 4, "-wal") == 0)
		return SQLITE_OK;
	return base ? base->xAccess(base, path, flags, ret) : SQLITE_IOERR_ACCESS;
}

int stow_sql_register_vfs(void)
{
	static sqlite3_vfs ours; /* SQLite links it into its list */
	sqlite3_vfs *base;
	sqlite3_mutex *mutex;
	int code = sqlite3_initialize();

	if (code != SQLITE_OK)
		return code;
	mutex = sqlite3_mutex_alloc(SQLITE_MUTEX_STATIC_APP1);
	sqlite3_mutex_enter(mutex);
	base = sqlite3_vfs_find("unix-none");
	if (!base) {
		code = SQLITE_ERROR;
	} else if (!ours.zName) {
		ours = *base;
		ours.zName = STOW_SQL_VFS;
		ours.xFullPathname = full_path;
		ours.xAccess = access_file;
		code = sqlite3_vfs_register(&ours, 0);
	}
	sqlite3_mutex_leave(mutex);
	return code;
}
