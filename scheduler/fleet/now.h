/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/clock.h"

/* Both clocks in ns. Wall time is shown to users and compared between machines. Monotonic time
 * measures how long an agent was silent; it also runs while the machine is suspended. */
struct stow_now {
	uint64_t wall, mono;
};

struct stow_now stow_now(void);

/* Return the time since `then`; 0 when `then` is later. A thread that waited for the lock may
 * have read its clock before the other thread wrote `then`. */
static inline uint64_t stow_elapsed(uint64_t then, uint64_t now)
{
	return now > then ? now - then : 0;
}
