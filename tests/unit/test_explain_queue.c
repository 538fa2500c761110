// SPDX-License-Identifier: Apache-2.0
#include "scheduler/service/explain_queue.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"

static struct explain_waiting call_of(const char *caller, size_t size)
{
	struct explain_waiting w = { .size = size };

	snprintf(w.caller, sizeof(w.caller), "%s", caller);
	return w;
}

TEST(callers_take_turns)
{
	struct scheduler_explain_queue queue = { 0 };
	struct explain_waiting busy[4], late[2], again = call_of("busy", 1);
	const struct explain_waiting *order[] = { &busy[0], &late[0], &busy[1], &late[1],
						  &busy[2] };

	for (size_t i = 0; i < 4; i++) {
		busy[i] = call_of("busy", 1);
		assert_true(scheduler_explain_queue_insert(&queue, &busy[i]));
	}
	for (size_t i = 0; i < 2; i++) {
		late[i] = call_of("late", 1);
		assert_true(scheduler_explain_queue_insert(&queue, &late[i]));
	}
	for (size_t i = 0; i < 5; i++)
		assert_ptr_equal(scheduler_explain_queue_take(&queue), order[i]);
	/* One that asks again and again stands behind a caller that comes now. */
	assert_true(scheduler_explain_queue_insert(&queue, &again));
	late[0] = call_of("late", 1);
	assert_true(scheduler_explain_queue_insert(&queue, &late[0]));
	assert_ptr_equal(scheduler_explain_queue_take(&queue), &late[0]);
	assert_ptr_equal(scheduler_explain_queue_take(&queue), &busy[3]);
	assert_ptr_equal(scheduler_explain_queue_take(&queue), &again);
	assert_null(scheduler_explain_queue_take(&queue));
}

TEST(what_waits_has_bounds)
{
	static struct explain_waiting calls[40];
	struct scheduler_explain_queue queue = { 0 };
	struct explain_waiting large = call_of("large", EXPLAIN_CALLER_BYTES + 1);
	struct explain_waiting more = call_of("large", 1), first = call_of("other", 4U << 20),
			       second = call_of("other", 1);
	size_t n = 0;
	char name[16];

	/* The first of a caller is taken whatever its size. */
	assert_true(scheduler_explain_queue_insert(&queue, &large));
	assert_false(scheduler_explain_queue_insert(&queue, &more));
	assert_ptr_equal(scheduler_explain_queue_take(&queue), &large);
	queue.bytes = 0;
	/* All callers together: a second call is refused, a caller's first one is not. */
	while (queue.bytes < EXPLAIN_ALL_BYTES && n < 40) {
		snprintf(name, sizeof(name), "c%zu", n / 2);
		calls[n] = call_of(name, 4U << 20);
		assert_true(scheduler_explain_queue_insert(&queue, &calls[n++]));
	}
	assert_int_equal(queue.bytes, EXPLAIN_ALL_BYTES);
	assert_true(scheduler_explain_queue_insert(&queue, &first));
	assert_false(scheduler_explain_queue_insert(&queue, &second));
}
