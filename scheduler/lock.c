// SPDX-License-Identifier: Apache-2.0
#include "scheduler/lock.h"

#include <time.h>

#define YIELD_NS 20000L

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

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
	uint64_t held = now() - lock->since;

	stow_histogram_add(&lock->held, held);
	if (held > atomic_load_explicit(&lock->longest, memory_order_relaxed))
		atomic_store_explicit(&lock->longest, held, memory_order_relaxed);
}

void stow_lock_take(struct stow_lock *lock)
{
	pthread_mutex_lock(&lock->mutex);
	lock->since = now();
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
	lock->since = now();
}

void stow_lock_yield(struct stow_lock *lock)
{
	stow_lock_give(lock);
	nanosleep(&(struct timespec){ .tv_nsec = YIELD_NS }, NULL);
	stow_lock_take(lock);
}
