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

#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "base/math.h"

#define STOW_MILLISECOND UINT64_C(1000000) /* ns */
#define STOW_SECOND	 (1000 * STOW_MILLISECOND)

/* Read one clock, in ns since its own beginning. */
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

/* Return ns since 1970. */
static inline uint64_t stow_clock_wall(void)
{
	return stow_clock_read(CLOCK_REALTIME);
}

/* Convert a duration or a moment to what system calls take. */
static inline struct timespec stow_clock_timespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / STOW_SECOND),
				  .tv_nsec = (long)(ns % STOW_SECOND) };
}

/* Return the moment `ns` from now, as pthread_cond_timedwait(3) takes it for a condition of
 * stow_clock_cond_init(). By the wall clock, a wait would last an hour longer when that is set back
 * by an hour. */
static inline struct timespec stow_clock_in(uint64_t ns)
{
	return stow_clock_timespec(stow_saturating_add(stow_clock_read(CLOCK_MONOTONIC), ns));
}

/* Return the time since `then`. It is 0 when `then` is the later one: a thread that waited for a
 * lock may have an older now than what was written under the lock. */
static inline uint64_t stow_clock_elapsed(uint64_t then, uint64_t now)
{
	return stow_saturating_sub(now, then);
}

/* Return the milliseconds from `now` to `until`, as poll(2) takes them: rounded up, so that a wait
 * does not end before; 0 when `until` has passed. */
static inline int stow_clock_ms_left(uint64_t now, uint64_t until)
{
	uint64_t ns = stow_clock_elapsed(now, until);
	uint64_t ms = ns / STOW_MILLISECOND + (ns % STOW_MILLISECOND > 0);

	return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* Sleep for `ns`, or until a signal is handled. */
static inline void stow_clock_sleep(uint64_t ns)
{
	struct timespec t = stow_clock_timespec(ns);

	if (ns)
		nanosleep(&t, NULL);
}

/* Initialize a condition that is waited for with moments of the monotonic clock. */
static inline void stow_clock_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

/* Convert a moment of the boot clock to what the wall clock will show then; 0 (never) stays 0. */
static inline uint64_t stow_clock_boot_to_wall(uint64_t boot)
{
	uint64_t now = stow_clock_boot(), wall = stow_clock_wall();

	if (!boot)
		return 0;
	return boot > now ? wall + (boot - now) : wall > now - boot ? wall - (now - boot) : 1;
}
