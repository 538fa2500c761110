// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "node/hugepage.h"
#include "node/topology.h"

#define CPU  "/sys/devices/system/cpu"
#define NODE "/sys/devices/system/node"

static void write_node(struct tree *tree, int id, const char *cpus, unsigned long mem_kib)
{
	char path[128];

	snprintf(path, sizeof(path), NODE "/node%d/cpulist", id);
	tree_write(tree, path, "%s\n", cpus);
	snprintf(path, sizeof(path), NODE "/node%d/meminfo", id);
	tree_write(tree, path, "Node %d MemTotal: %lu kB\nNode %d MemFree: %lu kB\n", id, mem_kib,
		   id, mem_kib / 2);
}

static void write_cpu(struct tree *tree, int id, const char *file, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), CPU "/cpu%d/%s", id, file);
	tree_write(tree, path, "%s\n", text);
}

static struct stow_topology *read_all(struct tree *tree)
{
	struct stow_topology *t = NULL;
	struct stow_err err = { 0 };

	if (stow_topology_read(tree->root, STOW_TOPOLOGY_ALL, &t, &err) < 0)
		fail_msg("%s", err.msg);
	return t;
}

static void assert_cpus(const struct stow_topology *t, int node, const char *list)
{
	char buf[256];

	assert_non_null(stow_topology_node(t, node));
	assert_string_equal(stow_idset_format(&stow_topology_node(t, node)->cpus, buf, sizeof(buf)),
			    list);
}

/* Two sockets of two cores with two threads each, siblings far apart, CPU 5 offline; node 4 has
 * memory only, node 7 nothing. */
static struct tree *machine(void)
{
	static const char *const cores[] = { "0,4", "1", "2,6", "3,7" };
	struct tree *tree = tree_new();

	tree_write(tree, CPU "/online", "0-4,6-7\n");
	tree_write(tree, NODE "/online", "0,2,4,7\n");
	write_node(tree, 0, "0-1,4-5", 4096);
	write_node(tree, 2, "2-3,6-7", 8192);
	write_node(tree, 4, "", 1024);
	write_node(tree, 7, "", 0);
	tree_write(tree, NODE "/node0/distance", "10 21 40 50\n");
	tree_write(tree, NODE "/node2/distance", "22 10 41 51\n"); /* not symmetric */
	for (int i = 0; i < 8; i++) {
		const char *package = i % 4 < 2 ? "0-1,4" : "2-3,6-7";

		if (i == 5)
			continue;
		write_cpu(tree, i, "topology/core_cpus_list", cores[i % 4]);
		write_cpu(tree, i, "topology/package_cpus_list", package);
		write_cpu(tree, i, "cache/index0/type", "Data");
		write_cpu(tree, i, "cache/index0/shared_cpu_list", cores[i % 4]);
		write_cpu(tree, i, "cache/index3/type", "Unified");
		write_cpu(tree, i, "cache/index3/shared_cpu_list", package);
	}
	return tree;
}

TEST(reads_an_ordinary_machine)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = read_all(tree);
	static const struct stow_cpu expected[] = {
		{ 0, 0, 0, 0, 0 }, { 1, 0, 1, 0, 0 }, { 2, 2, 2, 1, 1 }, { 3, 2, 3, 1, 1 },
		{ 4, 0, 0, 0, 0 }, { 6, 2, 2, 1, 1 }, { 7, 2, 3, 1, 1 },
	};

	assert_true(t->numa);
	assert_int_equal(t->n_nodes, 4);
	assert_cpus(t, 0, "0-1,4");
	assert_cpus(t, 2, "2-3,6-7");
	assert_cpus(t, 4, "");
	assert_null(stow_topology_node(t, 1));
	assert_null(stow_topology_node(t, 8));
	assert_int_equal(t->nodes[1].mem_total, 8192 << 10);
	assert_int_equal(t->nodes[1].mem_free, 4096 << 10);
	assert_int_equal(t->nodes[1].mem_available, 4096 << 10); /* no zoneinfo */
	assert_int_equal(t->nodes[3].mem_total, 0);
	assert_int_equal(t->n_cpus, STOW_ARRAY_SIZE(expected));
	for (size_t i = 0; i < t->n_cpus; i++)
		assert_memory_equal(&t->cpus[i], &expected[i], sizeof(expected[i]));
}

