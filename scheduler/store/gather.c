// SPDX-License-Identifier: Apache-2.0
#include "scheduler/store/gather.h"

#include "base/clock.h"

#define LEAST	  (STOW_SECOND / 4000) /* timers are not more precise */
#define MOST	  (STOW_SECOND / 200)
#define OF	  8  /* in the moving average, the last transaction counts one eighth */
#define MISSING	  4  /* the wait still paid if no more than one of so many callers is missing */
#define SKIP_MOST 64 /* transactions */

void stow_gather_wrote(struct stow_gather *gather, uint64_t took, size_t answered, size_t queued)
{
	gather->takes -= gather->takes / OF;
	gather->takes += (took < MOST ? took : MOST) / OF;
	gather->n_answered = answered;
	gather->expected = answered + queued;
}

void stow_gather_answered(struct stow_gather *gather, uint64_t now)
{
	gather->answered = now;
}

uint64_t stow_gather_begin(struct stow_gather *gather, uint64_t now, size_t queued,
			   size_t *ret_wanted)
{
	/* If callers take longer than a transaction, two halves in turn are faster. */
	uint64_t most = gather->takes;

	if (most < LEAST || queued == 0 || queued >= gather->expected ||
	    now - gather->answered > most)
		return 0;
	if (gather->skip > 0) {
		gather->skip--;
		return 0;
	}
	*ret_wanted = gather->expected;
	return most;
}

void stow_gather_ended(struct stow_gather *gather, size_t queued)
{
	size_t missing = queued < gather->expected ? gather->expected - queued : 0;

	/* Callers that do not wait for answers come at any time: then every second wait pays by
	 * chance. Skip more transactions after a vain wait than a good one makes up for. */
	if (missing <= gather->n_answered / MISSING) {
		gather->skips /= 2;
		return;
	}
	gather->skips = gather->skips * 4 + 1 < SKIP_MOST ? gather->skips * 4 + 1 : SKIP_MOST;
	gather->skip = gather->skips;
}
