/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reading whole texts, within bounds, and writing them. Files of the kernel and our own state are
 * read through the root, which uses these functions: base/root.h.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Read a descriptor to its end and terminate the text, which the caller frees. Errors begin with
 * `name`. -E2BIG: it is longer than `max` bytes. Up to 64 KiB are read without enlarging the
 * buffer, so that no copy of a private key stays in freed memory. */
int stow_read_all(int fd, size_t max, const char *name, char **ret_text, size_t *ret_len,
		  struct stow_err *err);

/* Do the same, but stop after `most` bytes: of a text of that length, more may be left to read. */
int stow_read_most(int fd, size_t most, const char *name, char **ret_text, size_t *ret_len,
		   struct stow_err *err);

/* Read a file that the administrator has named, like stow_read_all(). */
int stow_read_file(const char *path, size_t max, char **ret_text, size_t *ret_len,
		   struct stow_err *err);

/* Read a short file from its beginning, wherever the descriptor is in it, into the caller's buffer;
 * terminate the text and remove one newline. Return its length or -errno; -E2BIG: it is longer than
 * size - 1 bytes. A short read is taken as the end: it is for most kernel files, and for files of a
 * file system. (Not for lists that the kernel prints line by line, such as cgroup.procs or
 * mountinfo.) */
int stow_read_short(int fd, char *buf, size_t size);

/* Return a number that differs after one of the files was changed, replaced, created or removed.
 * NULL paths are skipped. */
uint64_t stow_read_stamp(const char *const *paths, size_t n);

/* Write a whole text. Return 0 or -errno. */
int stow_write_all(int fd, const char *text, size_t len);
