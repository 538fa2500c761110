// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cleanup.h"
#include "machine.h"
#include "place/capacity.h"

#define MI (UINT64_C(1) << 20)
#define GI (UINT64_C(1) << 30)

/* Two nodes of 4 cores with 2 threads and 16Gi: node 0 has CPUs 0-3,8-11, node 1 has 4-7,12-15. */
static int setup(void **state)
{
	*state = machine_new(2, 4, 2, 0, 16 * GI);
	return 0;
}

static int teardown(void **state)
{
	stow_topology_free(*state);
	return 0;
}

#define WITH_TOPOLOGY(name) TEST_WITH(name, struct stow_topology *t, setup, teardown)

static struct stow_capacity *build(const struct stow_topology *t, const struct stow_config *config,
				   const struct stow_usage *usage, const char *cpus,
				   const char *mems)
{
	struct stow_idset allowed_cpus, allowed_mems;
	struct stow_capacity *c = NULL;

	if (cpus)
		stow_idset_parse(cpus, &allowed_cpus, NULL);
	if (mems)
		stow_idset_parse(mems, &allowed_mems, NULL);
	assert_int_equal(stow_capacity_build(t, config, usage, cpus ? &allowed_cpus : NULL,
					     mems ? &allowed_mems : NULL, &c, NULL),
			 0);
	return c;
}

static void assert_set(const struct stow_idset *set, const char *list)
{
	char buf[256];

	assert_string_equal(stow_idset_format(set, buf, sizeof(buf)), list);
}

WITH_TOPOLOGY(an_empty_machine_gives_all)
{
	_cleanup_(stow_capacity_free_ptr) struct stow_capacity *c =
		build(t, NULL, NULL, NULL, NULL);

	assert_int_equal(c->n_nodes, 2);
	assert_set(&c->nodes[1].cpus, "4-7,12-15");
	assert_set(&c->nodes[1].takeable, "4-7,12-15");
	assert_int_equal(c->nodes[0].cpus_total, 8);
	assert_int_equal(c->nodes[0].cpus_free, 8);
	assert_int_equal(c->nodes[0].mem_free, 16 * GI);
	assert_true(c->nodes[0].allowed);
	assert_false(c->nodes[0].fenced);
	assert_set(&c->nonexclusive, "0-15");
}

WITH_TOPOLOGY(what_is_reserved_is_not_there)
{
	struct stow_config_node reserved[2] = { { .id = -1, .cpus = 2, .memory = GI },
						{ .id = 1, .memory = 20 * GI } };
	struct stow_config config = { .reserved = reserved, .n_reserved = 2 };
	struct stow_capacity *c;

	stow_idset_parse("12-15", &reserved[1].cpu_set, NULL);
	c = build(t, &config, NULL, NULL, NULL);
	assert_set(&c->nodes[0].cpus, "2-3,8-11");
	assert_int_equal(c->nodes[0].cpus_total, 6);
	assert_int_equal(c->nodes[0].mem_total, 15 * GI);
	assert_set(&c->nodes[1].cpus, "4-7");
	assert_int_equal(c->nodes[1].mem_total, 0);
	assert_int_equal(c->nodes[1].mem_free, 0);
	stow_capacity_free(c);
	reserved[0].cpus = 100;
	c = build(t, &config, NULL, NULL, NULL);
	assert_int_equal(c->nodes[0].cpus_total, 0);
	stow_capacity_free(c);
}

WITH_TOPOLOGY(what_is_given_away_is_not_free)
{
	struct stow_node_usage nodes[1] = {
		{ .id = 0, .shared_cpus = 3, .memory = 6 * GI, .memory_outstanding = 2 * GI }
	};
	struct stow_usage usage = { .nodes = nodes, .n_nodes = 1 };
	struct stow_capacity *c;

	stow_idset_parse("0,8", &usage.exclusive, NULL);
	stow_idset_parse("9", &usage.pinned, NULL);
	stow_idset_parse("1", &usage.fenced, NULL);
	c = build(t, NULL, &usage, NULL, NULL);
	assert_set(&c->nodes[0].cpus, "1-3,9-11");
	assert_set(&c->nodes[0].takeable, "1-3,10-11");
	assert_int_equal(c->nodes[0].cpus_total, 8);
	assert_int_equal(c->nodes[0].cpus_free, 3); /* 8 less 2 exclusive less 3 promised */
	assert_int_equal(c->nodes[0].mem_unpromised, 10 * GI);
	assert_int_equal(c->nodes[0].mem_real, 14 * GI);
	assert_int_equal(c->nodes[0].mem_free, 10 * GI);
	assert_true(c->nodes[1].fenced);
	assert_set(&c->nonexclusive, "1-7,9-15");
	stow_capacity_free(c);
	/* More promised than there is, as after CPUs went offline. */
	nodes[0].shared_cpus = 100;
	nodes[0].memory = nodes[0].memory_outstanding = 100 * GI;
	c = build(t, NULL, &usage, NULL, NULL);
	assert_int_equal(c->nodes[0].cpus_free, 0);
	assert_int_equal(c->nodes[0].mem_free, 0);
	stow_capacity_free(c);
}

