/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How long the store's thread waits for callers before it begins a transaction.
 *
 * Callers that ask again as soon as they are answered split in two halves: while a transaction
 * is under way the one half is queued, and it would be written at once when the other half is
 * answered, which then comes too late. Each transaction would have half of the callers, and each
 * caller would wait for two. So the thread gives those that it has just answered a moment to come
 * back, when writing takes so long that this pays. That is found out by trying: a wait that was in
 * vain is not tried again for some transactions, and for more each time.
 *
 * Not locked: the store's lock is around it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stow_gather {
	uint64_t takes;	   /* ns that a transaction takes, of late */
	uint64_t answered; /* when the last ones were */
	size_t n_answered, expected;
	unsigned int skip, skips;
};

/* Says that a transaction with lists of `answered` callers was written in `took` ns, while the
 * lists of `queued` others came. */
void stow_gather_wrote(struct stow_gather *gather, uint64_t took, size_t answered, size_t queued);

/* Says that these callers have been answered. */
void stow_gather_answered(struct stow_gather *gather, uint64_t now);

/* Returns for how many ns the thread, which has found `queued` lists, shall wait until
 * *ret_wanted are queued; 0: not at all. After a wait stow_gather_ended() is called. */
uint64_t stow_gather_begin(struct stow_gather *gather, uint64_t now, size_t queued,
			   size_t *ret_wanted);

/* Says how many lists were queued when the wait was over. */
void stow_gather_ended(struct stow_gather *gather, size_t queued);
