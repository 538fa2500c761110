/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Declarations shared by root.c and root_state.c: paths from formats, and ways to open them. */

#include <limits.h>
#include <stdarg.h>

#include "base/root.h"

/* A formatted path: "/proc/stat", or "cpuset.cpus" below a cgroup. */
struct stow_path {
	char text[PATH_MAX];
};

/* Format a path. -ENAMETOOLONG: it is longer than PATH_MAX. */
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

/* Open a path below the root's folder; no link leads out of it. Return the descriptor or -errno. */
int stow_root_open_beneath(struct stow_root *root, const char *path, int flags, mode_t mode);

/* Call the root's ops (`value`: the text to write, or NULL), then do the same, with an error that
 * names the path. In a copied tree, FIFOs, sockets and devices are -EINVAL. */
int stow_root_open_checked(struct stow_root *root, const char *path, const char *value, int flags,
			   mode_t mode, struct stow_err *err);
