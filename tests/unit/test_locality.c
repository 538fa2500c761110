// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "node/locality.h"

#define CPU  "/sys/devices/system/cpu"
#define NODE "/sys/devices/system/node"
#define TIER "/sys/devices/virtual/memory_tiering"

/* `distances`: rows separated by newlines. Each node has `per_node` CPUs, the last `without` none;
 * two nodes are a package. */
static struct tree *machine(int nodes, int per_node, int without, const char *const *distances)
{
	struct tree *tree = tree_new();
	int cpus = (nodes - without) * per_node;
	char path[128];

	tree_write(tree, CPU "/online", "0-%d\n", cpus - 1);
	tree_write(tree, NODE "/online", "0-%d\n", nodes - 1);
	for (int n = 0; n < nodes; n++) {
		snprintf(path, sizeof(path), NODE "/node%d/cpulist", n);
		if (n < nodes - without)
			tree_write(tree, path, "%d-%d\n", n * per_node, (n + 1) * per_node - 1);
		else
			tree_write(tree, path, "\n");
		snprintf(path, sizeof(path), NODE "/node%d/meminfo", n);
		tree_write(tree, path, "Node %d MemTotal: 1024 kB\nNode %d MemFree: 1 kB\n", n, n);
		snprintf(path, sizeof(path), NODE "/node%d/distance", n);
		if (distances)
			tree_write(tree, path, "%s\n", distances[n]);
	}
	for (int c = 0; c < cpus; c++) {
		snprintf(path, sizeof(path), CPU "/cpu%d/topology/physical_package_id", c);
		tree_write(tree, path, "%d\n", c / (2 * per_node));
	}
	return tree;
}

static struct stow_locality read_locality(struct tree *tree, struct stow_topology **ret)
{
	struct stow_topology *t = NULL;
	struct stow_err err = { 0 };
	struct stow_locality l;

	if (stow_topology_read(tree->root, STOW_TOPOLOGY_CPUS, &t, &err) < 0 ||
	    stow_locality_read(tree->root, t, &l, &err) < 0)
		fail_msg("%s", err.msg);
	*ret = t;
	return l;
}

static void expect_order(const struct stow_locality *l, size_t node, const char *order)
{
	char text[128] = "";
	size_t n = 0;

	for (size_t i = 0; i < l->nodes[node].n_fallback; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%d", i ? " " : "",
				      l->nodes[node].fallback[i]);
	assert_string_equal(text, order);
}

/* What a guest with these distances printed at boot ("Fallback order for Node"), Linux 6.1. */
TEST(fallback_is_the_kernels)
{
	static const char *const rows[] = { "10 21 28", "21 10 17", "28 17 10" };
	struct tree *tree = machine(3, 2, 1, rows);
	struct stow_topology *t;
	struct stow_locality l = read_locality(tree, &t);

	expect_order(&l, 0, "0 1 2");
	expect_order(&l, 1, "1 2 0");
	expect_order(&l, 2, "2 1 0");
	stow_locality_done(&l);
	stow_topology_free(t);
	tree_free(tree);
}

TEST(fallback_goes_round_and_skips_nodes_without_memory)
{
	static const char *const rows[] = { "10 20 20 20", "20 10 20 20", "20 20 10 20",
					    "20 20 20 10" };
	struct tree *tree = machine(4, 1, 0, rows);
	struct stow_topology *t;
	struct stow_locality l = read_locality(tree, &t);

	/* Each next one first: a lower number costs 1, and the load decides between equals. */
	expect_order(&l, 0, "0 1 2 3");
	expect_order(&l, 1, "1 2 3 0");
	expect_order(&l, 2, "2 3 0 1");
	expect_order(&l, 3, "3 0 1 2");
	stow_locality_done(&l);
	stow_topology_free(t);
	tree_write(tree, NODE "/has_memory", "0,2\n");
	l = read_locality(tree, &t);
	expect_order(&l, 0, "0 2");
	expect_order(&l, 1, "2 0");
	stow_locality_done(&l);
	stow_topology_free(t);
	tree_free(tree);
}