TEST(isolated_cpus_that_are_online)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	struct stow_topology *t = read_all(tree);
	struct stow_err err = { 0 };
	char buf[64];

	/* Kernels before 4.1 have no such file. */
	assert_true(stow_idset_empty(&t->isolated));
	stow_topology_free(t);
	tree_write(tree, CPU "/isolated", "\n");
	t = read_all(tree);
	assert_true(stow_idset_empty(&t->isolated));
	stow_topology_free(t);
	tree_write(tree, CPU "/isolated", "3,5,7-9\n");
	t = read_all(tree);
	assert_string_equal(stow_idset_format(&t->isolated, buf, sizeof(buf)), "3,7");
	stow_topology_free(t);
	/* What cannot be read may be isolated all the same. */
	tree_write(tree, CPU "/isolated", "some\n");
	assert_int_equal(stow_topology_read(tree->root, 0, &t, &err), -EINVAL);
	assert_non_null(strstr(err.msg, CPU "/isolated"));
}

TEST(distances_by_id)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = read_all(tree);

	assert_int_equal(stow_topology_distance(t, 0, 2), 21);
	assert_int_equal(stow_topology_distance(t, 2, 0), 22);
	assert_int_equal(stow_topology_distance(t, 2, 7), 51);
	assert_int_equal(stow_topology_distance(t, 7, 0), 20); /* there is no file: assumed */
	assert_int_equal(stow_topology_distance(t, 7, 7), 10);
	assert_int_equal(stow_topology_distance(t, 0, 1), -1);
	assert_int_equal(t->nodes[0].assumed & STOW_ASSUMED_DISTANCES, 0);
	assert_int_equal(t->nodes[3].assumed & STOW_ASSUMED_DISTANCES, STOW_ASSUMED_DISTANCES);
	assert_int_equal(t->assumed & STOW_ASSUMED_DISTANCES, STOW_ASSUMED_DISTANCES);
}

/* Reading fails, and says in which file. */
static void assert_unreadable(struct tree *tree, const char *path)
{
	struct stow_topology *t = NULL;
	struct stow_err err = { 0 };
	int r = stow_topology_read(tree->root, STOW_TOPOLOGY_ALL, &t, &err);

	if (r >= 0 || !strstr(err.msg, path))
		fail_msg("%s: %d, \"%s\"", path, r, err.msg);
	assert_int_equal(err.code, -r);
	assert_null(t);
}

TEST(odd_distances_are_errors)
{
	static const char *const bad[] = {
		"",	      "10 21 40",    "10 21 40 50 60", "10 -21 40 50",
		"10 x 40 50", "10,21,40,50", "10 21 40 50x",   "10 99999999 40 50"
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = machine();

		tree_write(tree, NODE "/node0/distance", "%s\n", bad[i]);
		assert_unreadable(tree, NODE "/node0/distance");
	}
}

