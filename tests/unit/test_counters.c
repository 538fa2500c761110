// SPDX-License-Identifier: Apache-2.0
/* Counters by name, all fields of meminfo, pressure, a cgroup's memory by node, kernel threads. */
#include "unit.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/span.h"
#include "cgroup/numa_stat.h"
#include "node/counters.h"
#include "node/daemons.h"
#include "node/reclaim.h"
#include "tree.h"

/* Without a terminator: reading past the end is seen by the sanitizer. */
static char *bare(const char *text)
{
	char *copy = malloc(strlen(text) + 1);

	memcpy(copy, text, strlen(text));
	copy[strlen(text)] = '7';
	return copy;
}

TEST(words_and_numbers)
{
	_cleanup_free_ char *text = bare("a  N3=12 N4=x 18446744073709551616\n\nlast");
	struct stow_span rest = { text,
				  text + strlen("a  N3=12 N4=x 18446744073709551616\n\nlast") };
	struct stow_span line, word;
	uint64_t v;
	int node;

	assert_true(stow_span_line(&rest, &line));
	assert_false(stow_span_take(&line, "b"));
	assert_true(stow_span_take(&line, "a"));
	assert_true(stow_span_node_pair(&line, &node, &v));
	assert_int_equal(node, 3);
	assert_int_equal(v, 12);
	assert_false(stow_span_node_pair(&line, &node, &v));
	assert_true(stow_span_word(&line, &word));
	assert_true(stow_span_is(word, "N4=x"));
	assert_false(stow_span_is(word, "N4="));
	assert_int_equal(stow_span_number(&line, &v), -ERANGE);
	assert_true(stow_span_line(&rest, &line));
	assert_false(stow_span_word(&line, &word));
	assert_int_equal(stow_span_number(&line, &v), -EINVAL);
	assert_true(stow_span_line(&rest, &line));
	assert_true(stow_span_is(line, "last"));
	assert_false(stow_span_line(&rest, &line));
}

TEST(counters_are_found_by_name)
{
	static const char *const names[] = { "numa_hit", "numa_miss", "none", "bad", NULL };
	_cleanup_free_ char *text = bare("numa_hit_x 1\nnuma_hit 17\nbad x\nnuma_miss 18\n");
	uint64_t values[4] = { 0 };

	assert_int_equal(stow_counters_parse(text,
					     strlen("numa_hit_x 1\nnuma_hit 17\nbad x\n"
						    "numa_miss 18\n"),
					     names, values),
			 2);
	assert_int_equal(values[0], 17);
	assert_int_equal(values[1], 18);
	assert_true(values[2] == STOW_UNKNOWN);
	assert_true(values[3] == STOW_UNKNOWN);
}

TEST(one_counter_is_found)
{
	static const char text[] = "numa_hit 12\nnuma_hit_more 7\nnuma_foreign 0\nbad x\nlast 5";

	assert_int_equal(stow_counter_find(text, "numa_hit"), 12);
	assert_int_equal(stow_counter_find(text, "numa_foreign"), 0);
	assert_int_equal(stow_counter_find(text, "last"), 5);
	assert_true(stow_counter_find(text, "numa") == STOW_UNKNOWN);
	assert_true(stow_counter_find(text, "bad") == STOW_UNKNOWN);
	assert_true(stow_counter_find("", "bad") == STOW_UNKNOWN);
	assert_true(stow_counter_find(NULL, "bad") == STOW_UNKNOWN);
	assert_true(stow_counter_find("x 99999999999999999999999999999999999999999", "x") ==
		    STOW_UNKNOWN);
}

