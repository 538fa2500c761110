// SPDX-License-Identifier: Apache-2.0
/* What an agent says of its machine, while all its threads have something to say. */
#include "unit.h"

#include <pthread.h>
#include <stdio.h>

#include "agent/publisher.h"

#define THREADS 4
#define ROUNDS	300

static int set_up(void **state)
{
	const struct agent_publisher_identity identity = { .node = "web-3",
							   .boot_id = "b00t",
							   .failure_domain = "rack-1" };
	struct agent_publisher *publisher = NULL;

	assert_int_equal(agent_publisher_new(&identity, &publisher, NULL), 0);
	*state = publisher;
	return 0;
}

static int tear_down(void **state)
{
	agent_publisher_free(*state);
	return 0;
}

static PbNodeReport *report(uint32_t id)
{
	PbNodeReport *out = malloc(sizeof(*out));

	assert_non_null(out);
	pb_node_report__init(out);
	out->numa_nodes = calloc(1, sizeof(*out->numa_nodes));
	out->numa_nodes[0] = malloc(sizeof(PbNumaNode));
	pb_numa_node__init(out->numa_nodes[0]);
	out->numa_nodes[0]->id = id;
	out->n_numa_nodes = 1;
	return out;
}

static void what_is_published_is_signed(void **state)
{
	struct agent_publisher *publisher = *state;
	struct agent_published published;
	PbNodeReport whole;

	agent_publisher_borrow(publisher, &published);
	assert_null(published.report);
	assert_int_equal(published.looked, 0);
	agent_publisher_return(publisher);
	agent_publisher_publish(publisher, report(0));
	agent_publisher_set_mode(publisher, STOW_CHANGES_OBSERVED);
	assert_int_equal(agent_publisher_set_failure_domain(publisher, "rack-2", NULL), 0);
	agent_publisher_borrow(publisher, &published);
	assert_true(published.looked > 0);
	assert_false(published.report->full);
	agent_publisher_whole(publisher, &whole);
	assert_true(whole.full);
	assert_string_equal(whole.name, "web-3");
	assert_string_equal(whole.boot_id, "b00t");
	assert_string_equal(whole.failure_domain, "rack-2");
	assert_int_equal(whole.mode, PB_MODE_OBSERVE);
	assert_int_equal(whole.counters->reports, 0); /* the first is no change */
	agent_publisher_return(publisher);
	agent_publisher_publish(publisher, report(0));
	agent_publisher_publish(publisher, report(1));
	agent_publisher_borrow(publisher, &published);
	assert_int_equal(published.counters->reports, 1);
	assert_int_equal(published.report->numa_nodes[0]->id, 1);
	agent_publisher_return(publisher);
}

static void an_error_is_news_once(void **state)
{
	struct agent_publisher *publisher = *state;
	struct agent_published published;
	struct stow_err err;

	stow_err_set(&err, EIO, "no topology");
	assert_true(agent_publisher_fail(publisher, &err));
	assert_false(agent_publisher_fail(publisher, &err));
	stow_err_set(&err, EIO, "no ledger");
	assert_true(agent_publisher_fail(publisher, &err));
	agent_publisher_borrow(publisher, &published);
	assert_string_equal(published.error, "no ledger");
	agent_publisher_return(publisher);
	agent_publisher_publish(publisher, report(0));
	agent_publisher_borrow(publisher, &published);
	assert_null(published.error);
	agent_publisher_return(publisher);
	assert_true(agent_publisher_fail(publisher, &err));
}

/* Kinds come from the ledger, which any version may have written. */
static void kinds_of_events_are_bounded(void **state)
{
	struct agent_publisher *publisher = *state;
	struct agent_published published;
	char kind[80];

	for (int i = 0; i < 100; i++) {
		snprintf(kind, sizeof(kind), "kind%d", i);
		agent_publisher_count_event(publisher, kind);
		agent_publisher_count_event(publisher, "kind3");
	}
	agent_publisher_borrow(publisher, &published);
	assert_in_range(published.n_events, 10, 64);
	assert_string_equal(published.events[0].kind, "kind0");
	assert_string_equal(published.events[1].kind, "kind3");
	assert_int_equal(published.events[1].n, 101);
	agent_publisher_return(publisher);
}

static void *count(void *arg)
{
	struct agent_publisher *publisher = arg;
	struct agent_published published;
	struct stow_err err;

	stow_err_set(&err, EIO, "played");
	for (int i = 0; i < ROUNDS; i++) {
		agent_publisher_count(publisher, AGENT_COUNT_REPINS, 1);
		agent_publisher_count(publisher, AGENT_COUNT_DRAINS, 2);
		agent_publisher_count_event(publisher, "placed");
		agent_publisher_set_connected(publisher, i % 2);
		agent_publisher_fail(publisher, &err);
		agent_publisher_publish(publisher, report((uint32_t)i));
		agent_publisher_borrow(publisher, &published);
		if (published.report->n_numa_nodes != 1)
			abort();
		agent_publisher_return(publisher);
	}
	return NULL;
}

static void all_threads_may_call_it(void **state)
{
	struct agent_publisher *publisher = *state;
	struct agent_published published;
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count, publisher), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	agent_publisher_borrow(publisher, &published);
	assert_int_equal(published.counters->repins, THREADS * ROUNDS);
	assert_int_equal(published.counters->drains, 2 * THREADS * ROUNDS);
	assert_int_equal(published.events[0].n, THREADS * ROUNDS);
	agent_publisher_return(publisher);
}

int main(void)
{
#define WITH_PUBLISHER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_PUBLISHER(what_is_published_is_signed),
		WITH_PUBLISHER(an_error_is_news_once),
		WITH_PUBLISHER(kinds_of_events_are_bounded),
		WITH_PUBLISHER(all_threads_may_call_it),
	};

	return cmocka_run_group_tests_name("agent_publisher", tests, NULL, NULL);
}
