/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a process has that may prevent pages from moving: pinned or locked memory, and open files
 * that pin memory.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/root.h"

struct stow_holds {
	uint64_t pinned, locked; /* bytes: VmPin, VmLck */
	bool vfio, io_uring, rdma;
	bool pipe; /* it has both ends of a pipe, which no other process reads */
};

/* Read this for a process; nothing for a process that has ended. */
void stow_holds_read(struct stow_root *root, pid_t pid, struct stow_holds *ret);

/* Return whether the process may have pinned memory. Locked memory can move, and every shell has
 * pipes. */
static inline bool stow_holds_pins(const struct stow_holds *holds)
{
	return holds->pinned || holds->vfio || holds->io_uring || holds->rdma;
}

/* Format as "1.5Gi pinned (vfio)", "64Mi locked", "vfio open"; "" for nothing. Return `buf`. */
const char *stow_holds_format(const struct stow_holds *holds, char *buf, size_t size);
/* Read and format this for a process. */
const char *stow_process_holds(struct stow_root *root, pid_t pid, char *buf, size_t size);