WITH_TOPOLOGY(isolated_cpus_are_for_one_mode_only)
{
	struct stow_config_node reserved = { .id = 0 };
	struct stow_config config = { .reserved = &reserved, .n_reserved = 1 };
	struct stow_usage usage = { 0 };
	struct stow_capacity *c;

	stow_idset_parse("2-3,10-12", &t->isolated, NULL);
	stow_idset_parse("10", &usage.exclusive, NULL);
	stow_idset_parse("11", &usage.pinned, NULL);
	c = build(t, NULL, &usage, NULL, NULL);
	assert_set(&c->nodes[0].cpus, "0-1,8-9");
	assert_set(&c->nodes[0].takeable, "0-1,8-9");
	assert_set(&c->nodes[0].isolated, "2-3");
	assert_int_equal(c->nodes[0].cpus_total, 4);
	assert_int_equal(c->nodes[0].cpus_free, 4);
	assert_int_equal(c->nodes[0].isolated_total, 4);
	assert_set(&c->nodes[1].isolated, "12");
	assert_set(&c->nonexclusive, "0-1,4-9,13-15");
	stow_capacity_free(c);
	/* Within the cgroup, and less what the administrator keeps. */
	stow_idset_parse("3", &reserved.cpu_set, NULL);
	c = build(t, &config, NULL, "0-3", NULL);
	assert_set(&c->nodes[0].isolated, "2");
	assert_int_equal(c->nodes[0].isolated_total, 3);
	stow_capacity_free(c);
}

WITH_TOPOLOGY(what_others_use_is_not_free_either)
{
	struct stow_capacity *c;

	t->nodes[0].mem_available = 3 * GI;
	c = build(t, NULL, NULL, NULL, NULL);
	assert_int_equal(c->nodes[0].mem_unpromised, 16 * GI);
	assert_int_equal(c->nodes[0].mem_free, 3 * GI);
	stow_capacity_free(c);
}

WITH_TOPOLOGY(the_cgroup_is_the_limit)
{
	_cleanup_(stow_capacity_free_ptr) struct stow_capacity *c =
		build(t, NULL, NULL, "0-1,4-7", "1");

	assert_set(&c->nodes[0].cpus, "0-1");
	assert_int_equal(c->nodes[0].cpus_free, 2);
	assert_int_equal(c->nodes[0].cpus_total, 8);
	assert_false(c->nodes[0].allowed);
	assert_true(c->nodes[1].allowed);
	assert_set(&c->nonexclusive, "0-15");
}

WITH_TOPOLOGY(pages_in_pools_are_not_memory_too)
{
	struct stow_node_usage nodes[1] = { { .id = 0, .n_pools = 1 } };
	struct stow_usage usage = { .nodes = nodes, .n_nodes = 1 };
	struct stow_capacity *c;

	t->nodes[0].pools[0].total = 512; /* 1Gi */
	t->nodes[0].pools[0].free = 100;
	t->nodes[0].mem_available = 15 * GI;
	nodes[0].pools[0].size = 2 * MI;
	nodes[0].pools[0].promised = 200;
	nodes[0].pools[0].outstanding = 40;
	c = build(t, NULL, &usage, NULL, NULL);
	assert_int_equal(c->nodes[0].pools[0].total, 512);
	assert_int_equal(c->nodes[0].pools[0].free, 60);
	assert_int_equal(c->nodes[0].mem_unpromised, 15 * GI);
	stow_capacity_free(c);
	/* Promised a moment ago, and the pool has not grown yet: the memory is as good as gone. */
	nodes[0].pools[0].outstanding = 164;
	c = build(t, NULL, &usage, NULL, NULL);
	assert_int_equal(c->nodes[0].pools[0].free, 0);
	assert_int_equal(c->nodes[0].mem_unpromised, 15 * GI - 128 * MI);
	assert_int_equal(c->nodes[0].mem_real, 15 * GI - 128 * MI);
	stow_capacity_free(c);
}

TEST(what_is_used_is_no_longer_outstanding)
{
	struct stow_node_usage node = { .memory_outstanding = 5 * GI,
					.pools = { { .size = 2 * MI, .outstanding = 10 },
						   { .size = GI, .outstanding = 3 } },
					.n_pools = 2 };

	stow_usage_note_memory(&node, GI, 2 * GI);
	assert_int_equal(node.memory_outstanding, 4 * GI);
	/* More than was promised is not taken off others' promises; nor is there less than nothing.
	 */
	stow_usage_note_memory(&node, 9 * GI, 2 * GI);
	assert_int_equal(node.memory_outstanding, 2 * GI);
	stow_usage_note_memory(&node, 9 * GI, 3 * GI);
	assert_int_equal(node.memory_outstanding, 0);
	stow_usage_note_pages(&node, GI, 5, 2);
	assert_int_equal(node.pools[0].outstanding, 10);
	assert_int_equal(node.pools[1].outstanding, 1);
}
