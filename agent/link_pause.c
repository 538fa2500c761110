/* SPDX-License-Identifier: Apache-2.0 */
/* How long an agent waits before it connects again. */
#include "agent/link.h"

#include <stdbool.h>

#include "base/clock.h"

#define PAUSE_FIRST (200 * STOW_MILLISECOND)
#define PAUSE_MOST  (30 * STOW_SECOND)

/* Return the pause after so many failures: it doubles with each. */
static uint64_t pause_after(unsigned int failures, uint64_t random)
{
	uint64_t pause = PAUSE_FIRST;

	while (failures-- > 1 && pause < PAUSE_MOST)
		pause *= 2;
	if (pause > PAUSE_MOST)
		pause = PAUSE_MOST;
	/* Random, so that a fleet's agents do not all reconnect at once. */
	return pause / 2 + random % (pause / 2 + 1);
}

/* The same with `n` schedulers; `welcomed`: the stream that ended had got a Welcome. */
static uint64_t wait_after(unsigned int failures, size_t n, bool welcomed, uint64_t random)
{
	if (n < 2)
		return pause_after(failures, random);
	/* The other schedulers are tried at once; the pause follows a whole round. After a Welcome
	 * it does not: all agents of a fleet lose their scheduler at the same moment. */
	if (!welcomed && failures % n)
		return PAUSE_FIRST / 4;
	/* The pause doubles with each round, not with each scheduler: otherwise with two schedulers
	 * all machines of a fleet would pause at the same time, for a second and more, when a lease
	 * of 5 s has run out. */
	return pause_after((unsigned int)(failures / n) + 1, random);
}

void agent_link_welcomed(struct agent_link_tries *tries, uint64_t now)
{
	tries->failures = 0;
	tries->welcomed = now;
}

uint64_t agent_link_ended(struct agent_link_tries *tries, size_t n, uint64_t now, uint64_t random)
{
	bool welcomed = tries->welcomed;

	if (welcomed && stow_clock_elapsed(tries->welcomed, now) >= AGENT_LINK_PROVEN)
		tries->brief = 0;
	if (welcomed)
		tries->failures = ++tries->brief;
	else
		tries->failures++;
	tries->welcomed = 0;
	return wait_after(tries->failures, n, welcomed, random);
}
