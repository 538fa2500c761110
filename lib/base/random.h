/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/* Return 64 random bits, for what no other program may have or guess. Wait until the kernel's
 * random numbers are initialized (getrandom(2)). */
uint64_t stow_random(void);
/* Return a number for pauses that are to differ from those of other programs. Do not wait: before
 * the kernel's random numbers are initialized, it is the time. */
uint64_t stow_random_soon(void);

#define STOW_RANDOM_ID_LEN 32

/* Make an id that no other caller has: 128 random bits as hexadecimal digits. */
void stow_random_id(char ret[STOW_RANDOM_ID_LEN + 1]);
