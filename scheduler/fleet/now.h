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
