// SPDX-License-Identifier: Apache-2.0
#include "base/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/clock.h"

uint64_t stow_random(void)
{
	uint64_t random = 0;

	while (getrandom(&random, sizeof(random), 0) != sizeof(random))
		;
	return random;
}

uint64_t stow_random_soon(void)
{
	uint64_t random;

	return getrandom(&random, sizeof(random), GRND_NONBLOCK) == sizeof(random)
		       ? random
		       : stow_clock_monotonic();
}

void stow_random_id(char ret[STOW_RANDOM_ID_LEN + 1])
{
	snprintf(ret, STOW_RANDOM_ID_LEN + 1, "%016" PRIx64 "%016" PRIx64, stow_random(),
		 stow_random());
}
