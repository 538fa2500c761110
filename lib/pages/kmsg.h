/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The kernel's log from a given moment on (/dev/kmsg, Documentation/ABI/testing/dev-kmsg).
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

/* Open the log at its end; return a descriptor. -ENOTSUP: not the live machine, or the log is not
 * available; then no culprit can be found. */
int stow_kmsg_open(struct stow_root *root, struct stow_err *err);
/* List the page frames within [first, end) that the kernel has logged since as impossible to move
 * or isolate, each once; the caller frees the list. A later call continues from here. */
int stow_kmsg_stuck(int fd, uint64_t first, uint64_t end, uint64_t **ret_pfns, size_t *ret_n,
		    struct stow_err *err);
/* Parse a line of the log: return the page frame that it names as stuck, or 0. */
uint64_t stow_kmsg_line(const char *line);
