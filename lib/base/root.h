/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The root: the only access to the kernel's files, and to numastow's own state.
 *
 * /sys, /proc, the cgroup file systems, /run/numastow and /etc/numastow are read and written only
 * through a struct stow_root, with the absolute path as a literal at the call. The root is "/" on a
 * live machine or a folder that holds a copy of another machine's tree; then nothing, not even an
 * absolute or ../ symbolic link inside the copy, leads out of it (openat2(2), RESOLVE_IN_ROOT).
 *
 * `live` tells whether the tree is this machine's: system calls that act on the machine itself
 * (moving pages, checking whether a process is alive) must not be made for another machine's tree.
 *
 * Reads are bounded, return the whole file, and accept only regular files: FIFOs and devices in
 * their place are -EINVAL, at once, and in a copied tree are not even opened. So are links and
 * folders in the place of files in /run/numastow.
 *
 * A write is one write(2), as kernel files require, with O_TRUNC (without it "offline" over a
 * copied "online_movable" leaves "offlinemovable") and never O_CREAT. A write that succeeds may
 * still be without effect: callers read back what the kernel made of it.
 */

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/idset.h"

struct stat;
struct stow_root;

/* Data that lib/cgroup caches for a tree. It is the first member of the cached struct, so that the
 * data and its destructor appear at once. */
struct stow_cached {
	void (*free)(struct stow_cached *cached);
};

/* Hooks around every access: for fault injection, and for simulating a kernel's reactions in a
 * copied tree. `path` is absolute within the root; `value` is the text to write, or NULL. */
struct stow_root_ops {
	void *ctx;
	/* Called before the access; a negative errno fails it. */
	int (*before)(void *ctx, const char *path, const char *value);
	/* Called after a successful write. */
	void (*wrote)(void *ctx, struct stow_root *root, const char *path, const char *value);
};

struct stow_root {
	int fd;	      /* the folder */
	bool live;    /* this machine's own tree */
	char *prefix; /* what "/" stands for: "" on a live root; no slash at its end */
	char *dir;    /* the folder's path within the whole tree; "" for the root itself */
	const struct stow_root_ops *ops; /* may be NULL; belongs to the caller */
	struct stow_cached *cached;	 /* see stow_root_cache() */
};

#define STOW_ROOT_READ_MAX (4U << 20) /* bytes; all kernel files that are read are smaller */

/* Open `path` ("/" for the live machine). Free *ret_root with stow_root_free(). -ENOSYS: `path` is
 * a copy, and the kernel has no openat2(2) (before 5.6). */
int stow_root_open(const char *path, struct stow_root **ret_root, struct stow_err *err);
void stow_root_free(struct stow_root *root);

/* Get and set the tree's cached data, which stays until the root is freed; NULL: none. Threads may
 * call both at once: the first stow_root_cache() keeps `cached`, later ones free theirs. Both
 * return what is kept. */
struct stow_cached *stow_root_cached(struct stow_root *root);
struct stow_cached *stow_root_cache(struct stow_root *root, struct stow_cached *cached);

/* Make a root whose "/" is the folder named by the format: for a cgroup, which is opened once and
 * then stays the same directory whatever happens to its name. */