TEST(counters_of_a_node)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	uint64_t values[STOW_NODE_COUNTERS];
	struct stow_err err = { 0 };

	assert_int_equal(stow_node_counters_read(tree->root, 0, values, &err), -ENOENT);
	assert_true(values[STOW_NUMA_HIT] == STOW_UNKNOWN);
	tree_write(tree, "/sys/devices/system/node/node0/vmstat",
		   "nr_free_pages 5\npgpromote_success 3\npgdemote_direct 4\n");
	assert_int_equal(stow_node_counters_read(tree->root, 0, values, &err), -ENOENT);
	assert_int_equal(values[STOW_NUMA_PROMOTED], 3);
	tree_write(tree, "/sys/devices/system/node/node0/numastat", "\x01garbage\n");
	assert_int_equal(stow_node_counters_read(tree->root, 0, values, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "numastat"));
	tree_write(tree, "/sys/devices/system/node/node0/numastat",
		   "numa_hit 100\nnuma_miss 1\nnuma_foreign 2\ninterleave_hit 3\nlocal_node 99\n"
		   "other_node 2\n");
	assert_int_equal(stow_node_counters_read(tree->root, 0, values, &err), 0);
	assert_int_equal(values[STOW_NUMA_HIT], 100);
	assert_int_equal(values[STOW_NUMA_OTHER], 2);
	assert_int_equal(values[STOW_NUMA_DEMOTED_DIRECT], 4);
	assert_true(values[STOW_NUMA_DEMOTED_PROACTIVE] == STOW_UNKNOWN);
}

TEST(counters_of_the_machine)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	uint64_t values[STOW_BALANCING_COUNTERS];
	struct stow_err err = { 0 };

	assert_int_equal(stow_balancing_read(tree->root, values, &err), -ENOENT);
	tree_write(tree, "/proc/vmstat", "%s", "");
	assert_int_equal(stow_balancing_read(tree->root, values, &err), -EINVAL);
	tree_write(tree, "/proc/vmstat",
		   "numa_hint_faults 9\nnuma_hint_faults_local 8\nnuma_pages_migrated 7\n");
	assert_int_equal(stow_balancing_read(tree->root, values, &err), 0);
	assert_int_equal(values[STOW_NUMA_HINT_FAULTS], 9);
	assert_int_equal(values[STOW_NUMA_HINT_FAULTS_LOCAL], 8);
	assert_int_equal(values[STOW_NUMA_PAGES_MIGRATED], 7);
	assert_true(values[STOW_PGMIGRATE_FAIL] == STOW_UNKNOWN);
}

TEST(all_fields_of_meminfo)
{
	static const char text[] = "\nNode 3 MemTotal:        2096684 kB\n"
				   "Node 3 Active(anon):         12 kB\n"
				   "Node 3 HugePages_Total:     4\n"
				   "Node 3 NotYetInvented:      5 kB\n"
				   "Node 3 Odd: 5 MB\n"
				   "Node x MemFree: 5 kB\n"
				   "Node 3 MemFree 5 kB\n"
				   "Node 3 Much: 18446744073709551615 kB\n"
				   "\x02\x03\n";
	_cleanup_free_ struct stow_field *fields = NULL;
	_cleanup_free_ char *copy = bare(text);
	size_t n = 0, other = 0;

	assert_int_equal(stow_fields_parse(copy, strlen(text), &fields, &n, &other, NULL), 0);
	assert_int_equal(n, 4);
	assert_int_equal(other, 5);
	assert_string_equal(fields[0].name, "MemTotal");
	assert_int_equal(fields[0].value, UINT64_C(2096684) << 10);
	assert_true(fields[0].bytes);
	assert_string_equal(fields[1].name, "Active(anon)");
	assert_string_equal(fields[2].name, "HugePages_Total");
	assert_int_equal(fields[2].value, 4);
	assert_false(fields[2].bytes);
	assert_string_equal(fields[3].name, "NotYetInvented");
}

static int psi(const char *text, struct stow_psi *ret)
{
	_cleanup_free_ char *copy = bare(text);

	return stow_psi_parse(copy, strlen(text), ret, NULL);
}

