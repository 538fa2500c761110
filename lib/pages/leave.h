/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether a memory block can be taken offline. `numastow blocks`, a drain's plan and the agent's
 * report all ask this code. It uses what can be known beforehand: only an attempt shows that a page
 * is pinned (by a device, or in a pipe).
 */

#include <stdbool.h>
#include <stddef.h>

#include "node/memblock.h"
#include "pages/owners.h"

enum stow_leave {
	STOW_LEAVE_YES, /* it is offline, or in zone Movable, or all of its pages can move */
	STOW_LEAVE_NO,
	STOW_LEAVE_UNKNOWN, /* only an attempt shows it */
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

/* Check a block of `all`, which must have been read with STOW_MEMBLOCK_ZONES |
 * STOW_MEMBLOCK_DEVICE: without devices each block outside of zone Movable counts as boot memory.
 * `use`: the block's pages; NULL when they were not read. */
struct stow_leave_verdict stow_leave_check(const struct stow_memblocks *all,
					   const struct stow_memblock *block,
					   const struct stow_block_use *use);
/* Return whether the verdict depends on the block's pages. */
bool stow_leave_needs_use(const struct stow_memblocks *all, const struct stow_memblock *block);

/* Return whether the block came with a device and is online in a kernel zone, where the kernel may
 * put its own memory at any time. Most distributions bring added memory online so. */
bool stow_leave_is_at_risk(const struct stow_memblock *block);
/* What to do about that; a clause for use within a sentence. */
#define STOW_LEAVE_ADVICE                                                                 \
	"memory that must be removable has to come online in zone Movable "               \
	"(memhp_default_state=online_movable on the kernel's command line, or `numastow " \
	"online --zone movable`)"