/* No guess stands for what is there: neither for what makes no sense, nor for what cannot be read. */
TEST(what_is_there_and_cannot_be_read_is_an_error)
{
	static const char *const files[] = { CPU "/online",
					     CPU "/cpu0/topology/core_cpus_list",
					     CPU "/cpu0/topology/package_cpus_list",
					     CPU "/cpu0/cache/index3/shared_cpu_list",
					     CPU "/cpu0/cache/index3/type",
					     NODE "/online",
					     NODE "/node0/cpulist",
					     NODE "/node0/distance",
					     NODE "/node0/meminfo" };
	static const char *const texts[] = { CPU "/cpu0/topology/core_cpus_list",
					     CPU "/cpu0/topology/package_cpus_list",
					     CPU "/cpu0/cache/index3/shared_cpu_list",
					     NODE "/node0/cpulist" };
	/* Older names, when the newer file is not there. */
	static const char *const older[][2] = {
		{ CPU "/cpu0/topology/core_cpus_list", CPU "/cpu0/topology/thread_siblings" },
		{ CPU "/cpu0/topology/package_cpus_list", CPU "/cpu0/topology/core_siblings" },
		{ CPU "/cpu0/topology/package_cpus_list",
		  CPU "/cpu0/topology/physical_package_id" },
		{ CPU "/cpu0/cache/index3/shared_cpu_list",
		  CPU "/cpu0/cache/index3/shared_cpu_map" },
		{ NODE "/node0/cpulist", NODE "/node0/cpumap" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(files); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = machine();

		tree_remove(tree, files[i]);
		tree_mkdir(tree, files[i]);
		assert_unreadable(tree, files[i]);
	}
	for (size_t i = 0; i < STOW_ARRAY_SIZE(texts); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = machine();

		tree_write(tree, texts[i], "0-\n");
		assert_unreadable(tree, texts[i]);
	}
	for (size_t i = 0; i < STOW_ARRAY_SIZE(older); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = machine();

		tree_remove(tree, older[i][0]);
		tree_write(tree, older[i][1], "x\n");
		assert_unreadable(tree, older[i][1]);
	}
}

/* powerpc's caches, before Linux 4.20. */
TEST(a_mask_may_end_in_two_newlines)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = NULL;

	tree_write(tree, CPU "/online", "0-3\n");
	tree_write(tree, "/proc/meminfo", "MemTotal: 2048 kB\nMemFree: 1024 kB\n");
	for (int i = 0; i < 4; i++) {
		write_cpu(tree, i, "cache/index2/type", "Unified");
		write_cpu(tree, i, "cache/index2/shared_cpu_map", i < 2 ? "03\n" : "0c\n");
	}
	t = read_all(tree);
	assert_int_equal(t->cpus[0].llc, t->cpus[1].llc);
	assert_int_not_equal(t->cpus[1].llc, t->cpus[2].llc);
	assert_int_equal(t->assumed & STOW_ASSUMED_CACHES, 0);
}

static void assert_assumed(unsigned int assumed, const char *names)
{
	char text[128] = "";

	for (unsigned int what = 1; what < STOW_ASSUMED_END; what <<= 1)
		if (assumed & what)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
				 text[0] ? " " : "", stow_topology_assumed_name(what));
	assert_string_equal(text, names);
}

TEST(guesses_are_noted)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = NULL;

	tree_write(tree, CPU "/online", "0-1\n");
	write_node(tree, 0, "0", 4096);
	tree_mkdir(tree, NODE "/node1");
	t = read_all(tree);
	assert_assumed(t->nodes[0].assumed, "cpus cores caches packages available distances");
	assert_assumed(t->nodes[1].assumed, "cpus memory available distances");
	assert_assumed(t->assumed, "cpus cores caches packages memory available distances");
	assert_null(stow_topology_assumed_name(0));
	assert_null(stow_topology_assumed_name(STOW_ASSUMED_END));
	stow_topology_free(t);
	t = NULL;

	/* Nothing is left to be guessed. */
	tree_write(tree, NODE "/node0/distance", "10 21\n");
	tree_write(tree, NODE "/node1/distance", "21 10\n");
	tree_write(tree, "/proc/zoneinfo", "Node 0, zone Normal\n  pages free 60\n");
	write_node(tree, 1, "1", 0);
	for (int i = 0; i < 2; i++) {
		write_cpu(tree, i, "topology/thread_siblings_list", i ? "1" : "0");
		write_cpu(tree, i, "topology/physical_package_id", i ? "1" : "0");
		write_cpu(tree, i, "cache/index0/shared_cpu_list", i ? "1" : "0");
	}
	t = read_all(tree);
	assert_assumed(t->assumed, "");
	assert_int_equal(t->cpus[1].package, 1);
	stow_topology_free(t);
	t = NULL;

	/* arm64 says -1 where firmware says nothing: that is no number, and no error either. */
	write_cpu(tree, 0, "topology/physical_package_id", "-1");
	write_cpu(tree, 1, "topology/physical_package_id", "-1");
	t = read_all(tree);
	assert_assumed(t->assumed, "packages");
	assert_int_equal(t->cpus[1].package, 0);
}

TEST(only_what_was_asked_for)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = NULL;

	tree_write(tree, "/proc/zoneinfo", "this is not read\n");
	assert_int_equal(stow_topology_read(tree->root, 0, &t, NULL), 0);
	assert_null(t->cpus);
	assert_int_equal(t->nodes[0].mem_available, t->nodes[0].mem_free);
}

