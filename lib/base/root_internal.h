/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What root.c and root_state.c share: paths from formats, and the ways to open them. */

#include <limits.h>
#include <stdarg.h>

#include "base/root.h"

/* A path as the caller gave it, formatted: "/proc/stat", or "cpuset.cpus" below a cgroup. */
struct stow_path {
	char text[PATH_MAX];
};

/* -ENAMETOOLONG: the path is longer than PATH_MAX. */
int stow_root_format(struct stow_path *path, const char *fmt, va_list ap, struct stow_err *err)
	__attribute__((format(printf, 2, 0)));

#define STOW_PATH_FROM_ARGS(path, fmt, err)                 \
	({                                                  \
		va_list _ap;                                \
		int _r;                                     \
                                                            \
		va_start(_ap, fmt);                         \
		_r = stow_root_format(path, fmt, _ap, err); \
		va_end(_ap);                                \
		_r;                                         \
	})

/* Opens a path below the root's folder, out of which no link leads. Returns the descriptor or
 * -errno. */
int stow_root_open_beneath(struct stow_root *root, const char *path, int flags, mode_t mode);

/* The same, with an error that names the path, after the root's ops were asked (`value`: what will
 * be written, or NULL). In a copied tree, FIFOs, sockets and devices are -EINVAL. */
int stow_root_open_checked(struct stow_root *root, const char *path, const char *value, int flags,
			   mode_t mode, struct stow_err *err);
