// SPDX-License-Identifier: Apache-2.0
#include "base/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

void stow_random_id(char ret[STOW_RANDOM_ID_LEN + 1])
{
	uint64_t random[2] = { 0 };

	while (getrandom(random, sizeof(random), 0) != sizeof(random))
		;
	snprintf(ret, STOW_RANDOM_ID_LEN + 1, "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
}