TEST(available_from_the_zones)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = NULL;
	struct stow_err err = { 0 };
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	tree_write(tree, "/proc/zoneinfo",
		   "Node 0, zone Normal\n  pages free 60\n  low 8\n  high 10\n"
		   "Node 2, zone Normal\n  pages free 18446744073709551614\n  low 8\n  high 10\n");
	t = read_all(tree);
	assert_int_equal(t->nodes[0].mem_available, 50 * page);
	assert_int_equal(t->nodes[1].mem_available, t->nodes[1].mem_total); /* never more */
	assert_int_equal(t->nodes[2].mem_available, 0);			    /* in no zone */
	tree_write(tree, "/proc/zoneinfo", "nonsense\n");
	stow_topology_free(t);
	t = NULL;
	assert_int_equal(stow_topology_read(tree->root, STOW_TOPOLOGY_ALL, &t, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "zoneinfo"));
}

TEST(masks_where_lists_are_missing)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = NULL;

	for (int i = 0; i < 40; i++) {
		bool low = i < 32;

		if (i == 0 || i == 32)
			write_cpu(tree, i, "topology/thread_siblings", "01,00000001");
		write_cpu(tree, i, "topology/core_siblings", low ? "0,ffffffff" : "FF,00000000");
		write_cpu(tree, i, "cache/index0/type", "Instruction");
		write_cpu(tree, i, "cache/index0/shared_cpu_map", "ffffffff,ffffffff");
	}
	tree_write(tree, NODE "/node0/cpumap", "00,ffffffff\n");
	tree_write(tree, NODE "/node3/cpumap", "ff,00000000\n");
	t = read_all(tree);
	assert_int_equal(t->n_nodes, 2);
	assert_cpus(t, 0, "0-31");
	assert_cpus(t, 3, "32-39");
	assert_int_equal(t->cpus[32].core, t->cpus[0].core);
	assert_int_not_equal(t->cpus[1].core, t->cpus[2].core);
	assert_int_equal(t->cpus[31].package, 0);
	assert_int_equal(t->cpus[33].package, 1);
	/* only caches for instructions: as if there were none */
	assert_int_equal(t->cpus[31].llc, 0);
	assert_int_not_equal(t->cpus[33].llc, 0);
}

TEST(old_kernels_have_online_in_each_cpu)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = NULL;
	char buf[64];

	tree_mkdir(tree, CPU "/cpu0"); /* the boot CPU has no such file */
	write_cpu(tree, 1, "online", "1");
	write_cpu(tree, 2, "online", "0");
	write_cpu(tree, 3, "online", "1");
	tree_mkdir(tree, CPU "/cpufreq");
	/* nor have others that cannot be switched off; those behind them may be */
	tree_mkdir(tree, CPU "/cpu4");
	tree_mkdir(tree, CPU "/cpu5");
	write_cpu(tree, 6, "online", "0");
	write_cpu(tree, 7, "online", "1");
	t = read_all(tree);
	assert_string_equal(stow_idset_format(&t->online, buf, sizeof(buf)), "0-1,3-5,7");
	write_cpu(tree, 6, "online", "perhaps");
	assert_unreadable(tree, CPU "/cpu6/online");
}

TEST(without_numa_there_is_one_node)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = NULL;
	struct stow_pool pool;

	tree_write(tree, CPU "/online", "0-3\n");
	tree_write(tree, "/proc/meminfo", "MemTotal: 2048 kB\nMemFree: 1024 kB\n");
	tree_write(tree, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "5\n");
	tree_write(tree, "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "3\n");
	tree_write(tree, "/sys/kernel/mm/hugepages/hugepages-2048kB/surplus_hugepages", "1\n");
	t = read_all(tree);
	assert_false(t->numa);
	assert_int_equal(t->n_nodes, 1);
	assert_cpus(t, 0, "0-3");
	assert_int_equal(t->nodes[0].mem_total, 2 << 20);
	assert_int_equal(t->nodes[0].n_pools, 1);
	assert_int_equal(t->nodes[0].pools[0].total, 5);
	assert_int_equal(t->nodes[0].pools[0].surplus, 1);
	assert_int_equal(stow_topology_distance(t, 0, 0), 10);
	assert_int_equal(t->cpus[3].core, 3);
	assert_int_equal(t->cpus[3].llc, 0);
	assert_int_equal(t->cpus[3].package, 0);
	assert_int_equal(stow_pool_read(tree->root, 1, 2 << 20, &pool, NULL), -ENOENT);
	assert_int_equal(stow_pool_write(tree->root, 0, 2 << 20, 9, NULL), 0);
	assert_int_equal(stow_pool_read(tree->root, 0, 2 << 20, &pool, NULL), 0);
	assert_int_equal(pool.total, 9);
}

