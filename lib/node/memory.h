/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A node's memory: its amounts (meminfo). What is available of it is in node/zones.h.
 *
 * The parser is a pure function over a text that need not be terminated, so that it can be fuzzed;
 * unknown lines are skipped, because every kernel release adds some.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

struct stow_meminfo {
	uint64_t total; /* bytes */
	uint64_t free;	/* bytes */
};

/* Parse /proc/meminfo or a node's meminfo (where lines begin with "Node N "). A missing line counts
 * as 0. -EINVAL: a needed line has no number; -ERANGE: over 2^64 bytes. */
int stow_meminfo_parse(const char *text, size_t len, struct stow_meminfo *ret,
		       struct stow_err *err);

/* Read a node's meminfo. -ENOENT: there is no such node, or it has no such file. */
int stow_meminfo_read(struct stow_root *root, int node, struct stow_meminfo *ret,
		      struct stow_err *err);
