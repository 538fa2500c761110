// SPDX-License-Identifier: Apache-2.0
/* numastow's own state files, which unlike the kernel's are created, replaced and removed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "base/root_internal.h"

int stow_root_mkdir(struct stow_root *root, const char *path, struct stow_err *err)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(part))
		return stow_err_set(err, ENAMETOOLONG, "%.64s...: the path is too long", path);
	for (size_t i = 1; i <= len; i++) {
		_cleanup_close_ int parent = -EBADF;
		char *slash;

		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		slash = strrchr(part, '/');
		*slash = '\0';
		parent = stow_root_open_beneath(root, part, O_PATH | O_DIRECTORY, 0);
		if (parent < 0)
			return stow_err_sys(err, -parent, "%s", path);
		if (mkdirat(parent, slash + 1, 0755) < 0 && errno != EEXIST)
			return stow_err_sys(err, errno, "%s", path);
	}
	return 0;
}

/* The place of a file that is created or removed: a name relative to `fd`. */
struct place {
	int fd;
	int opened;	  /* the folder that holds the file, if it was opened; else negative */
	const char *name; /* relative to `fd` */
	int len;	  /* bytes of `name` before the last component */
};

static void place_done(struct place *place)
{
	stow_close_ptr(&place->opened);
}

/* Find the place of a file. On this machine the path is enough. In a copied tree, folders on the
 * way may be links that lead out of it, so the folder that holds the file is opened first. */
static int find_place(struct stow_root *root, const char *path, struct place *ret,
		      struct stow_err *err)
{
	const char *slash = strrchr(path, '/'), *begin = path + strspn(path, "/");
	char dir[PATH_MAX];

	if (!slash || (size_t)(slash - path) >= sizeof(dir) || slash + 1 < begin)
		return stow_err_set(err, EINVAL, "%.64s is not an absolute path", path);
	*ret = (struct place){
		.fd = root->fd, .opened = -EBADF, .name = begin, .len = (int)(slash + 1 - begin)
	};
	if (root->live && !root->ops)
		return 0;
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	ret->opened = stow_root_open_checked(root, dir[0] ? dir : "/", NULL, O_PATH | O_DIRECTORY,
					     0, err);
	ret->fd = ret->opened;
	ret->name = slash + 1;
	ret->len = 0;
	return ret->opened < 0 ? ret->opened : 0;
}

/* A folder has the name of a file, which can neither replace nor remove it: rename it, because
 * what is in it may be of use. */
static int set_folder_aside(const struct place *at)
{
	char to[PATH_MAX + 32];

	snprintf(to, sizeof(to), "%.*s%.*s.damaged-%d", at->len, at->name, NAME_MAX - 24,
		 at->name + at->len, (int)getpid());
	return renameat(at->fd, at->name, at->fd, to);
}

