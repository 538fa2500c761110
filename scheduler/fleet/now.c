// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/now.h"

struct stow_now stow_now(void)
{
	return (struct stow_now){ .wall = stow_clock_wall(), .mono = stow_clock_boot() };
}
