/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#define STOW_RANDOM_ID_LEN 32

/* Make an id that no other caller has: 128 random bits as hexadecimal digits. Wait until the
 * kernel's random numbers are initialized (getrandom(2)). */
void stow_random_id(char ret[STOW_RANDOM_ID_LEN + 1]);
