// SPDX-License-Identifier: Apache-2.0
#include "base/root.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"

/* A path as the caller gave it, formatted: "/proc/stat", or "cpuset.cpus" below a cgroup. */
struct path {
	char text[PATH_MAX];
};

static int path_format(struct path *path, const char *fmt, va_list ap, struct stow_err *err)
{
	int n = vsnprintf(path->text, sizeof(path->text), fmt, ap);

	if (n < 0 || (size_t)n >= sizeof(path->text))
		return stow_err_set(err, ENAMETOOLONG, "%.64s...: the path is too long",
				    path->text);
	return 0;
}

#define PATH_FROM_ARGS(path, fmt, err)                 \
	({                                             \
		va_list _ap;                           \
		int _r;                                \
                                                       \
		va_start(_ap, fmt);                    \
		_r = path_format(path, fmt, _ap, err); \
		va_end(_ap);                           \
		_r;                                    \
	})

/* What openat() takes: relative, never empty. */
static const char *relative(const char *path)
{
	while (*path == '/')
		path++;
	return *path ? path : ".";
}

/* The path in messages and for ops: absolute within the whole tree. */
static const char *absolute(struct stow_root *root, const char *path, char *buf, size_t size)
{
	if (!root->dir[0] && path[0] == '/')
		return path;
	snprintf(buf, size, "%s/%s", root->dir, relative(path));
	return buf;
}

static int open_beneath(struct stow_root *root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	if (root->live) {
		fd = openat(root->fd, relative(path), flags | O_CLOEXEC, mode);
		return fd < 0 ? -errno : fd;
	}
	/* EAGAIN: a rename raced with the look-up of "..", see openat2(2). */
	do {
		fd = (int)syscall(SYS_openat2, root->fd, relative(path), &how, sizeof(how));
	} while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	return fd < 0 ? -errno : fd;
}

static int open_checked(struct stow_root *root, const char *path, const char *value, int flags,
			mode_t mode, struct stow_err *err)
{
	char buf[PATH_MAX];
	int r = 0;

	if (root->ops && root->ops->before)
		r = root->ops->before(root->ops->ctx, absolute(root, path, buf, sizeof(buf)),
				      value);
	if (r == 0)
		r = open_beneath(root, path, flags, mode);
	if (r < 0)
		return stow_err_sys(err, -r, "%s", absolute(root, path, buf, sizeof(buf)));
	return r;
}

static struct stow_root *root_new(int fd, bool live, const char *prefix, const char *dir)
{
	struct stow_root *root = calloc(1, sizeof(*root));

	if (!root)
		return NULL;
	root->fd = fd;
	root->live = live;
	root->prefix = strdup(prefix);
	root->dir = strdup(dir);
	if (!root->prefix || !root->dir) {
		root->fd = -EBADF; /* still the caller's */
		stow_root_free(root);
		return NULL;
	}
	return root;
}

int stow_root_open(const char *path, struct stow_root **ret_root, struct stow_err *err)
{
	_cleanup_free_ char *real = NULL;
	_cleanup_close_ int fd = -EBADF;
	bool live;

	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return stow_err_sys(err, errno, "%s", path);
	real = realpath(path, NULL);
	if (!real)
		return stow_err_sys(err, errno, "%s", path);
	live = strcmp(real, "/") == 0;
	if (!live) {
		struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
		int probe = (int)syscall(SYS_openat2, fd, ".", &how, sizeof(how));

		if (probe < 0)
			return stow_err_sys(err, errno,
					    "%s: openat2 is needed to read a copied tree", path);
		close(probe);
	}
	*ret_root = root_new(fd, live, live ? "" : real, "");
	if (!*ret_root)
		return stow_err_sys(err, ENOMEM, "%s", path);
	(void)STOW_TAKE_FD(fd);
	return 0;
}

void stow_root_free(struct stow_root *root)
{
	if (!root)
		return;
	stow_close_ptr(&root->fd);
	if (root->learnt)
		root->learnt->free(root->learnt);
	free(root->prefix);
	free(root->dir);
	free(root);
}

struct stow_learnt *stow_root_learnt(struct stow_root *root)
{
	return __atomic_load_n(&root->learnt, __ATOMIC_ACQUIRE);
}

struct stow_learnt *stow_root_learn(struct stow_root *root, struct stow_learnt *learnt)
{
	struct stow_learnt *first = NULL;

	if (__atomic_compare_exchange_n(&root->learnt, &first, learnt, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return learnt;
	learnt->free(learnt);
	return first;
}

int stow_root_sub(struct stow_root *root, struct stow_root **ret_sub, struct stow_err *err,
		  const char *fmt, ...)
{
	_cleanup_close_ int fd = -EBADF;
	char buf[PATH_MAX];
	struct path path;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0)
		return r;
	fd = open_checked(root, path.text, NULL, O_PATH | O_DIRECTORY, 0, err);
	if (fd < 0)
		return fd;
	*ret_sub =
		root_new(fd, root->live, root->prefix, absolute(root, path.text, buf, sizeof(buf)));
	if (!*ret_sub)
		return stow_err_sys(err, ENOMEM, "%s", path.text);
	(*ret_sub)->ops = root->ops;
	(void)STOW_TAKE_FD(fd);
	return 0;
}

int stow_root_openat(struct stow_root *root, int flags, mode_t mode, struct stow_err *err,
		     const char *fmt, ...)
{
	struct path path;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0)
		return r;
	return open_checked(root, path.text, NULL, flags, mode, err);
}

