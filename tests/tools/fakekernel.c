// SPDX-License-Identifier: Apache-2.0
#include "fakekernel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/idset.h"

/* --- steps ---------------------------------------------------------------- */

/* Count a step. Returns 0, or -EIO for the one that has to fail. */
static int count(struct fakekernel *kernel, const char *what, const char *path, const char *value)
{
	kernel->step++;
	if (kernel->trace)
		fprintf(kernel->trace, "%lu %s %s%s%s\n", kernel->step, what, path,
			value ? " = " : "", value ? value : "");
	if (kernel->step == kernel->kill_at) {
		if (kernel->trace)
			fflush(kernel->trace);
		raise(SIGKILL);
	}
	return kernel->step == kernel->fail_at ? -EIO : 0;
}

/* SQLite's system calls have no context argument. */
static struct fakekernel *sqlite_kernel;
static ssize_t (*real_pwrite)(int fd, const void *buf, size_t len, off_t at);
static ssize_t (*real_pread)(int fd, void *buf, size_t len, off_t at);
static int (*real_ftruncate)(int fd, off_t size);
static int (*real_unlink)(const char *path);

static ssize_t counted_pwrite(int fd, const void *buf, size_t len, off_t at)
{
	if (count(sqlite_kernel, "pwrite", "ledger", NULL) < 0) {
		errno = EIO;
		return -1;
	}
	return real_pwrite(fd, buf, len, at);
}

static ssize_t counted_pread(int fd, void *buf, size_t len, off_t at)
{
	/* Reads change nothing: they are counted for failures, not for kills. */
	if (!sqlite_kernel->kill_at && count(sqlite_kernel, "pread", "ledger", NULL) < 0) {
		errno = EIO;
		return -1;
	}
	return real_pread(fd, buf, len, at);
}

static int counted_ftruncate(int fd, off_t size)
{
	if (count(sqlite_kernel, "ftruncate", "ledger", NULL) < 0) {
		errno = EIO;
		return -1;
	}
	return real_ftruncate(fd, size);
}

static int counted_unlink(const char *path)
{
	if (count(sqlite_kernel, "unlink", "ledger", NULL) < 0) {
		errno = EIO;
		return -1;
	}
	return real_unlink(path);
}

/* Changes of the library's own files: the linker redirects its calls to these functions (--wrap).
 * Writes to the kernel's files, under the lock, are counted by before() and wrote() instead. */
static struct fakekernel *own_kernel;

ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __real_unlinkat(int dir, const char *name, int flags);
int __wrap_unlinkat(int dir, const char *name, int flags);
int __real_mkdirat(int dir, const char *name, mode_t mode);
int __wrap_mkdirat(int dir, const char *name, mode_t mode);

static bool fails(const char *what, const char *name)
{
	if (!own_kernel || own_kernel->locked || count(own_kernel, what, name, NULL) == 0)
		return false;
	errno = EIO;
	return true;
}

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	return fd > STDERR_FILENO && fails("write", "a file") ? -1 : __real_write(fd, buf, len);
}

int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return fails("rename", to) ? -1 : __real_renameat(from_dir, from, to_dir, to);
}

int __wrap_unlinkat(int dir, const char *name, int flags)
{
	return fails("unlink", name) ? -1 : __real_unlinkat(dir, name, flags);
}

int __wrap_mkdirat(int dir, const char *name, mode_t mode)
{
	return fails("mkdir", name) ? -1 : __real_mkdirat(dir, name, mode);
}

#define TAKE_OVER(vfs, name, real, counted)                                               \
	do {                                                                              \
		sqlite3_syscall_ptr _p = (vfs)->xGetSystemCall((vfs), name);              \
                                                                                          \
		if (_p) {                                                                 \
			real = (typeof(real))_p;                                          \
			(vfs)->xSetSystemCall((vfs), name, (sqlite3_syscall_ptr)counted); \
		}                                                                         \
	} while (0)

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-function-type"
static void take_over_sqlite(struct fakekernel *kernel)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

	sqlite_kernel = kernel;
	TAKE_OVER(vfs, "pwrite", real_pwrite, counted_pwrite);
	TAKE_OVER(vfs, "pwrite64", real_pwrite, counted_pwrite);
	TAKE_OVER(vfs, "pread", real_pread, counted_pread);
	TAKE_OVER(vfs, "pread64", real_pread, counted_pread);
	TAKE_OVER(vfs, "ftruncate", real_ftruncate, counted_ftruncate);
	TAKE_OVER(vfs, "unlink", real_unlink, counted_unlink);
}
#pragma GCC diagnostic pop

/* --- files ---------------------------------------------------------------- */

static const char *host_path(struct fakekernel *kernel, const char *path, char *buf, size_t size)
{
	snprintf(buf, size, "%s%s", kernel->dir, path);
	return buf;
}

