/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The scheduler's clock, which a test can set: unit tests are linked with --wrap=stow_now. */

#include <stdint.h>

/* Advance both of its clocks, monotonic and wall, by that many ns. */
void clock_advance(uint64_t ns);
/* Set only the wall clock: forward, or (negative) back. */
void clock_set_wall(int64_t ns);
