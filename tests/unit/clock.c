// SPDX-License-Identifier: Apache-2.0
#include "clock.h"

#include <stdatomic.h>

#include "scheduler/fleet/fleet.h"

static _Atomic uint64_t turned, wall_set;

struct stow_now __real_stow_now(void);
struct stow_now __wrap_stow_now(void);

struct stow_now __wrap_stow_now(void)
{
	struct stow_now now = __real_stow_now();

	now.wall += atomic_load(&turned) + atomic_load(&wall_set);
	now.mono += atomic_load(&turned);
	return now;
}

void clock_advance(uint64_t ns)
{
	atomic_fetch_add(&turned, ns);
}

void clock_set_wall(int64_t ns)
{
	atomic_fetch_add(&wall_set, (uint64_t)ns);
}
