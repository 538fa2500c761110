/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The kernel's log from a certain moment on (/dev/kmsg, Documentation/ABI/testing/dev-kmsg).
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

/* Opens the log at its end; returns a descriptor. -ENOTSUP: not the live machine, or not to be had:
 * then nothing is proven. */
int stow_kmsg_open(struct stow_root *root, struct stow_err *err);
/* Page frames within [first, end) that the log says could not be moved or isolated since; each
 * once. To be freed. Reads on from where it was. */
int stow_kmsg_stuck(int fd, uint64_t first, uint64_t end, uint64_t **ret_pfns, size_t *ret_n,
		    struct stow_err *err);
/* The pure part: the page frame that a line of the log names as stuck, or 0. */
uint64_t stow_kmsg_line(const char *line);