TEST(states_are_known_or_unknown)
{
	struct tree *tree = machine(2, 1, 0, NULL);
	struct stow_topology *t;
	struct stow_locality l;

	tree_write(tree, NODE "/possible", "0-7\n");
	tree_write(tree, NODE "/has_generic_initiator", "\n");
	tree_write_data(tree, NODE "/has_memory", "", 0);
	tree_write(tree, NODE "/has_cpu", "garbage\n");
	tree_write(tree, CPU "/possible", "0-15\n");
	tree_write(tree, CPU "/present", "0-1\n");
	l = read_locality(tree, &t);
	assert_true(l.known[STOW_NODE_POSSIBLE]);
	assert_int_equal(stow_idset_count(&l.states[STOW_NODE_POSSIBLE]), 8);
	assert_true(l.known[STOW_NODE_HAS_GENERIC_INITIATOR]);
	assert_true(stow_idset_empty(&l.states[STOW_NODE_HAS_GENERIC_INITIATOR]));
	assert_false(l.known[STOW_NODE_HAS_MEMORY]);
	assert_false(l.known[STOW_NODE_HAS_CPU]);
	assert_false(l.known[STOW_NODE_HAS_NORMAL_MEMORY]);
	assert_int_equal(l.n_broken, 1); /* a missing or empty file is normal */
	assert_non_null(strstr(l.broken.msg, "has_cpu"));
	assert_true(l.cpus_known);
	stow_locality_done(&l);
	stow_topology_free(t);
	tree_free(tree);
}

TEST(memory_has_access_caches_and_a_tier)
{
	static const char *const files[][2] = {
		{ "access0/initiators/read_latency", "200" },
		{ "access0/initiators/write_latency", "210" },
		{ "access0/initiators/read_bandwidth", "5120" },
		{ "access0/initiators/write_bandwidth", "x" },
		{ "memory_side_cache/index1/size", "67108864" },
		{ "memory_side_cache/index1/line_size", "64" },
		{ "memory_side_cache/index1/indexing", "0" },
		{ "memory_side_cache/index1/write_policy", "1" },
		{ "memory_side_cache/index2/size", "" },
	};
	struct tree *tree = machine(2, 1, 0, NULL);
	const struct stow_locality_node *node;
	struct stow_topology *t;
	struct stow_locality l;
	char path[128];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), NODE "/node1/%s", files[i][0]);
		tree_write(tree, path, "%s\n", files[i][1]);
	}
	tree_mkdir(tree, NODE "/node1/access0/initiators/node0");
	tree_write(tree, TIER "/memory_tier4/nodelist", "0\n");
	tree_write(tree, TIER "/memory_tier22/nodelist", "1\n");
	tree_write(tree, "/sys/kernel/mm/numa/demotion_enabled", "true\n");
	l = read_locality(tree, &t);
	node = &l.nodes[1];
	assert_true(node->access[0].known);
	assert_false(node->access[1].known);
	assert_true(stow_idset_has(&node->access[0].initiators, 0));
	assert_int_equal(node->access[0].read_latency, 200);
	assert_int_equal(node->access[0].read_bandwidth, 5120);
	assert_int_equal(node->access[0].write_bandwidth, 0);
	assert_int_equal(node->n_caches, 2);
	assert_int_equal(node->caches[0].size, 64 << 20);
	assert_string_equal(stow_side_cache_indexing(&node->caches[0]), "direct-mapped");
	assert_string_equal(stow_side_cache_policy(&node->caches[0]), "write-through");
	assert_int_equal(node->caches[1].size, -1);
	assert_null(stow_side_cache_policy(&node->caches[1]));
	assert_int_equal(l.nodes[0].tier, 4);
	assert_int_equal(node->tier, 22);
	assert_int_equal(l.demotion, 1);
	assert_int_equal(l.n_broken, 2);
	stow_locality_done(&l);
	stow_topology_free(t);
	tree_free(tree);
}

TEST(nodes_per_package_are_counted)
{
	struct tree *tree = machine(4, 2, 0, NULL);
	struct stow_topology *t;
	struct stow_locality l;

	tree_write(tree, "/proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD\n");
	l = read_locality(tree, &t);
	assert_int_equal(l.nodes_per_package, 2);
	assert_string_equal(l.packaging, "NPS");
	stow_locality_done(&l);
	stow_topology_free(t);
	tree_free(tree);

	tree = machine(3, 2, 0, NULL); /* the second package has one node */
	tree_write(tree, "/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\n");
	l = read_locality(tree, &t);
	assert_int_equal(l.nodes_per_package, -1);
	assert_string_equal(l.packaging, "SNC");
	stow_locality_done(&l);
	stow_topology_free(t);
	tree_free(tree);

	tree = machine(1, 4, 0, NULL); /* a node of two packages */
	tree_write(tree, CPU "/cpu3/topology/physical_package_id", "9\n");
	l = read_locality(tree, &t);
	assert_int_equal(l.nodes_per_package, -1);
	assert_string_equal(l.packaging, "");
	stow_locality_done(&l);
	stow_topology_free(t);
	tree_free(tree);
}