TEST(pressure_stall_information)
{
	static const char *const bad[] = {
		"",
		"some\n",
		"some avg10=0.00 avg60=0.00 avg300=0.00\n",
		"some avg10=0 avg60=0.00 avg300=0.00 total=0\n",
		"some avg10=-1.00 avg60=0.00 avg300=0.00 total=0\n",
		"some avg10=101.00 avg60=0.00 avg300=0.00 total=0\n",
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=x\n",
		"full avg10=0.00 avg300=0.00 avg60=0.00 total=0\n",
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull 1\n",
	};
	struct stow_psi got = { 0 };

	assert_int_equal(psi("some avg10=1.05 avg60=22.50 avg300=100.00 total=12345\n"
			     "full avg10=0.00 avg60=0.99 avg300=3.00 total=7",
			     &got),
			 0);
	assert_int_equal(got.some.avg10, 105);
	assert_int_equal(got.some.avg60, 2250);
	assert_int_equal(got.some.avg300, 10000);
	assert_int_equal(got.some.total_us, 12345);
	assert_int_equal(got.full.avg60, 99);
	assert_int_equal(got.full.total_us, 7);
	/* Older kernels have no "full" for the CPU. */
	assert_int_equal(psi("some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n", &got), 0);
	assert_false(got.full.known);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		assert_int_equal(psi(bad[i], &got), -EINVAL);
}

static int numa_stat(const char *text, uint64_t unit, struct stow_numa_stat *ret)
{
	_cleanup_free_ char *copy = bare(text);

	return stow_numa_stat_parse(copy, strlen(text), unit, ret, NULL);
}

TEST(memory_of_a_cgroup_by_node)
{
	_cleanup_(stow_numa_stat_done) struct stow_numa_stat v2 = { 0 }, v1 = { 0 };

	assert_int_equal(numa_stat("anon N0=4096 N3=8192\nfile N0=0 N3=5\n", 1, &v2), 0);
	assert_int_equal(stow_numa_stat_get(&v2, "anon", 0), 4096);
	assert_int_equal(stow_numa_stat_get(&v2, "anon", 3), 8192);
	assert_int_equal(stow_numa_stat_get(&v2, "file", 0), 0);
	assert_true(stow_numa_stat_get(&v2, "anon", 1) == STOW_UNKNOWN);
	assert_true(stow_numa_stat_get(&v2, "shmem", 0) == STOW_UNKNOWN);
	assert_int_equal(
		numa_stat("total=9 N0=4 N1=5\nhierarchical_total=20 N0=11 N1=9\n", 4096, &v1), 0);
	assert_int_equal(stow_numa_stat_get(&v1, "hierarchical_total", 1), 9 * 4096);
	assert_int_equal(stow_numa_stat_get(&v1, "total", 0), 4 * 4096);
}

TEST(memory_of_a_cgroup_that_is_garbage)
{
	static const char *const bad[] = {
		"",
		"\n",
		"anon\n",
		"anon 5\n",
		"anon N0=5 x\n",
		"anon N0=-5\n",
		"=5 N0=5\n",
		"anon N8192=5\n",
		"a_name_that_is_longer_than_any_name_of_the_kernel N0=1\n",
		"anon N0=18446744073709551615\n",
		"anon N0=99999999999999999999\n",
	};
	struct stow_numa_stat stat = { 0 };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		assert_true(numa_stat(bad[i], 4096, &stat) < 0);
		assert_null(stat.rows);
	}
}

