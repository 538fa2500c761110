/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Clocks, in nanoseconds (clock_gettime(2)).
 *
 *	boot		for deadlines and ages: it continues while the machine is suspended, and
 *			cannot be set
 *	monotonic	for a running program's own waits: it stops while the machine is suspended,
 *			as the program does
 *	wall		for users and other machines: it may be wrong, and may jump
 */

#include <stdint.h>
#include <time.h>

#define STOW_SECOND UINT64_C(1000000000) /* ns */

static inline uint64_t stow_clock_read(clockid_t clock)
{
	struct timespec now = { 0 };

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * STOW_SECOND + (uint64_t)now.tv_nsec;
}

static inline uint64_t stow_clock_boot(void)
{
	return stow_clock_read(CLOCK_BOOTTIME);
}

static inline uint64_t stow_clock_monotonic(void)
{
	return stow_clock_read(CLOCK_MONOTONIC);
}

static inline uint64_t stow_clock_wall(void)
{
	return stow_clock_read(CLOCK_REALTIME);
}

/* Return the time of a clock in `ns` from now, for pthread_cond_timedwait(3). */
static inline struct timespec stow_clock_in(clockid_t clock, uint64_t ns)
{
	uint64_t at = stow_clock_read(clock) + ns;

	return (struct timespec){ .tv_sec = (time_t)(at / STOW_SECOND),
				  .tv_nsec = (long)(at % STOW_SECOND) };
}

/* Convert a time of the boot clock to the wall clock; 0 (never) stays 0. */
static inline uint64_t stow_clock_boot_to_wall(uint64_t boot)
{
	uint64_t now = stow_clock_boot(), wall = stow_clock_wall();

	if (!boot)
		return 0;
	return boot > now ? wall + (boot - now) : wall > now - boot ? wall - (now - boot) : 1;
}
