/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* System calls for memory policies, for which the C library has no functions. */

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/idset.h"

/* The kernel subtracts one from the number of bits. */
#define STOW_NODE_BITS (STOW_IDSET_MAX + 1UL)

/* Set the memory policy of this thread (set_mempolicy(2)); `nodes` may be NULL. Return -errno. */
static inline int stow_set_mempolicy(int mode, const struct stow_idset *nodes)
{
	return syscall(SYS_set_mempolicy, mode, nodes ? nodes->bits : NULL,
		       nodes ? STOW_NODE_BITS : 0UL) < 0
		       ? -errno
		       : 0;
}

/* Set the memory policy of a range of memory (mbind(2)). Return -errno. */
static inline int stow_mbind(void *memory, size_t size, int mode, const struct stow_idset *nodes,
			     unsigned int flags)
{
	return syscall(SYS_mbind, memory, size, mode, nodes->bits, STOW_NODE_BITS, flags) < 0
		       ? -errno
		       : 0;
}