TEST(a_cpu_is_on_one_node_only)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = NULL;

	write_node(tree, 0, "0-3", 1024);
	write_node(tree, 1, "0-3", 1024);
	tree_write(tree, CPU "/online", "0-5\n");
	tree_link(tree, CPU "/cpu5/node1", "../../node/node1");
	tree_link(tree, CPU "/cpu1/node1", "../../node/node1");
	tree_link(tree, CPU "/cpu2/node9", "../../node/node9"); /* which is not online */
	tree_link(tree, CPU "/cpu3/node1", "../../node/node1");
	t = read_all(tree);
	assert_cpus(t, 0, "0,2,4"); /* 4 is on none */
	assert_cpus(t, 1, "1,3,5"); /* 5 is on none either, but it has a link */
	assert_int_equal(t->cpus[3].node, 1);
	assert_int_equal(t->nodes[0].assumed & STOW_ASSUMED_CPUS, STOW_ASSUMED_CPUS);
	assert_int_equal(t->nodes[1].assumed & STOW_ASSUMED_CPUS, 0);
}

TEST(nothing_at_all_is_no_data)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_topology *t = NULL;
	struct stow_err err = { 0 };

	assert_int_equal(stow_topology_read(tree->root, STOW_TOPOLOGY_ALL, &t, &err), -ENODATA);
	assert_int_equal(err.code, ENODATA);
	assert_null(t);
	tree_write(tree, CPU "/online", "0-x\n");
	assert_int_equal(stow_topology_read(tree->root, STOW_TOPOLOGY_ALL, &t, &err), -EINVAL);
}

TEST(a_thousand_cpus_on_many_nodes)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = NULL;
	char list[64];

	tree_write(tree, CPU "/online", "0-1023\n");
	for (int n = 0; n < 128; n++) {
		snprintf(list, sizeof(list), "%d-%d,%d-%d", n * 4, n * 4 + 3, n * 4 + 512,
			 n * 4 + 515);
		write_node(tree, n, list, 1024);
	}
	for (int i = 0; i < 512; i++) {
		snprintf(list, sizeof(list), "%d,%d", i, i + 512);
		write_cpu(tree, i, "topology/thread_siblings_list", list);
	}
	t = read_all(tree);
	assert_int_equal(t->n_nodes, 128);
	assert_int_equal(t->n_cpus, 1024);
	for (int i = 0; i < 1024; i++) {
		assert_int_equal(t->cpus[i].core, i % 512);
		assert_int_equal(t->cpus[i].node, i % 512 / 4);
		assert_int_equal(t->cpus[i].llc, t->cpus[i].node);
	}
}

/* --- hugepage pools -------------------------------------------------------------------------- */

static void write_pool(struct tree *tree, int node, int kib, const char *nr)
{
	char path[128];

	snprintf(path, sizeof(path), NODE "/node%d/hugepages/hugepages-%dkB/nr_hugepages", node,
		 kib);
	tree_write(tree, path, "%s\n", nr);
	snprintf(path, sizeof(path), NODE "/node%d/hugepages/hugepages-%dkB/free_hugepages", node,
		 kib);
	tree_write(tree, path, "1\n");
	snprintf(path, sizeof(path), NODE "/node%d/hugepages/hugepages-%dkB/surplus_hugepages",
		 node, kib);
	tree_write(tree, path, "0\n");
}

