/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/clock.h"

/* Wall time is for what is shown and compared between machines, the monotonic one (which goes on in
 * a suspended machine, too) for silence. Both in ns. */
struct stow_now {
	uint64_t wall, mono;
};

struct stow_now stow_now(void);

/* The time since then. Nothing when `then` is the later one: who waited for the lock may have an
 * older now than what was written under it. */
static inline uint64_t stow_elapsed(uint64_t then, uint64_t now)
{
	return now > then ? now - then : 0;
}
