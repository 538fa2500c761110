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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "base/read.h"
#include "base/root_internal.h"

int stow_root_format(struct stow_path *path, const char *fmt, va_list ap, struct stow_err *err)
{
	int n = vsnprintf(path->text, sizeof(path->text), fmt, ap);

	if (n < 0 || (size_t)n >= sizeof(path->text))
		return stow_err_set(err, ENAMETOOLONG, "%.64s...: the path is too long",
				    path->text);
	return 0;
}

/* Convert a path for openat(): relative, never empty. */
static const char *relative(const char *path)
{
	while (*path == '/')
		path++;
	return *path ? path : ".";
}

/* Convert a path for messages and for ops: absolute within the whole tree. */
static const char *absolute(struct stow_root *root, const char *path, char *buf, size_t size)
{
	if (!root->dir[0] && path[0] == '/')
		return path;
	snprintf(buf, size, "%s/%s", root->dir, relative(path));
	return buf;
}

int stow_root_open_beneath(struct stow_root *root, const char *path, int flags, mode_t mode)
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

static bool is_special(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) ||
				       S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode));
}

static bool is_regular(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Return whether the path is a FIFO, socket or device in a copied tree, without opening it: opening
 * a FIFO may block for ever, and opening a device may act (a tape rewinds, a watchdog starts). */
static bool is_special_copy(struct stow_root *root, const char *path, int flags)
{
	_cleanup_close_ int fd = -EBADF;

	if (root->live || flags & (O_PATH | O_DIRECTORY))
		return false;
	fd = stow_root_open_beneath(root, path, O_PATH | (flags & O_NOFOLLOW), 0);
	return fd >= 0 && is_special(fd);
}

int stow_root_open_checked(struct stow_root *root, const char *path, const char *value, int flags,
			   mode_t mode, struct stow_err *err)
{
	char buf[PATH_MAX];
	int r = 0;

	if (root->ops && root->ops->before)
		r = root->ops->before(root->ops->ctx, absolute(root, path, buf, sizeof(buf)),
				      value);
	if (r == 0 && is_special_copy(root, path, flags))
		return stow_err_set(err, EINVAL, "%s is not a regular file",
				    absolute(root, path, buf, sizeof(buf)));
	if (r == 0)
		r = stow_root_open_beneath(root, path, flags, mode);
	if (r < 0)
		return stow_err_sys(err, -r, "%s", absolute(root, path, buf, sizeof(buf)));
	return r;
}

/* Return whether a file is one of the kernel's, which are regular, by its path. */
static bool is_kernels(const struct stow_root *root, const char *path)
{
	if (root->dir[0])
		path = root->dir;
	return root->live && (strncmp(path, "/sys/", 5) == 0 || strncmp(path, "/proc/", 6) == 0);
}

/* Return whether a file is one of numastow's own, which are regular as well. */
static bool is_own(const struct stow_root *root, const char *path)
{
	static const char own[] = STOW_RUN_DIR "/";

	return strncmp(root->dir[0] ? root->dir : path, own, strlen(own)) == 0;
}

/* numastow's own folders are no links, as its files. */
static int folder_flags(const struct stow_root *root, const char *path)
{
	return O_DIRECTORY | (is_own(root, path) ? O_NOFOLLOW : 0);
}

static int not_regular(struct stow_root *root, const char *path, struct stow_err *err)
{
	char buf[PATH_MAX];

	return stow_err_set(err, EINVAL, "%s is not a regular file",
			    absolute(root, path, buf, sizeof(buf)));
}

/* Open a file to read text. The type of a kernel file is checked only when it reads as empty;
 * numastow's own files, which root may have replaced by anything, are opened so that opening never
 * blocks, and links are not followed. (No O_NONBLOCK for writes: it makes memory.max take effect
 * without reclaim, from Linux 6.16.) */
static int open_to_read(struct stow_root *root, const char *path, struct stow_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	bool own = is_own(root, path);

	fd = stow_root_open_checked(root, path, NULL,
				    O_RDONLY | O_NONBLOCK | O_NOCTTY | (own ? O_NOFOLLOW : 0), 0,
				    err);
	if (fd >= 0 && (own ? is_regular(fd) : is_kernels(root, path) || !is_special(fd)))
		return STOW_TAKE_FD(fd);
	return fd >= 0 || (own && fd == -ELOOP) ? not_regular(root, path, err) : fd;
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
		root->fd = -EBADF; /* it stays the caller's */
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

		/* Sandboxes that do not know openat2 fail it with EPERM. */
		if (probe < 0 && (errno == ENOSYS || errno == EPERM))
			return stow_err_sys(err, errno,
					    "%s: openat2 is needed to read a copied tree", path);
		if (probe < 0)
			return stow_err_sys(err, errno, "%s", path);
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
	if (root->cached)
		root->cached->free(root->cached);
	free(root->prefix);
	free(root->dir);
	free(root);
}

struct stow_cached *stow_root_cached(struct stow_root *root)
{
	return __atomic_load_n(&root->cached, __ATOMIC_ACQUIRE);
}

struct stow_cached *stow_root_cache(struct stow_root *root, struct stow_cached *cached)
{
	struct stow_cached *first = NULL;

	if (__atomic_compare_exchange_n(&root->cached, &first, cached, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return cached;
	cached->free(cached);
	return first;
}

int stow_root_sub(struct stow_root *root, struct stow_root **ret_sub, struct stow_err *err,
		  const char *fmt, ...)
{
	_cleanup_close_ int fd = -EBADF;
	char buf[PATH_MAX];
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	if (r < 0)
		return r;
	fd = stow_root_open_checked(root, path.text, NULL, O_PATH | folder_flags(root, path.text),
				    0, err);
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
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	return r < 0 ? r : stow_root_open_checked(root, path.text, NULL, flags, mode, err);
}

static int read_path(struct stow_root *root, const char *path, char *buf, size_t size,
		     struct stow_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char name[PATH_MAX];
	int r;

	fd = open_to_read(root, path, err);
	if (fd < 0)
		return fd;
	r = stow_read_short(fd, buf, size);
	if (r <= 0 && is_special(fd))
		return not_regular(root, path, err);
	if (r == -E2BIG)
		return stow_err_set(err, E2BIG, "%s is longer than %zu bytes",
				    absolute(root, path, name, sizeof(name)), size - 1);
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
	struct stow_path path;
	size_t len;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	if (r < 0)
		return r;
	fd = open_to_read(root, path.text, err);
	if (fd < 0)
		return fd;
	r = stow_read_all(fd, max, absolute(root, path.text, name, sizeof(name)), &text, &len, err);
	if (r < 0)
		return r;
	if (!len && is_special(fd))
		return not_regular(root, path.text, err);
	if (len && text[len - 1] == '\n')
		text[--len] = '\0';
	*ret_text = STOW_TAKE_PTR(text);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int stow_root_read_buf(struct stow_root *root, char *buf, size_t size, struct stow_err *err,
		       const char *fmt, ...)
{
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	return r < 0 ? r : read_path(root, path.text, buf, size, err);
}

int stow_root_read_u64(struct stow_root *root, uint64_t *ret, struct stow_err *err, const char *fmt,
		       ...)
{
	char buf[64], name[PATH_MAX];
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	if (r == 0)
		r = read_path(root, path.text, buf, sizeof(buf), err);
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
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	if (r == 0)
		r = read_path(root, path.text, buf, sizeof(buf), err);
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

	fd = stow_root_open_checked(root, path, value, O_WRONLY | O_TRUNC, 0, err);
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
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	return r < 0 ? r : write_path(root, path.text, value, err);
}

int stow_root_write_u64(struct stow_root *root, uint64_t value, struct stow_err *err,
			const char *fmt, ...)
{
	char text[32];
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return r < 0 ? r : write_path(root, path.text, text, err);
}

int stow_root_exists(struct stow_root *root, const char *fmt, ...)
{
	_cleanup_close_ int fd = -EBADF;
	char name[PATH_MAX];
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, NULL);

	if (r == 0 && root->ops && root->ops->before)
		r = root->ops->before(root->ops->ctx, absolute(root, path.text, name, sizeof(name)),
				      NULL);
	if (r < 0)
		return r;
	fd = stow_root_open_beneath(root, path.text,
				    O_PATH | (is_own(root, path.text) ? O_NOFOLLOW : 0), 0);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	return fd < 0 ? fd : 1;
}

int stow_root_stat(struct stow_root *root, struct stat *ret, struct stow_err *err, const char *fmt,
		   ...)
{
	_cleanup_close_ int fd = -EBADF;
	struct stow_path path;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	if (r < 0)
		return r;
	if (root->live)
		return fstatat(root->fd, relative(path.text), ret, 0) < 0
			       ? stow_err_sys(err, errno, "%s", path.text)
			       : 0;
	fd = stow_root_open_checked(root, path.text, NULL, O_PATH, 0, err);
	if (fd < 0)
		return fd;
	return fstat(fd, ret) < 0 ? stow_err_sys(err, errno, "%s", path.text) : 0;
}

DIR *stow_root_opendir(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
{
	_cleanup_close_ int fd = -EBADF;
	struct stow_path path;
	DIR *d;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	if (r < 0) {
		errno = -r;
		return NULL;
	}
	fd = stow_root_open_checked(root, path.text, NULL, O_RDONLY | folder_flags(root, path.text),
				    0, err);
	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	d = fdopendir(fd);
	if (d)
		(void)STOW_TAKE_FD(fd);
	else
		(void)stow_err_sys(err, errno, "%s", path.text);
	return d;
}

int stow_root_readlink(struct stow_root *root, char *buf, size_t size, struct stow_err *err,
		       const char *fmt, ...)
{
	_cleanup_close_ int fd = -EBADF;
	struct stow_path path;
	ssize_t n;
	int r = STOW_PATH_FROM_ARGS(&path, fmt, err);

	if (r < 0)
		return r;
	fd = stow_root_open_checked(root, path.text, NULL, O_PATH | O_NOFOLLOW, 0, err);
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

int stow_root_path(struct stow_root *root, const char *path, char **ret_path, struct stow_err *err)
{
	if (asprintf(ret_path, "%s%s%s", root->prefix, root->dir, path) < 0)
		return stow_err_sys(err, ENOMEM, "%s", path);
	return 0;
}