/* Reads up to size - 1 bytes, terminates them, cuts one newline. -E2BIG when there is more. With
 * `one` the file is one number or one list, which kernel files give in one piece: a short read is
 * its end. */
static int read_into(int fd, char *buf, size_t size, bool one)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
		if (one && len < size)
			break;
	}
	if (len == size)
		return -E2BIG;
	if (len && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return (int)len;
}

static int read_path(struct stow_root *root, const char *path, char *buf, size_t size, bool one,
		     struct stow_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char name[PATH_MAX];
	int r;

	fd = open_checked(root, path, NULL, O_RDONLY, 0, err);
	if (fd < 0)
		return fd;
	r = read_into(fd, buf, size, one);
	if (r < 0)
		return stow_err_sys(err, -r, "%s", absolute(root, path, name, sizeof(name)));
	return r;
}

int stow_root_read(struct stow_root *root, size_t max, char **ret_text, size_t *ret_len,
		   struct stow_err *err, const char *fmt, ...)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *text = NULL;
	char name[PATH_MAX];
	size_t size = 4096;
	size_t len = 0;
	struct path path;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0)
		return r;
	fd = open_checked(root, path.text, NULL, O_RDONLY, 0, err);
	if (fd < 0)
		return fd;
	for (;;) {
		char *grown = realloc(text, size);
		ssize_t n;

		if (!grown)
			return stow_err_sys(err, ENOMEM, "%s", path.text);
		text = grown;
		n = read(fd, text + len, size - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return stow_err_sys(err, errno, "%s",
					    absolute(root, path.text, name, sizeof(name)));
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return stow_err_set(err, E2BIG, "%s: longer than %zu bytes",
					    absolute(root, path.text, name, sizeof(name)), max);
		if (len + 1 == size)
			size *= 2;
	}
	if (len && text[len - 1] == '\n')
		len--;
	text[len] = '\0';
	*ret_text = STOW_TAKE_PTR(text);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int stow_root_read_buf(struct stow_root *root, char *buf, size_t size, struct stow_err *err,
		       const char *fmt, ...)
{
	struct path path;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0)
		return r;
	return read_path(root, path.text, buf, size, false, err);
}

int stow_root_read_u64(struct stow_root *root, uint64_t *ret, struct stow_err *err, const char *fmt,
		       ...)
{
	char buf[64], name[PATH_MAX];
	struct path path;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0)
		return r;
	r = read_path(root, path.text, buf, sizeof(buf), true, err);
	if (r < 0)
		return r;
	r = stow_parse_u64(buf, UINT64_MAX, ret, err);
	if (r < 0)
		return stow_err_wrap(err, r, "%s", absolute(root, path.text, name, sizeof(name)));
	return 0;
}

int stow_root_read_idset(struct stow_root *root, struct stow_idset *ret, struct stow_err *err,
			 const char *fmt, ...)
{
	char buf[16384], name[PATH_MAX];
	struct path path;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0)
		return r;
	r = read_path(root, path.text, buf, sizeof(buf), true, err);
	if (r < 0)
		return r;
	r = stow_idset_parse(buf, ret, err);
	if (r < 0)
		return stow_err_wrap(err, r, "%s", absolute(root, path.text, name, sizeof(name)));
	return 0;
}

static int write_path(struct stow_root *root, const char *path, const char *value,
		      struct stow_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char name[PATH_MAX];
	size_t len = strlen(value);
	ssize_t n;

	fd = open_checked(root, path, value, O_WRONLY | O_TRUNC, 0, err);
	if (fd < 0)
		return fd;
	n = write(fd, value, len);
	if (n < 0)
		return stow_err_sys(err, errno, "writing \"%.64s\" to %s", value,
				    absolute(root, path, name, sizeof(name)));
	if ((size_t)n != len)
		return stow_err_sys(err, EIO, "short write to %s",
				    absolute(root, path, name, sizeof(name)));
	if (root->ops && root->ops->wrote)
		root->ops->wrote(root->ops->ctx, root, absolute(root, path, name, sizeof(name)),
				 value);
	return 0;
}

int stow_root_write(struct stow_root *root, const char *value, struct stow_err *err,
		    const char *fmt, ...)
{
	struct path path;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0)
		return r;
	return write_path(root, path.text, value, err);
}

int stow_root_write_u64(struct stow_root *root, uint64_t value, struct stow_err *err,
			const char *fmt, ...)
{
	char text[32];
	struct path path;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%" PRIu64, value);
	return write_path(root, path.text, text, err);
}