TEST(pools_by_ascending_size)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = NULL;

	tree_mkdir(tree, "/sys/kernel/mm/hugepages/hugepages-1048576kB");
	tree_mkdir(tree, "/sys/kernel/mm/hugepages/hugepages-64kB");
	tree_mkdir(tree, "/sys/kernel/mm/hugepages/hugepages-2048kB");
	tree_mkdir(tree, "/sys/kernel/mm/hugepages/hugepages-0kB");
	tree_mkdir(tree, "/sys/kernel/mm/hugepages/hugepages-99999999999999999999999kB");
	tree_mkdir(tree, "/sys/kernel/mm/hugepages/hugepages-2MB");
	write_pool(tree, 0, 1048576, "2");
	write_pool(tree, 0, 64, "0");
	write_pool(tree, 0, 2048, "512");
	write_pool(tree, 2, 2048, "7");
	t = read_all(tree);
	assert_int_equal(t->nodes[0].n_pools, 3);
	assert_int_equal(t->nodes[0].pools[0].size, 64 << 10);
	assert_int_equal(t->nodes[0].pools[0].free, 0); /* not read of an empty pool */
	assert_int_equal(t->nodes[0].pools[1].total, 512);
	assert_int_equal(t->nodes[0].pools[2].size, 1 << 30);
	assert_int_equal(t->nodes[1].n_pools, 1);
	assert_int_equal(t->nodes[2].n_pools, 0);
}

TEST(a_broken_pool_is_an_error)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	struct stow_pool pool;
	struct stow_err err = { 0 };

	write_pool(tree, 2, 2048, "-1");
	assert_int_equal(stow_pool_read(tree->root, 2, 2 << 20, &pool, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "node2"));
	assert_int_equal(stow_pool_read(tree->root, 0, 2 << 20, &pool, &err), -ENOENT);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(stow_pool_write(tree->root, 0, 2 << 20, 1, &err), -ENOENT);
}

static int writes, signals;

static void on_signal(int number)
{
	signals++;
}

static void wrote(void *ctx, struct stow_root *root, const char *path, const char *value)
{
	writes++;
	raise(SIGUSR1);
	assert_int_equal(signals, 0); /* pending: it comes behind the write */
	assert_string_equal(path, NODE "/node2/hugepages/hugepages-2048kB/nr_hugepages");
	assert_string_equal(value, "12");
}

TEST(a_pool_is_written_once_with_signals_blocked)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	static const struct stow_root_ops ops = { .wrote = wrote };
	struct sigaction action = { .sa_handler = on_signal }, old;
	struct stow_pool pool;

	write_pool(tree, 2, 2048, "7");
	sigaction(SIGUSR1, &action, &old);
	tree->root->ops = &ops;
	assert_int_equal(stow_pool_write(tree->root, 2, 2 << 20, 12, NULL), 0);
	sigaction(SIGUSR1, &old, NULL);
	assert_int_equal(writes, 1);
	assert_int_equal(signals, 1);
	assert_int_equal(stow_pool_read(tree->root, 2, 2 << 20, &pool, NULL), 0);
	assert_int_equal(pool.total, 12);
	assert_int_equal(pool.free, 1);
}

/* --- when things go wrong -------------------------------------------------------------------- */

static int fail_at;

static int before(void *ctx, const char *path, const char *value)
{
	return --fail_at == 0 ? -EIO : 0;
}

/* Every single access fails once: the answer is whole or an error, never a crash or a leak. */
TEST(any_file_may_fail)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	static const struct stow_root_ops ops = { .before = before };
	int failed = 0, n = 0;

	write_pool(tree, 0, 2048, "5");
	tree_write(tree, "/proc/zoneinfo", "Node 0, zone Normal\n  pages free 60\n");
	tree->root->ops = &ops;
	do {
		_cleanup_(stow_topology_free_ptr) struct stow_topology *t = NULL;
		struct stow_err err = { 0 };
		int r;

		fail_at = ++n;
		r = stow_topology_read(tree->root, STOW_TOPOLOGY_ALL, &t, &err);
		assert_int_equal(r, -err.code);
		assert_true((r == 0) == (t != NULL));
		failed += r < 0;
	} while (fail_at <= 0);
	assert_in_range(failed, 5, n);
}
