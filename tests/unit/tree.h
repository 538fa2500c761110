/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Small trees like /sys and /proc that a test makes, each in a folder that is removed with it.
 *
 * Every function ends the test (with its file and line) when it fails, so that tests need not
 * check. Paths are absolute within the tree; folders are made as needed.
 */

#include "base/root.h"

struct tree {
	char *dir;		/* the folder in the file system */
	struct stow_root *root; /* freed with the tree */
};

/* Make a tree. Skip the test where the kernel cannot read trees (no openat2(2)). */
struct tree *tree_new(void);
void tree_free(struct tree *tree);

/* Write a file with exactly this text: the kernel's files end in a newline, so pass one. */
void tree_write(struct tree *tree, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Do the same without formatting, for long contents or any bytes. */
void tree_write_data(struct tree *tree, const char *path, const void *data, size_t len);

void tree_mkdir(struct tree *tree, const char *path);
void tree_link(struct tree *tree, const char *path, const char *target);
void tree_remove(struct tree *tree, const char *path); /* a file or a whole folder */

/* Read a file; the caller frees the text. */
char *tree_read(struct tree *tree, const char *path);

static inline void tree_free_ptr(struct tree **tree)
{
	if (*tree)
		tree_free(*tree);
	*tree = NULL;
}
