/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The root: the one door to every file of the kernel, and to our own state.
 *
 * All of /sys, /proc, the cgroup file systems, /run/numastow and /etc/numastow is read and written
 * through a struct stow_root, with the absolute path as a literal at the call. The root is "/" on a
 * live machine or a folder that holds a copy of another machine's tree; then nothing, not even an
 * absolute or ../ symbolic link inside the copy, leads out of it (openat2(2), RESOLVE_IN_ROOT).
 *
 * `live` says whether the tree is this machine's: what is a system call rather than a file access
 * (moving pages, asking whether a process lives) must not be made for another machine's tree.
 *
 * Reads are bounded, take the whole file, and only ever of a regular file: FIFOs and devices that
 * stand in its place are -EINVAL, at once, and in a copied tree are not even opened. A write is one
 * write(2), as kernel files want it, with O_TRUNC (without it "offline" over a copied
 * "online_movable" leaves "offlinemovable") and never O_CREAT. Success of a write says little:
 * callers read back what the kernel made of it.
 */

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"

struct stat;
struct stow_root;

/* What lib/cgroup caches of a tree and need not read again: the first member of the
 * learner's own struct, so that what is kept and how it is freed appear at once. */
struct stow_cached {
	void (*free)(struct stow_cached *cached);
};

/* Watches every access: for fault injection, and for playing a kernel's reactions in a copied
 * tree. `path` is absolute within the root, `value` is the text written or NULL. */
struct stow_root_ops {
	void *ctx;
	/* Returns 0, or -errno to fail the access before it is made. */
	int (*before)(void *ctx, const char *path, const char *value);
	/* After a successful write. */
	void (*wrote)(void *ctx, struct stow_root *root, const char *path, const char *value);
};

struct stow_root {
	int fd;	      /* the folder */
	bool live;    /* this machine's own tree */
	char *prefix; /* what "/" stands for: "" on a live root; no slash at its end */
	char *dir;    /* the folder's own path within the whole tree: "" for the root itself */
	const struct stow_root_ops *ops; /* may be NULL; belongs to the caller */
	struct stow_cached *cached;	 /* see stow_root_cache() */
};

#define STOW_ROOT_READ_MAX (4U << 20) /* bytes; no kernel file that we read is larger */

/* Opens `path` ("/" for the live machine). *ret_root is freed with stow_root_free().
 * -ENOSYS: a copy was asked for and the kernel has no openat2(2) (before 5.6). */
int stow_root_open(const char *path, struct stow_root **ret_root, struct stow_err *err);
void stow_root_free(struct stow_root *root);

/* What is cached of the tree, or NULL; it stays until the root is freed. Threads may ask
 * and cache at once: the first stow_root_cache() keeps `cached`, later ones free theirs. Returns
 * what is kept. */
struct stow_cached *stow_root_cached(struct stow_root *root);
struct stow_cached *stow_root_cache(struct stow_root *root, struct stow_cached *cached);

/* A root whose "/" is the folder named by the format: for a cgroup, which is opened once and then
 * stays the same directory whatever happens to its name. */
int stow_root_sub(struct stow_root *root, struct stow_root **ret_sub, struct stow_err *err,
		  const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Opens a file or directory; O_CLOEXEC is added. Returns the descriptor or -errno. */
int stow_root_openat(struct stow_root *root, int flags, mode_t mode, struct stow_err *err,
		     const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The whole file, terminated, with one trailing newline cut off; to be freed by the caller.
 * -E2BIG: longer than `max` bytes. `ret_len` may be NULL. */
int stow_root_read(struct stow_root *root, size_t max, char **ret_text, size_t *ret_len,
		   struct stow_err *err, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));

/* A short file into the caller's buffer; otherwise as stow_root_read(). Returns the length. It is
 * read at once: of a list that the kernel prints line by line, only the beginning may come. */
int stow_root_read_buf(struct stow_root *root, char *buf, size_t size, struct stow_err *err,
		       const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* A file that holds one decimal number. */
int stow_root_read_u64(struct stow_root *root, uint64_t *ret, struct stow_err *err, const char *fmt,
		       ...) __attribute__((format(printf, 4, 5)));

/* A file in list format, such as a cpulist. */
int stow_root_read_idset(struct stow_root *root, struct stow_idset *ret, struct stow_err *err,
			 const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Writes `value` in one write(2); a short write is -EIO. */
int stow_root_write(struct stow_root *root, const char *value, struct stow_err *err,
		    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int stow_root_write_u64(struct stow_root *root, uint64_t value, struct stow_err *err,
			const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* 1 when it is there (links followed), 0 when not, -errno when that cannot be told. */
int stow_root_exists(struct stow_root *root, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Says what a file or directory is (stat(2), links followed); returns 0 or -errno. */
int stow_root_stat(struct stow_root *root, struct stat *ret, struct stow_err *err, const char *fmt,
		   ...) __attribute__((format(printf, 4, 5)));

/* Opens a directory for readdir(3); NULL with errno and `err` set when that fails. */
DIR *stow_root_opendir(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The text of a symbolic link, unresolved. Returns its length, cut to `size` - 1. */
int stow_root_readlink(struct stow_root *root, char *buf, size_t size, struct stow_err *err,
		       const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Numbers N of the entries "PREFIXN" of a directory, such as node0, node4 (prefix "node").
 * A directory that is missing is the empty set. */
int stow_root_list_ids(struct stow_root *root, const char *dir, const char *prefix,
		       struct stow_idset *ret, struct stow_err *err);

/* Our own state files, which unlike the kernel's are created: the folder (mode 0755, parents
 * too), a file replaced as a whole (written aside, then renamed) or, the same way, made if there is
 * none of that name (else -EEXIST), a file removed (missing is success), a lock file held
 * exclusively until the descriptor is closed or the process dies. */
int stow_root_mkdir(struct stow_root *root, const char *path, struct stow_err *err);
int stow_root_replace(struct stow_root *root, const char *path, const char *text, mode_t mode,
		      struct stow_err *err);
int stow_root_create(struct stow_root *root, const char *path, const char *text, mode_t mode,
		     struct stow_err *err);
int stow_root_unlink(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int stow_root_lock(struct stow_root *root, struct stow_err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The file-system path of an absolute path in the root, for libraries that open files by name. */
int stow_root_path(struct stow_root *root, const char *path, char **ret_path, struct stow_err *err);

static inline void stow_root_free_ptr(struct stow_root **root)
{
	if (*root)
		stow_root_free(*root);
}
