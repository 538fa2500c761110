/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How long the store's thread waits for callers before it begins a transaction.
 *
 * Callers that ask again as soon as they are answered split into two halves: while the transaction
 * of one half is written, the other half queues. Each transaction then has half of the callers, and
 * each caller waits for two transactions. So the thread waits a moment, until the callers that it
 * has just answered ask again. Whether that pays is found out by trying: after a wait in vain the
 * next transactions do not wait, more of them each time.
 *
 * For use under the store's lock.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stow_gather {
	uint64_t takes;		     /* ns that a transaction takes, on average */
	uint64_t answered;	     /* when the last callers were answered */
	size_t n_answered, expected; /* callers of the last transaction; of the next one */
	unsigned int skip;	     /* transactions that will begin without a wait */
	unsigned int skips;	     /* `skip` after the last wait in vain */
};

/* Note that a transaction of `answered` callers was written in `took` ns, while `queued` others
 * came. */
void stow_gather_wrote(struct stow_gather *gather, uint64_t took, size_t answered, size_t queued);

/* Note that these callers have been answered. */
void stow_gather_answered(struct stow_gather *gather, uint64_t now);

/* Return for how many ns to wait until *ret_wanted callers are queued, when `queued` are; 0: do not
 * wait. Call stow_gather_ended() after the wait. */
uint64_t stow_gather_begin(struct stow_gather *gather, uint64_t now, size_t queued,
			   size_t *ret_wanted);

/* Note how many callers were queued when the wait was over. */
void stow_gather_ended(struct stow_gather *gather, size_t queued);
