// SPDX-License-Identifier: Apache-2.0
/* cli/view/measure: the order of the loads, what is made of the runs, and where the memory is. */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/view/measure.h"

/* From any element all others are reached before it comes again. */
TEST(the_order_is_one_cycle)
{
	static const uint32_t sizes[] = { 1, 2, 3, 64, 1000, 65537 };

	for (size_t s = 0; s < STOW_ARRAY_SIZE(sizes); s++)
		for (uint64_t seed = 1; seed < 20; seed += 6) {
			uint32_t n = sizes[s], at = 0, *next = calloc(n, sizeof(*next));
			bool *seen = calloc(n, sizeof(*seen));

			assert_non_null(next);
			assert_non_null(seen);
			measure_cycle(next, n, seed);
			for (uint32_t i = 0; i < n; i++) {
				assert_in_range(at, 0, n - 1);
				assert_false(seen[at]);
				seen[at] = true;
				at = next[at];
			}
			assert_int_equal(at, 0);
			free(seen);
			free(next);
		}
}

/* The kernel's prefetchers must not guess it: hardly any line is followed by its neighbour. */
TEST(the_order_is_random)
{
	enum { N = 10000 };
	static uint32_t next[N];
	int neighbours = 0;

	measure_cycle(next, N, 12345);
	for (uint32_t i = 0; i < N; i++)
		neighbours += next[i] == i + 1 || next[i] + 1 == i;
	assert_in_range(neighbours, 0, 20);
}

TEST(runs_are_reduced)
{
	double even[] = { 4, 1, 3, 2 }, odd[] = { 100, 104, 96 }, none[] = { 0 };
	struct measure_result result;

	measure_reduce(even, 4, false, &result);
	assert_true(result.known && result.best == 1 && result.median == 2.5 && result.spread);
	measure_reduce(odd, 3, true, &result);
	assert_true(result.known && result.best == 104 && result.median == 100);
	assert_false(result.spread);
	measure_reduce(none, 0, true, &result);
	assert_false(result.known);
}

/* A node of this machine that has memory. */
static int some_node(struct stow_root *root)
{
	struct stow_idset nodes;

	if (stow_root_read_idset(root, &nodes, NULL, "/sys/devices/system/node/has_memory") < 0)
		return 0;
	return stow_idset_next(&nodes, 0);
}

TEST(memory_is_measured)
{
	const struct measure_options options = { .time = STOW_MILLISECOND, .runs = 3, .line = 64 };
	struct measure_memory memory = { 0 };
	struct measure_result result = { 0 };
	struct stow_root *root = NULL;
	struct stow_idset cpus = { 0 };
	struct stow_err err = { 0 };

	assert_int_equal(stow_root_open("/", &root, &err), 0);
	assert_int_equal(stow_root_read_idset(root, &cpus, &err, "/sys/devices/system/cpu/online"),
			 0);
	if (measure_map(root, some_node(root), 8 << 20, false, &memory, &err) < 0) {
		/* Containers may not call mbind(2) or move_pages(2). */
		stow_root_free(root);
		skip();
	}
	assert_false(memory.huge);
	assert_int_equal(memory.size, 8 << 20);
	assert_int_equal(
		measure_latency(&options, &memory, stow_idset_next(&cpus, 0), &result, &err), 0);
	assert_true(result.known && result.best > 0 && result.median >= result.best);
	for (int stores = 0; stores <= 1; stores++) {
		assert_int_equal(measure_bandwidth(&options, &memory, &cpus, stores, &result, &err),
				 0);
		assert_true(result.known && result.median > 0 && result.best >= result.median);
	}
	measure_unmap(&memory);
	assert_null(memory.memory);
	stow_root_free(root);
}

/* The error names the CPU that does not exist, or how many CPUs the buffer is too small for. */
TEST(what_cannot_be_measured_has_a_reason)
{
	const struct measure_options options = { .time = STOW_MILLISECOND, .runs = 1, .line = 64 };
	static uint64_t buffer[1024] __attribute__((aligned(4096)));
	struct measure_memory memory = { buffer, sizeof(buffer), false };
	struct measure_result result;
	struct stow_idset cpus = { 0 };
	struct stow_err err = { 0 };

	assert_int_equal(measure_latency(&options, &memory, 1023, &result, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "CPU 1023"));
	assert_int_equal(measure_bandwidth(&options, &memory, &cpus, false, &result, &err),
			 -EINVAL);
	for (int i = 0; i < 64; i++)
		stow_idset_add(&cpus, i);
	assert_int_equal(measure_bandwidth(&options, &memory, &cpus, false, &result, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "64 CPUs"));
}
