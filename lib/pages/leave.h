/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether a memory block can leave, that is, be taken offline. The only code that judges this, for
 * `numastow blocks`, for a drain's plan and for the agent's report. It judges by what can be known
 * beforehand: that a page is pinned (by a device, or in a pipe) only a try shows.
 */

#include <stdbool.h>
#include <stddef.h>

#include "node/memblock.h"
#include "pages/owners.h"

enum stow_leave {
	STOW_LEAVE_YES, /* it is offline, or in zone Movable, or all of its pages can move */
	STOW_LEAVE_NO,
	STOW_LEAVE_UNKNOWN, /* only a try shows it */
};

/* "yes", "no", "unknown" */
const char *stow_leave_name(enum stow_leave can);

enum stow_leave_cause {
	STOW_LEAVE_NO_CAUSE,
	STOW_LEAVE_BOOT,  /* memory that the machine booted with, outside of zone Movable */
	STOW_LEAVE_SPANS, /* it is in several zones, or has holes */
	STOW_LEAVE_KEPT,  /* it has pages of the kernel's own */
};

struct stow_leave_verdict {
	enum stow_leave can;
	enum stow_leave_cause cause; /* of a NO, or of an UNKNOWN whose pages were read */
	char why[96];		     /* for users; "" */
};

/* Judge a block of `all`. `all` must have been read with STOW_MEMBLOCK_ZONES |
 * STOW_MEMBLOCK_DEVICE: without devices each block counts as boot memory, though zone Movable can
 * leave all the same. `use`: the block's pages; NULL when they were not read. */
struct stow_leave_verdict stow_leave_judge(const struct stow_memblocks *all,
					   const struct stow_memblock *block,
					   const struct stow_block_use *use);
/* Return whether the verdict depends on the block's pages. */
bool stow_leave_needs_use(const struct stow_memblocks *all, const struct stow_memblock *block);

/* Return whether the block came with a device and is online in a kernel zone, where the kernel may
 * put its own memory at any time. Most memory that a distribution brings online by itself is. */
bool stow_leave_is_luck(const struct stow_memblock *block);
/* What to do about that; a clause for use within a sentence. */
#define STOW_LEAVE_ADVICE                                                                 \
	"memory that must be removable has to come online in zone Movable "               \
	"(memhp_default_state=online_movable on the kernel's command line, or `numastow " \
	"online --zone movable`)"
