// SPDX-License-Identifier: Apache-2.0
/* How long an agent waits before it dials again. */
#include "unit.h"

#include <limits.h>

#include "base/cleanup.h"
#include "base/clock.h"

#include "agent/link.h"

#define MS   STOW_MILLISECOND
#define MOST (30000 * MS)

/* Return the pause after `failures` consecutive failures of `n` schedulers. `welcomed`: they were
 * streams that ended at their Welcome. */
static uint64_t wait_after(unsigned int failures, size_t n, bool welcomed, uint64_t random)
{
	struct agent_link_tries tries = { .failures = failures - 1 };

	if (welcomed) {
		tries.brief = failures - 1;
		agent_link_welcomed(&tries, 1);
	}
	return agent_link_ended(&tries, n, 1, random);
}

static uint64_t pause_after(unsigned int failures, uint64_t random)
{
	return wait_after(failures, 1, false, random);
}

TEST(pauses_grow_up_to_half_a_minute)
{
	uint64_t before = 0;

	for (unsigned int failures = 1; failures < 64; failures++) {
		uint64_t least = pause_after(failures, 0);

		assert_true(least >= before && least >= 100 * MS && least <= MOST / 2);
		before = least;
	}
	assert_int_equal(pause_after(1, 0), 100 * MS);
	assert_int_equal(pause_after(2, 0), 200 * MS);
	assert_int_equal(before, MOST / 2);
}

/* For ever: no number of failures is one too many. */
TEST(pauses_never_end_and_never_vanish)
{
	static const unsigned int many[] = { 64, 65, 1000, INT_MAX, UINT_MAX - 1, UINT_MAX };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(many); i++)
		for (uint64_t random = 0; random < 1000; random++)
			assert_in_range(pause_after(many[i], random * 0x9e3779b97f4a7c15), MOST / 2,
					MOST);
	assert_in_range(pause_after(0, UINT64_MAX), 100 * MS, 200 * MS);
}

/* Half of it is by chance, and evenly so: a fleet spreads over the pause. */
TEST(agents_do_not_come_back_as_one)
{
	unsigned int eighth[8] = { 0 };
	uint64_t random = 1;

	for (int agent = 0; agent < 8000; agent++) {
		uint64_t pause;

		random = random * 6364136223846793005u + 1442695040888963407u;
		pause = pause_after(20, random);
		assert_in_range(pause, MOST / 2, MOST);
		eighth[(pause - MOST / 2) * 8 / (MOST / 2 + 1)]++;
	}
	for (int i = 0; i < 8; i++)
		assert_in_range(eighth[i], 800, 1200);
}

TEST(the_other_schedulers_are_asked_at_once)
{
	/* Three: two short pauses, then one for the round, which grows. */
	for (unsigned int round = 0; round < 20; round++) {
		assert_int_equal(wait_after(3 * round + 1, 3, false, 0), 50 * MS);
		assert_int_equal(wait_after(3 * round + 2, 3, false, 0), 50 * MS);
		assert_int_equal(wait_after(3 * round + 3, 3, false, 0), pause_after(round + 2, 0));
	}
	/* One: a pause each time. */
	assert_int_equal(wait_after(1, 1, false, 0), 100 * MS);
	assert_int_equal(wait_after(2, 1, false, 0), 200 * MS);
	/* A stream that stood has ended: all agents are there, so chance decides. */
	assert_int_equal(wait_after(1, 3, true, 7), pause_after(1, 7));
}

/* A Welcome alone proves nothing: a scheduler may end each stream right after it. */
TEST(streams_that_end_after_their_welcome_cause_growing_pauses)
{
	struct agent_link_tries tries = { 0 };
	uint64_t now = 1000 * MS;

	for (unsigned int brief = 1; brief < 20; brief++) {
		agent_link_welcomed(&tries, now);
		assert_int_equal(agent_link_ended(&tries, 1, now, 5), pause_after(brief, 5));
		assert_int_equal(tries.failures, brief);
		now += 100 * MS;
	}
	/* A refused attempt between two of them changes nothing. */
	assert_int_equal(agent_link_ended(&tries, 1, now, 5), pause_after(20, 5));
	agent_link_welcomed(&tries, now);
	now += AGENT_LINK_PROVEN - 1;
	assert_int_equal(agent_link_ended(&tries, 1, now, 5), pause_after(20, 5));
	/* One that has lasted was a good one. */
	agent_link_welcomed(&tries, now);
	now += AGENT_LINK_PROVEN;
	assert_int_equal(agent_link_ended(&tries, 1, now, 5), pause_after(1, 5));
	assert_int_equal(tries.failures, 1);
	/* Without any scheduler for long, then with one that is restarted soon: no long pause. */
	for (int i = 0; i < 1000; i++)
		(void)agent_link_ended(&tries, 1, now, 5);
	agent_link_welcomed(&tries, now);
	assert_int_equal(agent_link_ended(&tries, 1, now, 5), pause_after(2, 5));
}

/* With several schedulers such a stream is followed by a random pause, not by the next scheduler at
 * once. */
TEST(all_schedulers_that_end_streams_cause_pauses)
{
	struct agent_link_tries tries = { 0 };
	uint64_t sum = 0;

	for (int i = 0; i < 60; i++) {
		uint64_t pause;

		agent_link_welcomed(&tries, 1);
		pause = agent_link_ended(&tries, 3, 2, 0);
		assert_true(pause >= 100 * MS);
		sum += pause;
	}
	assert_true(sum > 60 * 5000 * MS);
}

/* A fleet of 200 has lost its scheduler, and another one is active after `after`: how long until
 * the first machine dials it. */
static uint64_t found_after(uint64_t after, uint64_t *random)
{
	uint64_t best = UINT64_MAX;

	for (int machine = 0; machine < 200; machine++) {
		uint64_t now = 0;

		for (unsigned int failures = 1; now < after || failures % 2; failures++) {
			*random = *random * 6364136223846793005u + 1442695040888963407u;
			now += wait_after(failures, 2, failures == 1, *random >> 16);
		}
		best = now - after < best ? now - after : best;
	}
	return best;
}

TEST(a_fleet_finds_the_next_scheduler_soon_after_its_election)
{
	uint64_t random = 1;

	/* Leases of 3 to 5 s. */
	for (uint64_t after = 1500 * MS; after <= 5800 * MS; after += 100 * MS)
		for (int i = 0; i < 20; i++)
			assert_in_range(found_after(after, &random), 0, 1000 * MS);
}
