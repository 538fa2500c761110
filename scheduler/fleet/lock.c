// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/lock.h"

#include <time.h>

#include "base/clock.h"

#define YIELD_NS 20000L

void stow_lock_init(struct stow_lock *lock)
{
	pthread_mutex_init(&lock->mutex, NULL);
}

void stow_lock_done(struct stow_lock *lock)
{
	pthread_mutex_destroy(&lock->mutex);
}

/* With the mutex: only its holder writes `longest`. */
static void measure(struct stow_lock *lock)
{
	uint64_t held = stow_clock_monotonic() - lock->since;

	stow_histogram_add(&lock->held, held);
	if (held > atomic_load_explicit(&lock->longest, memory_order_relaxed))
		atomic_store_explicit(&lock->longest, held, memory_order_relaxed);
}

void stow_lock_take(struct stow_lock *lock)
{
	pthread_mutex_lock(&lock->mutex);
	lock->since = stow_clock_monotonic();
}

void stow_lock_give(struct stow_lock *lock)
{
	measure(lock);
	pthread_mutex_unlock(&lock->mutex);
}

void stow_lock_wait(struct stow_lock *lock, pthread_cond_t *condition)
{
	measure(lock);
	pthread_cond_wait(condition, &lock->mutex);
	lock->since = stow_clock_monotonic();
}

void stow_lock_yield(struct stow_lock *lock)
{
	stow_lock_give(lock);
	nanosleep(&(struct timespec){ .tv_nsec = YIELD_NS }, NULL);
	stow_lock_take(lock);
}