/* Read a file of the tree into `buf`, without the newline. Returns false when it does not exist. */
static bool get(struct fakekernel *kernel, const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = -EBADF;
	char name[8192];
	ssize_t n;

	fd = open(host_path(kernel, path, name, sizeof(name)), O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, size - 1);
	if (n < 0)
		return false;
	while (n && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return true;
}

static void put(struct fakekernel *kernel, const char *path, const char *text)
{
	_cleanup_close_ int fd = -EBADF;
	char name[8192];

	fd = open(host_path(kernel, path, name, sizeof(name)), O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0 || write(fd, "\n", 1) < 0)
		perror(name);
}

static unsigned long long get_number(struct fakekernel *kernel, const char *path,
				     unsigned long long otherwise)
{
	char buf[64];

	return get(kernel, path, buf, sizeof(buf)) ? strtoull(buf, NULL, 10) : otherwise;
}

static void put_number(struct fakekernel *kernel, const char *path, unsigned long long value)
{
	char buf[64];

	snprintf(buf, sizeof(buf), "%llu", value);
	put(kernel, path, buf);
}

static bool get_idset(struct fakekernel *kernel, const char *path, struct stow_idset *ret)
{
	char buf[16384];

	return get(kernel, path, buf, sizeof(buf)) && stow_idset_parse(buf, ret, NULL) == 0;
}

/* --- reactions ------------------------------------------------------------ */

static bool ends_in(const char *path, const char *end)
{
	size_t n = strlen(path), m = strlen(end);

	return n >= m && strcmp(path + n - m, end) == 0;
}

/* cpuset.cpus or cpuset.mems was written: the part of it that the parent has takes effect; if
 * there is none, the parent's set does (v2; v1 would have refused). */
static void react_cpuset(struct fakekernel *kernel, const char *path, const char *value)
{
	bool cpus = ends_in(path, "cpus");
	char own[4096], above[4096], probe[4096];
	struct stow_idset set, parent;
	_cleanup_free_ char *list = NULL;
	const char *name = cpus ? "cpuset.cpus.effective" : "cpuset.mems.effective";
	int dir = (int)(strrchr(path, '/') - path);

	snprintf(own, sizeof(own), "%.*s/%s", dir, path, name);
	if (!get(kernel, own, probe, sizeof(probe)))
		name = cpus ? "cpuset.effective_cpus" : "cpuset.effective_mems";
	snprintf(own, sizeof(own), "%.*s/%s", dir, path, name);
	snprintf(above, sizeof(above), "%.*s/../%s", dir, path, name);
	if (stow_idset_parse(value, &set, NULL) < 0)
		return;
	if (get_idset(kernel, above, &parent)) {
		stow_idset_and(&set, &parent);
		if (stow_idset_empty(&set))
			set = parent;
	}
	list = stow_idset_to_list(&set);
	if (list)
		put(kernel, own, list);
}

/* nr_hugepages was written: pages in use stay, and nr_hugepages.max, a file of the test's, limits
 * the pool. */
static void react_pool(struct fakekernel *kernel, const char *path, const char *value)
{
	unsigned long long now = strtoull(value, NULL, 10), before = kernel->pool_before;
	unsigned long long free_pages, used, max;
	int dir = (int)(strrchr(path, '/') - path);
	char name[4096];

	snprintf(name, sizeof(name), "%.*s/nr_hugepages.max", dir, path);
	max = get_number(kernel, name, 1ULL << 40);
	snprintf(name, sizeof(name), "%.*s/free_hugepages", dir, path);
	free_pages = get_number(kernel, name, 0);
	used = before > free_pages ? before - free_pages : 0;
	if (now > max)
		now = max > before ? max : before;
	if (now < used)
		now = used;
	put_number(kernel, name, now - used);
	put_number(kernel, path, now);
}

static bool is_cpuset(const char *path)
{
	return ends_in(path, "/cpuset.cpus") || ends_in(path, "/cpuset.mems");
}

/* --- ops ------------------------------------------------------------------ */

static void unlock(struct fakekernel *kernel)
{
	if (kernel->locked)
		flock(kernel->lock, LOCK_UN);
	kernel->locked = false;
}

/* Return whether the simulated kernel changes the file, so that accesses need the lock. */
static bool changes(const char *path)
{
	return strncmp(path, "/sys/fs/cgroup", 14) == 0 || strstr(path, "/hugepages");
}

static int before(void *ctx, const char *path, const char *value)
{
	struct fakekernel *kernel = ctx;
	int r;

	unlock(kernel);
	r = count(kernel, value ? "write" : "open", path, value);
	if (r < 0 || !changes(path))
		return r;
	while (flock(kernel->lock, value ? LOCK_EX : LOCK_SH) < 0)
		if (errno != EINTR)
			return -errno;
	kernel->locked = true;
	if (value && ends_in(path, "/nr_hugepages"))
		kernel->pool_before = get_number(kernel, path, 0);
	return 0;
}

static void wrote(void *ctx, struct stow_root *root, const char *path, const char *value)
{
	struct fakekernel *kernel = ctx;

	if (is_cpuset(path))
		react_cpuset(kernel, path, value);
	else if (ends_in(path, "/nr_hugepages"))
		react_pool(kernel, path, value);
	unlock(kernel);
	/* The write was made: it can no longer fail. */
	if (kernel->kill_at || kernel->trace)
		(void)count(kernel, "wrote", path, value);
}

int fakekernel_begin(struct fakekernel *kernel, struct stow_root *root, struct stow_err *err)
{
	snprintf(kernel->dir, sizeof(kernel->dir), "%s", root->prefix);
	kernel->lock = open(kernel->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (kernel->lock < 0)
		return stow_err_sys(err, errno, "%s", kernel->dir);
	kernel->ops = (struct stow_root_ops){ .ctx = kernel, .before = before, .wrote = wrote };
	root->ops = &kernel->ops;
	if (kernel->kill_at || kernel->fail_at || kernel->trace) {
		take_over_sqlite(kernel);
		own_kernel = kernel;
	}
	return 0;
}

void fakekernel_end(struct fakekernel *kernel, struct stow_root *root)
{
	root->ops = NULL;
	own_kernel = NULL;
	unlock(kernel);
	stow_close_ptr(&kernel->lock);
	if (kernel->trace)
		fclose(kernel->trace);
}
