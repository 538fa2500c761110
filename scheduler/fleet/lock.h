/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The fleet's lock, which measures itself: how long each holder had it is in a histogram, and the
 * longest of all beside it. Who holds it does bounded work (docs/scheduler.md, "Limits"), packs and
 * unpacks large messages before or after, and waits for nothing.
 */

#include <pthread.h>
#include <stdint.h>

#include "rpc/metrics.h"

struct stow_lock {
	pthread_mutex_t mutex;
	/* Who waits for it, and how many have had it: for a fair stow_lock_yield(). */
	_Atomic uint32_t waiting;
	_Atomic uint64_t taken;
	uint64_t since; /* monotonic, ns: when it was taken; with the mutex */
	struct stow_histogram held;
	_Atomic uint64_t longest; /* ns */
};

void stow_lock_init(struct stow_lock *lock);
void stow_lock_done(struct stow_lock *lock);

void stow_lock_take(struct stow_lock *lock);
void stow_lock_give(struct stow_lock *lock);
/* pthread_cond_wait(3): the wait counts as not held. */
void stow_lock_wait(struct stow_lock *lock, pthread_cond_t *condition);
/* Gives it up for a moment in the middle of much work, so that those who wait get it: a mutex alone
 * would be taken again before they have woken. One of them had it when this returns, or half a
 * millisecond is over. What was read under it may have changed. */
void stow_lock_yield(struct stow_lock *lock);