/* Create a temporary file. What has its name is left over from a program that was killed. */
static int open_temp(const struct place *at, const char *temp, mode_t mode)
{
	int fd = openat(at->fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	if (fd >= 0 || errno != EEXIST || unlinkat(at->fd, temp, 0) < 0)
		return fd;
	return openat(at->fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
}

static int replace_by(const struct place *at, const char *temp)
{
	if (renameat(at->fd, temp, at->fd, at->name) == 0)
		return 0;
	if (errno != EISDIR || set_folder_aside(at) < 0)
		return -1;
	return renameat(at->fd, temp, at->fd, at->name);
}

/* Write a temporary file, then rename it. */
static int put_file(struct stow_root *root, const char *path, const char *text, mode_t mode,
		    bool replace, struct stow_err *err)
{
	_cleanup_(place_done) struct place at = { .opened = -EBADF };
	_cleanup_close_ int fd = -EBADF;
	size_t len = strlen(text);
	char temp[PATH_MAX + 32];
	int r;

	r = find_place(root, path, &at, err);
	if (r < 0)
		return r;
	snprintf(temp, sizeof(temp), "%.*s.%.*s.%d", at.len, at.name, NAME_MAX - 16,
		 at.name + at.len, (int)getpid());
	fd = open_temp(&at, temp, mode);
	if (fd < 0)
		return stow_err_sys(err, errno, "%s", path);
	r = -stow_write_all(fd, text, len);
	if (r == 0 &&
	    (replace ? replace_by(&at, temp) < 0 : linkat(at.fd, temp, at.fd, at.name, 0) < 0))
		r = errno;
	if (r || !replace)
		unlinkat(at.fd, temp, 0);
	return r ? stow_err_sys(err, r, "%s", path) : 0;
}

int stow_root_replace(struct stow_root *root, const char *path, const char *text, mode_t mode,
		      struct stow_err *err)
{
	return put_file(root, path, text, mode, true, err);
}

int stow_root_create(struct stow_root *root, const char *path, const char *text, mode_t mode,
		     struct stow_err *err)
{
	return put_file(root, path, text, mode, false, err);
}

int stow_root_symlink(struct stow_root *root, const char *path, const char *target,
		      struct stow_err *err)
{
	_cleanup_(place_done) struct place at = { .opened = -EBADF };
	int r = find_place(root, path, &at, err);

	if (r < 0)
		return r;
	if (symlinkat(target, at.fd, at.name) < 0)
		return stow_err_sys(err, errno, "%s", path);
	return 0;
}

static int remove_at(struct stow_root *root, const char *path, int flags, struct stow_err *err)
{
	_cleanup_(place_done) struct place at = { .opened = -EBADF };
	int r = find_place(root, path, &at, err);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (unlinkat(at.fd, at.name, flags) == 0 || errno == ENOENT)
		return 0;
	if (errno == EISDIR && set_folder_aside(&at) == 0)
		return 0;
	return stow_err_sys(err, errno, "%s", path);
}

int stow_root_unlink(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
{
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	return r < 0 ? r : remove_at(root, path.text, 0, err);
}

int stow_root_rmdir(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
{
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	return r < 0 ? r : remove_at(root, path.text, AT_REMOVEDIR, err);
}

/* --- locks ---------------------------------------------------------------- */

/* The locks of this thread, and the stop signals that it has blocked for them. */
static _Thread_local struct {
	unsigned int held;
	sigset_t blocked;
} locks;

static void block_stops(void)
{
	static const int stops[] = { SIGTSTP, SIGTTIN, SIGTTOU };
	sigset_t before;

	if (locks.held++)
		return;
	sigemptyset(&locks.blocked);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(stops); i++)
		sigaddset(&locks.blocked, stops[i]);
	sigprocmask(SIG_BLOCK, &locks.blocked, &before);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(stops); i++)
		if (sigismember(&before, stops[i]))
			sigdelset(&locks.blocked, stops[i]);
}

static void unblock_stops(void)
{
	if (--locks.held == 0)
		sigprocmask(SIG_UNBLOCK, &locks.blocked, NULL);
}

/* Lock an open file, or with `byte` >= 0 one byte of it. Return 0 or -errno. */
static int lock_file(int fd, int64_t byte)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	block_stops();
	while ((byte < 0 ? flock(fd, LOCK_EX) : fcntl(fd, F_OFD_SETLKW, &lock)) < 0) {
		int e = errno;

		if (e == EINTR)
			continue;
		unblock_stops();
		return -e;
	}
	return 0;
}

int stow_root_lock_byte(struct stow_root *root, int64_t byte, const char *path,
			struct stow_err *err)
{
	_cleanup_close_ int fd =
		stow_root_open_checked(root, path, NULL, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
	int r;

	if (fd < 0)
		return fd;
	r = lock_file(fd, byte);
	return r < 0 ? stow_err_sys(err, -r, "%s", path) : STOW_TAKE_FD(fd);
}

int stow_root_lock(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
{
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	return r < 0 ? r : stow_root_lock_byte(root, -1, path.text, err);
}

void stow_root_unlock(int *lock)
{
	if (*lock < 0)
		return;
	stow_close_ptr(lock);
	unblock_stops();
}
