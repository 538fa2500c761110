/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The scheduler's clock, which a test can turn: unit tests are linked with --wrap=stow_now. */

#include <stdint.h>

/* Both of its times are that many ns later from now on. */
void clock_advance(uint64_t ns);
/* The wall clock alone is set: ahead, or (negative) back. */
void clock_set_wall(int64_t ns);
