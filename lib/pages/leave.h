/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether a memory block can leave: be taken offline. The one judge of it, for `numastow blocks`,
 * for a drain's plan and for the agent's report. It says what can be known beforehand: a page that
 * is held (for a device, or in a pipe) is not seen until a try.
 */

#include <stdbool.h>
#include <stddef.h>

#include "node/memblock.h"
#include "pages/owners.h"

enum stow_leave {
	STOW_LEAVE_YES, /* it is offline, or in zone Movable, or nothing in it has to stay */
	STOW_LEAVE_NO,
	STOW_LEAVE_UNKNOWN, /* only a try shows it */
};

/* "yes", "no", "unknown" */
const char *stow_leave_name(enum stow_leave can);

enum stow_leave_cause {
	STOW_LEAVE_NO_CAUSE,
	STOW_LEAVE_BOOT,  /* the machine was started with it, and nobody has set it apart */
	STOW_LEAVE_SPANS, /* it is in several zones, or has holes */
	STOW_LEAVE_KEPT,  /* pages of the kernel's own are in it */
};

struct stow_leave_verdict {
	enum stow_leave can;
	enum stow_leave_cause cause; /* of a NO, or of an UNKNOWN whose contents were looked at */
	char why[96];		     /* for people; "" */
};

/* Judges a block of `all`, which was read with STOW_MEMBLOCK_ZONES | STOW_MEMBLOCK_DEVICE (without
 * the devices each block counts as boot memory; zone Movable can leave all the same). `use`: what
 * is in it; NULL where it was not looked at. */
struct stow_leave_verdict stow_leave_judge(const struct stow_memblocks *all,
					   const struct stow_memblock *block,
					   const struct stow_block_use *use);
/* Whether it depends on what is in the block. */
bool stow_leave_needs_use(const struct stow_memblocks *all, const struct stow_memblock *block);

/* Whether the block came with a device and is online in one of the kernel's zones, where the kernel
 * may put its own at any time: what memory that came online by itself mostly is. */
bool stow_leave_is_luck(const struct stow_memblock *block);
/* What to do about that; a clause without a beginning and an end. */
#define STOW_LEAVE_ADVICE                                                                 \
	"memory that is to leave again must come online in zone Movable "                 \
	"(memhp_default_state=online_movable on the kernel's command line, or `numastow " \
	"online --zone movable`)"
