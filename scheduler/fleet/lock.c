// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/lock.h"

#include "base/clock.h"

#define YIELD_NS   20000
#define YIELD_MOST 8 /* sleeps of YIELD_NS, which the kernel makes somewhat longer */

void stow_lock_init(struct stow_lock *lock)
{
	pthread_mutex_init(&lock->mutex, NULL);
}

void stow_lock_done(struct stow_lock *lock)
{
	pthread_mutex_destroy(&lock->mutex);
}

void stow_lock_take(struct stow_lock *lock)
{
	if (pthread_mutex_trylock(&lock->mutex) != 0) {
		atomic_fetch_add_explicit(&lock->waiting, 1, memory_order_relaxed);
		pthread_mutex_lock(&lock->mutex);
		atomic_fetch_sub_explicit(&lock->waiting, 1, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&lock->taken, 1, memory_order_relaxed);
	lock->since = stow_clock_monotonic();
}

void stow_lock_give(struct stow_lock *lock)
{
	uint64_t held = stow_clock_monotonic() - lock->since;

	stow_histogram_add(&lock->held, held);
	/* Only the holder writes it. */
	if (held > atomic_load_explicit(&lock->longest, memory_order_relaxed))
		atomic_store_explicit(&lock->longest, held, memory_order_relaxed);
	pthread_mutex_unlock(&lock->mutex);
}

void stow_lock_yield(struct stow_lock *lock)
{
	uint64_t taken = atomic_load_explicit(&lock->taken, memory_order_relaxed);

	stow_lock_give(lock);
	/* Try at least once: a thread that is about to wait may not be counted yet. */
	for (int i = 0; i < YIELD_MOST; i++) {
		stow_clock_sleep(YIELD_NS);
		if (atomic_load_explicit(&lock->waiting, memory_order_relaxed) == 0 ||
		    atomic_load_explicit(&lock->taken, memory_order_relaxed) != taken)
			break;
	}
	stow_lock_take(lock);
}
