// SPDX-License-Identifier: Apache-2.0
/* Callers and a store's thread, played with a clock of their own. */
#include "unit.h"

#include "base/cleanup.h"
#include "scheduler/store/gather.h"

#define US	     UINT64_C(1000)
#define MS	     UINT64_C(1000000)
#define CALLERS	     64
#define TRANSACTIONS 4000

struct play {
	size_t n;	      /* callers that ask again once they are answered */
	uint64_t comes, more; /* after so long, and up to `more` longer */
	uint64_t every;	      /* 0, or one more caller about so often, who asks once */
	uint64_t takes;	      /* a transaction */
	bool waits;	      /* whether `gather` is asked */

	uint64_t random, now, next; /* ... of `every` */
	uint64_t asked[CALLERS], once[4096];
	size_t n_once;
	uint64_t spent, took; /* on waits; by all callers */
	size_t done;
	struct stow_gather gather;
};

static uint64_t some(struct play *p, uint64_t most)
{
	p->random = p->random * UINT64_C(6364136223846793005) + 1;
	return most ? (p->random >> 33) % most : 0;
}

/* Return how many callers are queued at that time. */
static size_t queued(struct play *p, uint64_t at)
{
	size_t n = 0;

	for (; p->every && p->next <= at && p->n_once < 4096; p->next += some(p, 2 * p->every) + 1)
		p->once[p->n_once++] = p->next;
	for (size_t i = 0; i < p->n_once; i++)
		n += p->once[i] <= at;
	for (size_t i = 0; i < p->n; i++)
		n += p->asked[i] <= at;
	return n;
}

static void wait(struct play *p, uint64_t most, size_t wanted)
{
	uint64_t since = p->now, until = since + most;

	while (p->now < until && queued(p, p->now) < wanted)
		p->now += US;
	p->spent += p->now - since;
	stow_gather_ended(&p->gather, queued(p, p->now));
}

static void transaction(struct play *p)
{
	uint64_t most, end;
	bool taken[CALLERS];
	size_t n, wanted = 0;

	while (queued(p, p->now) == 0)
		p->now += US;
	most = p->waits ? stow_gather_begin(&p->gather, p->now, queued(p, p->now), &wanted) : 0;
	if (most)
		wait(p, most, wanted);
	n = queued(p, p->now);
	end = p->now + p->takes;
	for (size_t i = 0; i < p->n; i++)
		taken[i] = p->asked[i] <= p->now;
	for (size_t i = 0; i < p->n_once; i++)
		p->took += end - p->once[i];
	p->n_once = 0;
	for (size_t i = 0; i < p->n; i++) {
		if (!taken[i])
			continue;
		p->took += end - p->asked[i];
		p->asked[i] = end + p->comes + some(p, p->more);
	}
	p->done += n;
	p->now = end;
	stow_gather_wrote(&p->gather, p->takes, n, queued(p, p->now));
	stow_gather_answered(&p->gather, p->now);
}

static void play(struct play *p)
{
	p->random = 7;
	p->now = p->next = MS;
	for (size_t i = 0; i < p->n; i++)
		p->asked[i] = p->now + some(p, 5 * MS);
	for (int i = 0; i < TRANSACTIONS; i++)
		transaction(p);
}

/* Return how long a caller waits for its answer, on average. */
static uint64_t latency(const struct play *p)
{
	return p->took / p->done;
}

TEST(callers_that_come_back_share_a_transaction)
{
	static const struct {
		size_t n;
		uint64_t takes, comes, more;
	} cases[] = {
		{ 16, 1200 * US, 300 * US, 400 * US }, { 16, 1200 * US, 400 * US, 700 * US },
		{ 16, 4 * MS, 500 * US, 2 * MS },      { 16, 30 * MS, 500 * US, 2 * MS },
		{ 64, 3 * MS, 300 * US, 2 * MS },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		struct play alone = { .n = cases[i].n,
				      .takes = cases[i].takes,
				      .comes = cases[i].comes,
				      .more = cases[i].more };
		struct play with = alone;

		with.waits = true;
		play(&alone);
		play(&with);
		/* Two halves, in turn. */
		assert_in_range(alone.done, TRANSACTIONS * cases[i].n * 4 / 10,
				TRANSACTIONS * cases[i].n * 6 / 10);
		assert_true(with.done >= TRANSACTIONS * cases[i].n * 10 / 16);
		assert_true(latency(&with) <= latency(&alone));
		/* As many a second, and more. */
		assert_true(with.done * (alone.now / MS) >= alone.done * (with.now / MS));
	}
}

TEST(a_lone_caller_is_not_kept_waiting)
{
	for (uint64_t takes = 100 * US; takes <= 50 * MS; takes *= 2) {
		struct play p = { .n = 1, .takes = takes, .comes = 50 * US, .more = 20 * MS };

		p.waits = true;
		play(&p);
		assert_int_equal(p.spent, 0);
	}
}

TEST(callers_that_stay_away_are_waited_for_rarely)
{
	for (uint64_t takes = MS; takes <= 16 * MS; takes *= 2) {
		/* Three times as long as a transaction; and never. */
		struct play slow = { .n = 16, .takes = takes, .comes = 3 * takes, .more = takes };
		struct play once = { .every = takes / 10, .takes = takes };
		struct play few = { .every = takes * 2 / 3, .takes = takes };
		struct play *all[] = { &slow, &once, &few };

		for (size_t i = 0; i < STOW_ARRAY_SIZE(all); i++) {
			struct play alone = *all[i];

			all[i]->waits = true;
			play(&alone);
			play(all[i]);
			assert_true(latency(all[i]) <= latency(&alone) * 11 / 10);
			assert_true(all[i]->spent <= all[i]->now / 20);
		}
	}
}

TEST(a_fast_store_does_not_wait)
{
	struct play p = { .n = 16, .takes = 150 * US, .comes = 20 * US, .more = 50 * US };

	p.waits = true;
	play(&p);
	assert_int_equal(p.spent, 0);
}

/* Callers of long ago do not ask again now. */
TEST(callers_after_a_pause_are_not_waited_for)
{
	struct stow_gather gather = { 0 };
	size_t wanted;

	for (int i = 0; i < 100; i++)
		stow_gather_wrote(&gather, 4 * MS, 16, 0);
	stow_gather_answered(&gather, 1000 * MS);
	assert_true(stow_gather_begin(&gather, 1001 * MS, 3, &wanted) > 0);
	assert_int_equal(wanted, 16);
	assert_int_equal(stow_gather_begin(&gather, 1100 * MS, 3, &wanted), 0);
}
