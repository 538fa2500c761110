/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The fleet's lock. It records how long it was held: a histogram, and the longest time. A holder
 * does bounded work (docs/scheduler.md, "Limits") and never waits; it packs and unpacks large
 * messages before or afterwards.
 */

#include <pthread.h>
#include <stdint.h>

#include "rpc/metrics.h"

struct stow_lock {
	pthread_mutex_t mutex;
	/* Number of waiters, and of acquisitions: they make stow_lock_yield() fair. */
	_Atomic uint32_t waiting;
	_Atomic uint64_t taken;
	uint64_t since; /* monotonic, ns: when it was taken; under the mutex */
	struct stow_histogram held;
	_Atomic uint64_t longest; /* ns */
};

void stow_lock_init(struct stow_lock *lock);
void stow_lock_done(struct stow_lock *lock);

void stow_lock_take(struct stow_lock *lock);
void stow_lock_give(struct stow_lock *lock);
/* Release the lock for a moment, so that a waiter gets it: after a plain unlock this thread
 * would lock the mutex again before a waiter has woken. Return when a waiter has had the lock,
 * or after half a millisecond. Data read before may have changed. */
void stow_lock_yield(struct stow_lock *lock);
