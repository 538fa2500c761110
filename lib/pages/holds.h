/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a process has that may keep pages where they are: memory pinned or locked, and open files
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
	bool pipe; /* both ends of one pipe: what is in there, nobody else reads */
};

/* Of a process that has ended: nothing. */
void stow_holds_read(struct stow_root *root, pid_t pid, struct stow_holds *ret);

/* Whether it may have pinned something. Locked memory moves, and every shell has pipes. */
static inline bool stow_holds_pins(const struct stow_holds *holds)
{
	return holds->pinned || holds->vfio || holds->io_uring || holds->rdma;
}

/* "1.5Gi pinned (vfio)", "64Mi locked", "vfio open"; "" for nothing. Returns `buf`. */
const char *stow_holds_format(const struct stow_holds *holds, char *buf, size_t size);
/* The same of a process: "1.5Gi pinned (vfio)", "64Mi locked"; "" for nothing. */
const char *stow_process_holds(struct stow_root *root, pid_t pid, char *buf, size_t size);
