// SPDX-License-Identifier: Apache-2.0
/* What an agent publishes about its machine, with calls from several threads. */
#include "unit.h"

#include <pthread.h>
#include <stdio.h>

#include "agent/publisher.h"

END_WHEN_A_CHECK_FAILS

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

#define WITH_PUBLISHER(name) TEST_WITH(name, struct agent_publisher *publisher, set_up, tear_down)

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

WITH_PUBLISHER(what_is_published_is_signed)
{
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

WITH_PUBLISHER(an_error_is_published_once)
{
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
WITH_PUBLISHER(kinds_of_events_are_bounded)
{
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

WITH_PUBLISHER(all_threads_may_call_it)
{
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

static void count_told(void *ctx)
{
	++*(int *)ctx;
}

/* Of each report and each change of the mode, until it no longer wants to. */
WITH_PUBLISHER(a_follower_is_told)
{
	int told = 0;

	agent_publisher_publish(publisher, report(0));
	agent_publisher_follow(publisher, count_told, &told);
	agent_publisher_publish(publisher, report(0));
	assert_int_equal(told, 1);
	agent_publisher_set_mode(publisher, STOW_CHANGES_OBSERVED);
	assert_int_equal(told, 2);
	agent_publisher_set_mode(publisher, STOW_CHANGES_OBSERVED);
	assert_int_equal(told, 2);
	agent_publisher_unfollow(publisher, &told);
	agent_publisher_publish(publisher, report(1));
	assert_int_equal(told, 2);
}

/* --- subscribers, on calls without a network ------------------------------ */

struct fake {
	int refs;
	void *data;
	bool is_written;
	unsigned int n, full; /* messages; full reports among them */
	uint64_t memory;      /* of the last one that had the NUMA node */
	uint64_t sequence;
};

static unsigned long touched; /* calls of any function below */

struct stow_rpc_call *__wrap_stow_rpc_ref(struct stow_rpc_call *call);
void __wrap_stow_rpc_unref(struct stow_rpc_call *call);
int __wrap_stow_rpc_send(struct stow_rpc_call *call, const void *message);
bool __wrap_stow_rpc_is_written(struct stow_rpc_call *call);
void __wrap_stow_rpc_set_data(struct stow_rpc_call *call, void *data);
void *__wrap_stow_rpc_data(const struct stow_rpc_call *call);

static struct fake *fake_of(const struct stow_rpc_call *call)
{
	return (struct fake *)(uintptr_t)call;
}

struct stow_rpc_call *__wrap_stow_rpc_ref(struct stow_rpc_call *call)
{
	fake_of(call)->refs++;
	return call;
}

void __wrap_stow_rpc_unref(struct stow_rpc_call *call)
{
	fake_of(call)->refs--;
}

int __wrap_stow_rpc_send(struct stow_rpc_call *call, const void *message)
{
	struct fake *fake = fake_of(call);
	const PbNodeReport *report = message;

	touched++;
	fake->n++;
	fake->full += report->full ? 1 : 0;
	fake->sequence = report->sequence;
	if (report->n_numa_nodes)
		fake->memory = report->numa_nodes[0]->memory_total;
	return 0;
}

bool __wrap_stow_rpc_is_written(struct stow_rpc_call *call)
{
	touched++;
	return fake_of(call)->is_written;
}

void __wrap_stow_rpc_set_data(struct stow_rpc_call *call, void *data)
{
	fake_of(call)->data = data;
}

void *__wrap_stow_rpc_data(const struct stow_rpc_call *call)
{
	return fake_of(call)->data;
}

static void subscribe(struct agent_publisher *publisher, struct fake *fake, bool reads)
{
	*fake = (struct fake){ .is_written = reads };
	assert_int_equal(agent_publisher_subscribe(publisher, (struct stow_rpc_call *)fake, false,
						   false),
			 0);
	assert_int_equal(fake->full, 1);
}

static void unsubscribe(struct agent_publisher *publisher, struct fake *fake)
{
	agent_publisher_unsubscribe(publisher, (struct stow_rpc_call *)fake);
	assert_int_equal(fake->refs, 0);
}

/* The same NUMA node, which changes. */
static void publish(struct agent_publisher *publisher, uint64_t memory)
{
	PbNodeReport *out = report(0);

	out->numa_nodes[0]->memory_total = memory;
	agent_publisher_publish(publisher, out);
}

/* 50 changes, with so many that do not read and one that does. */
static unsigned long cost(struct agent_publisher *publisher, size_t n)
{
	struct fake *idle = calloc(n, sizeof(*idle)), reader;

	for (size_t i = 0; i < n; i++)
		subscribe(publisher, &idle[i], false);
	subscribe(publisher, &reader, true);
	touched = 0;
	for (uint64_t i = 1; i <= 50; i++) {
		publish(publisher, i);
		assert_int_equal(reader.memory, i);
	}
	publish(publisher, 0);
	assert_int_equal(reader.full, 1);
	assert_int_equal(reader.sequence, 52);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(idle[i].n, 1);
		unsubscribe(publisher, &idle[i]);
	}
	unsubscribe(publisher, &reader);
	free(idle);
	return touched;
}

WITH_PUBLISHER(a_change_costs_nothing_for_those_that_do_not_read)
{
	unsigned long few;

	publish(publisher, 0);
	few = cost(publisher, 1);
	assert_true(few >= 50); /* the reader's */
	assert_int_equal(cost(publisher, 500), few);
}

WITH_PUBLISHER(one_that_reads_late_gets_a_full_report)
{
	struct fake late, same;

	publish(publisher, 0);
	subscribe(publisher, &late, false);
	for (uint64_t i = 1; i < 20; i++)
		publish(publisher, i);
	agent_publisher_set_mode(publisher, STOW_CHANGES_DISABLED);
	subscribe(publisher, &same, false);
	assert_int_equal(late.n, 1);
	late.is_written = same.is_written = true;
	agent_publisher_written(publisher, (struct stow_rpc_call *)&late);
	agent_publisher_written(publisher, (struct stow_rpc_call *)&same);
	assert_int_equal(late.full, 2);
	assert_int_equal(late.memory, 19);
	assert_int_equal(same.n, 1); /* it has missed nothing */
	/* Then changes again. */
	publish(publisher, 5);
	assert_int_equal(late.n, 3);
	assert_int_equal(late.full, 2);
	assert_int_equal(late.memory, 5);
	assert_int_equal(late.sequence, 3);
	assert_int_equal(same.n, 2);
	unsubscribe(publisher, &late);
	unsubscribe(publisher, &same);
}
