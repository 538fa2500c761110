/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library to preload into a program: it kills the program right before its Nth change of a file,
 * counted over all threads. The file named by $KILLER_AT, of 4096 bytes, begins with 16 digits. The
 * first eight are the number of the count: when they change, counting begins again. The other eight
 * are N; 0: never. Behind them the library writes how many changes it has counted, and the last one.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DIGITS	 16
#define NOTE_MAX 400 /* bytes, behind the digits */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *shared, seen[DIGITS];
static unsigned long count;

static void count_one(const char *call, const char *path)
{
	const char *file = getenv("KILLER_AT");
	unsigned long at;
	char digits[DIGITS + 1];
	int fd;

	pthread_mutex_lock(&lock);
	if (!shared && file) {
		fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC);
		shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (shared == MAP_FAILED)
			abort();
	}
	if (shared) {
		if (memcmp(seen, shared, DIGITS) != 0) {
			memcpy(seen, shared, DIGITS);
			count = 0;
		}
		snprintf(digits, sizeof(digits), "%.*s", DIGITS, seen);
		at = strtoul(digits + DIGITS / 2, NULL, 10);
		snprintf(shared + DIGITS, NOTE_MAX, "%lu %s %.300s\n", ++count, call, path);
		if (at && count >= at) {
			kill(getpid(), SIGKILL);
			pause();
		}
	}
	pthread_mutex_unlock(&lock);
}

/* Count only changes of files and folders, which include the kernel's files, but not the log. */
static void count_fd(const char *call, int fd)
{
	char link[64], path[300] = "";
	struct stat st;

	if (fd <= STDERR_FILENO || fstat(fd, &st) < 0 ||
	    (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (readlink(link, path, sizeof(path) - 1) < 0)
		return;
	count_one(call, path);
}

#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

/* Functions of an open file, and of a path. Parameters have the names of the library's headers. */
#define OF_FILE(type, name, fd, parameters, ...) \
	type name parameters                     \
	{                                        \
		count_fd(#name, fd);             \
		return REAL(name)(__VA_ARGS__);  \
	}
#define OF_PATH(name, path, parameters, ...)    \
	int name parameters                     \
	{                                       \
		count_one(#name, path);         \
		return REAL(name)(__VA_ARGS__); \
	}

OF_FILE(ssize_t, write, fd, (int fd, const void *buf, size_t n), fd, buf, n)
OF_FILE(ssize_t, pwrite, fd, (int fd, const void *buf, size_t n, off_t offset), fd, buf, n, offset)
OF_FILE(ssize_t, pwrite64, fd, (int fd, const void *buf, size_t n, off64_t offset), fd, buf, n,
	offset)
OF_FILE(int, ftruncate, fd, (int fd, off_t length), fd, length)
OF_FILE(int, ftruncate64, fd, (int fd, off64_t length), fd, length)
OF_FILE(int, fsync, fd, (int fd), fd)
OF_FILE(int, fdatasync, fildes, (int fildes), fildes)
OF_FILE(int, fchmod, fd, (int fd, mode_t mode), fd, mode)
OF_PATH(unlink, name, (const char *name), name)
OF_PATH(unlinkat, name, (int fd, const char *name, int flag), fd, name, flag)
OF_PATH(rename, old, (const char *old, const char *new), old, new)
OF_PATH(renameat, old, (int oldfd, const char *old, int newfd, const char *new), oldfd, old, newfd,
	new)
OF_PATH(mkdir, path, (const char *path, mode_t mode), path, mode)
OF_PATH(mkdirat, path, (int fd, const char *path, mode_t mode), fd, path, mode)
