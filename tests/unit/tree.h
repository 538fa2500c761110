/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Small copies of /sys and /proc that a test makes for itself, in a folder that goes with them.
 *
 * Every function ends the test (with its file and line) when it fails, so that tests need not
 * check. Paths are absolute within the tree; folders are made as needed.
 */

#include "base/root.h"

struct tree {
	char *dir;		/* the folder in the file system */
	struct stow_root *root; /* freed with the tree */
};

/* Skips the calling test where the kernel cannot read copies (no openat2(2)). */
struct tree *tree_new(void);
void tree_free(struct tree *tree);

/* A file with the formatted text, exactly: kernel files end in a newline, so give one. */
void tree_write(struct tree *tree, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same with the text as it stands, for long or odd contents. */
void tree_write_data(struct tree *tree, const char *path, const void *data, size_t len);

void tree_mkdir(struct tree *tree, const char *path);
void tree_link(struct tree *tree, const char *path, const char *target);
void tree_remove(struct tree *tree, const char *path); /* a file or a whole folder */

/* What is in the file now, to be freed by the caller. */
char *tree_read(struct tree *tree, const char *path);

static inline void tree_free_ptr(struct tree **tree)
{
	if (*tree)
		tree_free(*tree);
	*tree = NULL;
}