int stow_root_sub(struct stow_root *root, struct stow_root **ret_sub, struct stow_err *err,
		  const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Open a file or directory; O_CLOEXEC is added. Return the descriptor or -errno. */
int stow_root_openat(struct stow_root *root, int flags, mode_t mode, struct stow_err *err,
		     const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Read the whole file, terminated, without one trailing newline; the caller frees the text. -E2BIG:
 * longer than `max` bytes. `ret_len` may be NULL. */
int stow_root_read(struct stow_root *root, size_t max, char **ret_text, size_t *ret_len,
		   struct stow_err *err, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));

/* Read a short file into the caller's buffer; otherwise as stow_root_read(). Return the length. It
 * uses a single read(2): of a list that the kernel prints line by line, this may return only the
 * beginning. */
int stow_root_read_buf(struct stow_root *root, char *buf, size_t size, struct stow_err *err,
		       const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Read a file that holds one decimal number. */
int stow_root_read_u64(struct stow_root *root, uint64_t *ret, struct stow_err *err, const char *fmt,
		       ...) __attribute__((format(printf, 4, 5)));

/* Read a file in list format, such as a cpulist. */
int stow_root_read_idset(struct stow_root *root, struct stow_idset *ret, struct stow_err *err,
			 const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Write `value` in one write(2); a short write is -EIO. */
int stow_root_write(struct stow_root *root, const char *value, struct stow_err *err,
		    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int stow_root_write_u64(struct stow_root *root, uint64_t value, struct stow_err *err,
			const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Return 1 when it exists (links followed, except in /run/numastow), 0 when not, -errno when that
 * cannot be determined. */
int stow_root_exists(struct stow_root *root, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Get the status of a file or directory (stat(2), links followed); return 0 or -errno. */
int stow_root_stat(struct stow_root *root, struct stat *ret, struct stow_err *err, const char *fmt,
		   ...) __attribute__((format(printf, 4, 5)));

/* Open a directory for readdir(3); NULL with errno and `err` set when that fails. */
DIR *stow_root_opendir(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Read the text of a symbolic link, unresolved. Return its length, truncated to `size` - 1. */
int stow_root_readlink(struct stow_root *root, char *buf, size_t size, struct stow_err *err,
		       const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Collect the numbers N of the entries "PREFIXN" of a directory, such as node0, node4 (prefix
 * "node"). A missing directory gives the empty set. */
int stow_root_list_ids(struct stow_root *root, const char *dir, const char *prefix,
		       struct stow_idset *ret, struct stow_err *err);

/* The folder of numastow's own files. */
#define STOW_RUN_DIR "/run/numastow"

/* The functions below are for numastow's own state files. */

/* Create a folder and its parents, mode 0755. */
int stow_root_mkdir(struct stow_root *root, const char *path, struct stow_err *err);
/* Replace a file atomically: written aside, then renamed. A folder of that name is renamed to
 * NAME.damaged-PID. */
int stow_root_replace(struct stow_root *root, const char *path, const char *text, mode_t mode,
		      struct stow_err *err);
/* The same if no file has that name; otherwise -EEXIST. */
int stow_root_create(struct stow_root *root, const char *path, const char *text, mode_t mode,
		     struct stow_err *err);
/* Create a symbolic link, or -EEXIST. */
int stow_root_symlink(struct stow_root *root, const char *path, const char *target,
		      struct stow_err *err);
/* Remove a file. A missing one is success; a folder of that name is renamed as above. */
int stow_root_unlink(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Remove an empty folder, or a cgroup without processes. A missing one is success. */
int stow_root_rmdir(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Hold a lock file exclusively until stow_root_unlock(), or until the process dies; of
 * stow_root_lock_byte(), one byte of it, or with -1 all of it. Return a descriptor. The process
 * must not be stopped meanwhile, because others wait for the lock: a terminal's stop signals
 * (SIGTSTP, SIGTTIN, SIGTTOU) are blocked in this thread until it has unlocked all, and then take
 * effect. */
int stow_root_lock(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int stow_root_lock_byte(struct stow_root *root, int64_t byte, const char *path,
			struct stow_err *err);
/* Unlock, in the thread that has locked, and make `lock` negative. A negative one is not held. */
void stow_root_unlock(int *lock);
#define _cleanup_unlock_ _cleanup_(stow_root_unlock)

/* Convert an absolute path in the root to a path of the file system, for libraries that open files
 * by name. */
int stow_root_path(struct stow_root *root, const char *path, char **ret_path, struct stow_err *err);

STOW_DEFINE_CLEANUP(stow_root_free, struct stow_root);