TEST(the_kernels_threads)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_free_ struct stow_node_daemon *list = NULL;
	struct stow_idset nodes = { 0 };
	size_t n = 0;

	assert_int_equal(stow_node_daemons(tree->root, &nodes, &list, &n, NULL), -ENOENT);
	tree_write(tree, "/proc/2/comm", "bash\n"); /* of another PID namespace */
	tree_write(tree, "/proc/2/task/2/children", "55 56 57 58 ");
	assert_int_equal(stow_node_daemons(tree->root, &nodes, &list, &n, NULL), -ENOENT);
	tree_write(tree, "/proc/2/comm", "kthreadd\n");
	tree_write(tree, "/proc/55/comm", "kswapd12\n");
	tree_write(tree, "/proc/55/stat",
		   "55 (kswapd) 12) R 2 0 0 0 -1 10758208 0 0 0 0 100 50 0 0 20 0 1 0 40\n");
	tree_write(tree, "/proc/56/comm", "kcompactd0\n");
	tree_write(tree, "/proc/56/stat", "56 (kcompactd0) S 2\n"); /* cut */
	tree_write(tree, "/proc/57/comm", "kswapdx\n");
	tree_write(tree, "/proc/99/comm", "kswapd1\n"); /* a program with that name */
	assert_int_equal(stow_node_daemons(tree->root, &nodes, &list, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_int_equal(list[0].node, 12);
	assert_false(list[0].compacts);
	assert_int_equal(list[0].pid, 55);
	assert_int_equal(list[0].state, 'R');
	assert_true(list[0].cpu_ns == 150 * (STOW_SECOND / (uint64_t)sysconf(_SC_CLK_TCK)));
	assert_true(list[1].compacts);
	assert_true(list[1].cpu_ns == UINT64_MAX);
	/* It ends with the last of the nodes that there are. */
	free(STOW_TAKE_PTR(list));
	tree_write(tree, "/proc/57/comm", "kswapd0\n");
	tree_write(tree, "/proc/58/comm", "kcompactd12\n");
	stow_idset_add(&nodes, 0);
	assert_int_equal(stow_node_daemons(tree->root, &nodes, &list, &n, NULL), 0);
	assert_int_equal(n, 3);
	free(STOW_TAKE_PTR(list));
	stow_idset_add(&nodes, 12);
	assert_int_equal(stow_node_daemons(tree->root, &nodes, &list, &n, NULL), 0);
	assert_int_equal(n, 4);
}

TEST(compacting_and_reclaiming)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_free_ char *compact = NULL, *reclaim = NULL;
	struct stow_err err = { 0 };

	assert_int_equal(stow_node_compact(tree->root, 1, &err), -ENOENT);
	assert_int_equal(stow_node_reclaim(tree->root, 1, 4096, &err), -ENOENT);
	tree_mkdir(tree, "/sys/devices/system/node/node1");
	assert_int_equal(stow_node_compact(tree->root, 1, &err), -ENOTSUP);
	assert_int_equal(stow_node_reclaim(tree->root, 1, 4096, &err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "node1/reclaim"));
	tree_write(tree, "/sys/devices/system/node/node1/compact", "%s", "");
	tree_write(tree, "/sys/devices/system/node/node1/reclaim", "%s", "");
	assert_int_equal(stow_node_compact(tree->root, 1, &err), 0);
	assert_int_equal(stow_node_reclaim(tree->root, 1, UINT64_C(3) << 30, &err), 0);
	compact = tree_read(tree, "/sys/devices/system/node/node1/compact");
	reclaim = tree_read(tree, "/sys/devices/system/node/node1/reclaim");
	assert_string_equal(compact, "1");
	assert_string_equal(reclaim, "3221225472");
}

TEST(times_of_cpus)
{
	static const char text[] = "cpu  9 9 9 9 9 9 9 9 9 9\n"
				   "cpu0 10 1 2 100 50 3 4 5 7 7\n"
				   "cpu3 1 0 0 9\n"
				   "intr 1 2 3\ncpu4 1 1 1 1\n";
	static const char *const bad[] = { "",
					   "cpu  1 2 3 4\n",
					   "cpu0 1 2 3\n",
					   "cpux 1 2 3 4\n",
					   "cpu99999 1 2 3 4\n",
					   "cpu-1 1 2 3 4\n" };
	_cleanup_free_ char *copy = bare(text);
	_cleanup_free_ struct stow_cpu_time *list = NULL;
	size_t n;

	assert_int_equal(stow_cpu_times_parse(copy, strlen(text), &list, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_int_equal(list[0].cpu, 0);
	assert_true(list[0].busy == 25 && list[0].all == 175); /* guest is part of user */
	assert_int_equal(list[1].cpu, 3);
	assert_true(list[1].busy == 1 && list[1].all == 10);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		assert_int_equal(stow_cpu_times_parse(bad[i], strlen(bad[i]), &list, &n, NULL),
				 -EINVAL);
}