int stow_root_exists(struct stow_root *root, const char *fmt, ...)
{
	_cleanup_close_ int fd = -EBADF;
	struct path path;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, NULL);
	if (r < 0)
		return r;
	fd = open_beneath(root, path.text, O_PATH, 0);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	return fd < 0 ? fd : 1;
}

DIR *stow_root_opendir(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
{
	_cleanup_close_ int fd = -EBADF;
	struct path path;
	DIR *d;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0) {
		errno = -r;
		return NULL;
	}
	fd = open_checked(root, path.text, NULL, O_RDONLY | O_DIRECTORY, 0, err);
	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	d = fdopendir(fd);
	if (d)
		(void)STOW_TAKE_FD(fd);
	else
		stow_err_sys(err, errno, "%s", path.text);
	return d;
}

int stow_root_readlink(struct stow_root *root, char *buf, size_t size, struct stow_err *err,
		       const char *fmt, ...)
{
	_cleanup_close_ int fd = -EBADF;
	struct path path;
	ssize_t n;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0)
		return r;
	fd = open_checked(root, path.text, NULL, O_PATH | O_NOFOLLOW, 0, err);
	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", buf, size - 1);
	if (n < 0)
		return stow_err_sys(err, errno, "%s", path.text);
	buf[n] = '\0';
	return (int)n;
}

int stow_root_list_ids(struct stow_root *root, const char *dir, const char *prefix,
		       struct stow_idset *ret, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct stow_idset set = { 0 };
	size_t plen = strlen(prefix);
	struct dirent *e;

	if (stow_root_exists(root, "%s", dir) == 0) {
		*ret = set;
		return 0;
	}
	d = stow_root_opendir(root, err, "%s", dir);
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		uint64_t id;

		if (strncmp(e->d_name, prefix, plen) == 0 &&
		    stow_parse_u64(e->d_name + plen, STOW_IDSET_MAX - 1, &id, NULL) == 0)
			stow_idset_add(&set, (int)id);
	}
	*ret = set;
	return 0;
}

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
		parent = open_beneath(root, part, O_PATH | O_DIRECTORY, 0);
		if (parent < 0)
			return stow_err_sys(err, -parent, "%s", path);
		if (mkdirat(parent, slash + 1, 0755) < 0 && errno != EEXIST)
			return stow_err_sys(err, errno, "%s", path);
	}
	return 0;
}

/* Opens the folder that holds `path` and says where the last part of the name begins. */
static int open_parent(struct stow_root *root, const char *path, const char **ret_name,
		       struct stow_err *err)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];

	if (!slash || (size_t)(slash - path) >= sizeof(dir))
		return stow_err_set(err, EINVAL, "%.64s is no absolute path", path);
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	*ret_name = slash + 1;
	return open_checked(root, dir[0] ? dir : "/", NULL, O_PATH | O_DIRECTORY, 0, err);
}

int stow_root_replace(struct stow_root *root, const char *path, const char *text, mode_t mode,
		      struct stow_err *err)
{
	_cleanup_close_ int dir = -EBADF, fd = -EBADF;
	size_t len = strlen(text);
	const char *name;
	char temp[NAME_MAX + 32];
	int r;

	dir = open_parent(root, path, &name, err);
	if (dir < 0)
		return dir;
	snprintf(temp, sizeof(temp), ".%.*s.%d", NAME_MAX - 16, name, (int)getpid());
	fd = openat(dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return stow_err_sys(err, errno, "%s", path);
	if (write(fd, text, len) != (ssize_t)len)
		r = errno ? errno : ENOSPC;
	else if (renameat(dir, temp, dir, name) < 0)
		r = errno;
	else
		return 0;
	unlinkat(dir, temp, 0);
	return stow_err_sys(err, r, "%s", path);
}

int stow_root_unlink(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
{
	_cleanup_close_ int dir = -EBADF;
	struct path path;
	const char *name;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0)
		return r;
	dir = open_parent(root, path.text, &name, err);
	if (dir == -ENOENT)
		return 0;
	if (dir < 0)
		return dir;
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return stow_err_sys(err, errno, "%s", path.text);
	return 0;
}

int stow_root_lock(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
{
	_cleanup_close_ int fd = -EBADF;
	struct path path;
	int r;

	r = PATH_FROM_ARGS(&path, fmt, err);
	if (r < 0)
		return r;
	fd = open_checked(root, path.text, NULL, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
	if (fd < 0)
		return fd;
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return stow_err_sys(err, errno, "%s", path.text);
	return STOW_TAKE_FD(fd);
}

int stow_root_path(struct stow_root *root, const char *path, char **ret_path, struct stow_err *err)
{
	if (asprintf(ret_path, "%s%s%s", root->prefix, root->dir, path) < 0)
		return stow_err_sys(err, ENOMEM, "%s", path);
	return 0;
}
