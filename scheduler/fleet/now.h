/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/clock.h"

/* Both clocks in ns. Wall time is shown to users, and kept in the store, which may be read by
 * another scheduler; it may jump, and differs from other machines'. Monotonic time is for deadlines
 * and for how long an agent was silent; it also runs while the machine is suspended. */
struct stow_now {
	uint64_t wall, mono;
};

struct stow_now stow_now(void);
