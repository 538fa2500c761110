// SPDX-License-Identifier: Apache-2.0
#include "scheduler/store/gather.h"

#include "base/clock.h"

#define LEAST	    (STOW_SECOND / 4000) /* timers are not more precise */
#define MOST	    (STOW_SECOND / 200)
#define AVERAGED    8  /* the last transaction's weight in the moving average: one eighth */
#define MISSING_ONE 4  /* a wait was worth it when up to one in four callers is missing */
#define SKIP_MOST   64 /* transactions */

void stow_gather_wrote(struct stow_gather *gather, uint64_t took, size_t answered, size_t queued)
{
	gather->takes -= gather->takes / AVERAGED;
	gather->takes += (took < MOST ? took : MOST) / AVERAGED;
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
	/* Callers that take longer than a transaction are served faster in two halves. */
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

	/* Callers that do not wait for answers come at any time, so that every second wait is
	 * worth it by chance. Therefore a wait in vain counts more than a good one. */
	if (missing <= gather->n_answered / MISSING_ONE) {
		gather->skips /= 2;
		return;
	}
	gather->skips = gather->skips * 4 + 1 < SKIP_MOST ? gather->skips * 4 + 1 : SKIP_MOST;
	gather->skip = gather->skips;
}
