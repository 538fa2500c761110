// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <time.h>

#include "base/cleanup.h"
#include "machine.h"
#include "place/plan.h"
#include "place/plan_internal.h"

#define MI (UINT64_C(1) << 20)
#define GI (UINT64_C(1) << 30)

/* A machine with what is given away on it. */
struct scene {
	struct stow_topology *topology;
	struct stow_config config;
	struct stow_usage usage;
	struct stow_node_usage nodes[16];
	struct stow_capacity *capacity;
	struct stow_plan *plan;
	struct stow_refusal *refusal;
	struct stow_err err;
};

static void scene_new(struct scene *s, struct stow_topology *topology)
{
	memset(s, 0, sizeof(*s));
	s->topology = topology;
	s->usage.nodes = s->nodes;
	s->usage.n_nodes = topology->n_nodes < 16 ? topology->n_nodes : 16;
	for (size_t i = 0; i < s->usage.n_nodes; i++)
		s->nodes[i].id = topology->nodes[i].id;
}

static int plan_near(struct scene *s, const struct stow_request *request, int near)
{
	stow_plan_free(s->plan);
	stow_refusal_free(s->refusal);
	stow_capacity_free(s->capacity);
	s->plan = NULL;
	s->refusal = NULL;
	s->capacity = NULL;
	assert_int_equal(stow_capacity_build(s->topology, &s->config, &s->usage, NULL, NULL,
					     &s->capacity, NULL),
			 0);
	return stow_plan_make(s->capacity, request, near, &s->plan, &s->refusal, &s->err);
}

static int plan(struct scene *s, const struct stow_request *request)
{
	return plan_near(s, request, -1);
}

static void scene_done(struct scene *s)
{
	stow_plan_free(s->plan);
	stow_refusal_free(s->refusal);
	stow_capacity_free(s->capacity);
	stow_topology_free(s->topology);
}

static void assert_set(const struct stow_idset *set, const char *list)
{
	char buf[256];

	assert_string_equal(stow_idset_format(set, buf, sizeof(buf)), list);
}

TEST(the_tightest_node_that_fits)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 4, .memory = 4 * GI };

	scene_new(&s, machine_new(3, 4, 2, 0, 16 * GI));
	s.nodes[0].shared_cpus = 5;
	s.nodes[2].shared_cpus = 4;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->nodes, "2");
	assert_set(&s.plan->cpus, "8-11,20-23");
	assert_false(s.plan->exclusive);
	assert_int_equal(s.plan->n_shares, 1);
	assert_int_equal(s.plan->shares[0].cpus, 4);
	assert_int_equal(s.plan->shares[0].memory, 4 * GI);
	assert_string_equal(s.plan->reason,
			    "node 2: 4 CPUs and 4Gi memory fit; tightest of 2 nodes that fit");
}

TEST(a_refusal_names_what_is_short)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 6 };

	scene_new(&s, machine_new(2, 4, 2, 0, 16 * GI));
	s.nodes[0].shared_cpus = 4;
	s.nodes[1].shared_cpus = 6;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text, "6 CPUs on one NUMA node; node 0 has 4 of 8 free, "
					     "node 1 has 2 of 8 free");
	assert_string_equal(s.err.msg, s.refusal->text);
	assert_string_equal(s.refusal->suggestion, "4 CPUs would fit on node 0; policy=best-effort "
						   "would fit on nodes 0-1");
	assert_int_equal(s.refusal->n_nodes, 2);
	assert_int_equal(s.refusal->nodes[1].id, 1);
	assert_string_equal(s.refusal->nodes[1].text, "2 of 8 CPUs free");
	req = (struct stow_request){ .nodes_auto = true, .memory = 20 * GI };
	s.topology->nodes[1].mem_available = 12 * GI;
	s.nodes[0].memory = s.nodes[0].memory_outstanding = 8 * GI;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text,
			    "20Gi memory on one NUMA node; node 1 has 12Gi of 16Gi memory free, "
			    "node 0 has 8Gi of 16Gi memory free");
	assert_string_equal(s.refusal->suggestion, "12Gi memory would fit on node 1; "
						   "policy=restricted would fit on nodes 0-1");
	assert_string_equal(s.refusal->nodes[1].text,
			    "16Gi memory not promised, but only 12Gi free");
}

TEST(a_long_refusal_stays_short)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 9 };

	scene_new(&s, machine_new(64, 8, 1, 0, 16 * GI));
	stow_idset_add(&s.usage.fenced, 0);
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text,
			    "9 CPUs on one NUMA node; node 1 has 8 of 8 free, node 2 has 8 of 8 "
			    "free, node 3 has 8 of 8 free, node 4 has 8 of 8 free, and 60 more "
			    "nodes");
	assert_int_equal(s.refusal->n_nodes, 64);
	assert_string_equal(s.refusal->nodes[0].text, "is fenced");
}

TEST(fenced_nodes_get_nothing)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 1 };

	scene_new(&s, machine_new(2, 4, 1, 0, 16 * GI));
	stow_idset_add(&s.usage.fenced, 0);
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->nodes, "1");
	stow_idset_add(&s.usage.fenced, 1);
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text,
			    "1 CPU on one NUMA node; node 0 is fenced, node 1 is fenced");
}

TEST(best_effort_takes_near_nodes_and_divides_evenly)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = {
		.nodes_auto = true, .policy = STOW_POLICY_BEST_EFFORT, .cpus = 7, .memory = 5 * GI
	};

	scene_new(&s, machine_new(4, 4, 1, 0, 16 * GI));
	machine_distance(s.topology, 1, 3, 12);
	req.pages[req.n_pages++] = (struct stow_page_request){ 2 * MI, 5 };
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->nodes, "1,3");
	assert_int_equal(s.plan->shares[0].cpus + s.plan->shares[1].cpus, 7);
	assert_true(s.plan->shares[0].cpus >= 3 && s.plan->shares[1].cpus >= 3);
	assert_int_equal(s.plan->shares[0].memory, 5 * GI / 2);
	assert_int_equal(s.plan->shares[0].pages[0] + s.plan->shares[1].pages[0], 5);
	assert_string_equal(s.plan->reason,
			    "nodes 1,3: 7 CPUs, 5Gi memory and 10Mi in 2Mi pages fit; no single "
			    "node has room, distance up to 12");
}

TEST(restricted_keeps_to_what_the_empty_machine_needs)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true,
				    .policy = STOW_POLICY_RESTRICTED,
				    .cpus = 6 };

	scene_new(&s, machine_new(4, 4, 1, 0, 16 * GI));
	assert_int_equal(plan(&s, &req), 0);
	assert_int_equal(s.plan->n_shares, 2);
	for (int i = 0; i < 4; i++)
		s.nodes[i].shared_cpus = 2;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text,
			    "6 CPUs on 2 NUMA nodes; node 0 has 2 of 4 free, node 1 has 2 of 4 "
			    "free, node 2 has 2 of 4 free, node 3 has 2 of 4 free");
	assert_string_equal(s.refusal->suggestion, "2 CPUs would fit on node 0; "
						   "policy=best-effort would fit on nodes 0-2");
	req.policy = STOW_POLICY_BEST_EFFORT;
	assert_int_equal(plan(&s, &req), 0);
	assert_int_equal(s.plan->n_shares, 3);
}

TEST(spread_uses_as_many_as_can_take_an_even_share)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = {
		.nodes_auto = true, .policy = STOW_POLICY_SPREAD, .cpus = 6, .memory = 6 * GI
	};

	scene_new(&s, machine_new(4, 4, 1, 0, 16 * GI));
	s.nodes[2].shared_cpus = 4;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->nodes, "0-1,3");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(s.plan->shares[i].cpus, 2);
		assert_int_equal(s.plan->shares[i].memory, 2 * GI);
	}
	assert_string_equal(s.plan->reason, "nodes 0-1,3: 6 CPUs and 6Gi memory fit; spread "
					    "evenly over 3 of 4");
}

TEST(the_device_decides)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 3, .near = "eth0" };

	scene_new(&s, machine_new(4, 4, 1, 0, 16 * GI));
	s.nodes[0].shared_cpus = 1; /* the tightest */
	assert_int_equal(plan_near(&s, &req, 2), 0);
	assert_set(&s.plan->nodes, "2");
	assert_string_equal(s.plan->reason, "node 2: 3 CPUs fit; with the node 2 of eth0");
	s.nodes[2].shared_cpus = 3;
	assert_int_equal(plan_near(&s, &req, 2), -ENOSPC);
	assert_string_equal(s.refusal->text, "3 CPUs on node 2, where eth0 is; node 2 has 1 of 4 "
					     "free");
	assert_string_equal(s.refusal->suggestion, "1 CPU would fit on node 2; policy=restricted "
						   "would fit on node 0");
	req.policy = STOW_POLICY_BEST_EFFORT;
	machine_distance(s.topology, 2, 1, 12);
	assert_int_equal(plan_near(&s, &req, 2), 0);
	assert_set(&s.plan->nodes, "1");
}

/* A GPU's memory is a node without CPUs (Grace-Blackwell). */
TEST(a_device_on_a_node_without_cpus)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 3, .near = "gpu0" };

	scene_new(&s, machine_new(4, 4, 1, 0, 16 * GI));
	machine_without_cpus(s.topology, 3);
	machine_distance(s.topology, 3, 1, 15);
	machine_distance(s.topology, 3, 2, 12);
	assert_int_equal(plan_near(&s, &req, 3), 0);
	assert_set(&s.plan->nodes, "2");
	assert_string_equal(s.plan->reason, "node 2: 3 CPUs fit; with the node 2, the nearest with "
					    "CPUs to node 3 of gpu0");
	/* of those that were named */
	req.nodes_auto = false;
	stow_idset_parse("0-1", &req.nodes, NULL);
	assert_int_equal(plan_near(&s, &req, 3), 0);
	assert_set(&s.plan->nodes, "1");
	/* it is not the nearest because it is full */
	req.nodes_auto = true;
	s.nodes[2].shared_cpus = 3;
	assert_int_equal(plan_near(&s, &req, 3), -ENOSPC);
	assert_string_equal(s.refusal->text, "3 CPUs on node 2, the nearest with CPUs to node 3 of "
					     "gpu0; node 2 has 1 of 4 free, node 3 has no CPUs");
	req.policy = STOW_POLICY_BEST_EFFORT;
	assert_int_equal(plan_near(&s, &req, 3), 0);
	assert_non_null(strstr(s.plan->reason, "near the full node 2, the nearest with CPUs to "
					       "node 3 of gpu0"));
	/* Memory of the node itself, for a request that names it. */
	req.nodes_auto = false;
	req.memory = 8 * GI;
	stow_idset_parse("0,3", &req.nodes, NULL);
	s.nodes[0].memory = 16 * GI;
	assert_int_equal(plan_near(&s, &req, 3), 0);
	assert_set(&s.plan->nodes, "0,3");
	assert_non_null(strstr(s.plan->reason, "; with the node 3 of gpu0"));
}

TEST(a_device_of_which_the_node_is_not_known)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 3, .near = "vda" };

	scene_new(&s, machine_new(2, 4, 1, 0, 16 * GI));
	assert_int_equal(plan_near(&s, &req, -1), 0);
	assert_string_equal(s.plan->reason, "node 0: 3 CPUs fit; tightest of 2 nodes that fit; the "
					    "platform does not say which node vda is at");
}

/* Neighbours in the list may be near while the ends are not. */
TEST(distance_is_that_of_the_farthest_two)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true,
				    .policy = STOW_POLICY_BEST_EFFORT,
				    .cpus = 12 };

	scene_new(&s, machine_new(3, 4, 1, 0, 16 * GI));
	machine_distance(s.topology, 0, 2, 40);
	assert_int_equal(plan(&s, &req), 0);
	assert_string_equal(s.plan->reason, "nodes 0-2: 12 CPUs fit; no smaller set of nodes has "
					    "room, distance up to 40");
	s.topology->distance[2 * 3 + 0] = 50; /* only from there to here */
	s.topology->assumed = STOW_ASSUMED_DISTANCES;
	assert_int_equal(plan(&s, &req), 0);
	assert_string_equal(s.plan->reason, "nodes 0-2: 12 CPUs fit; no smaller set of nodes has "
					    "room, distance up to 50 (assumed)");
}

TEST(one_cpu_must_stay)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true,
				    .policy = STOW_POLICY_BEST_EFFORT,
				    .cpu_mode = STOW_CPU_EXCLUSIVE,
				    .cpus = 8 };

	scene_new(&s, machine_new(2, 4, 1, 0, 16 * GI));
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(
		s.refusal->text,
		"8 exclusive CPUs; 8 CPUs are not exclusive yet, and one must remain shared");
	assert_string_equal(s.refusal->suggestion, "7 CPUs would fit on nodes 0-1");
	/* It is not the reason where there is another one. */
	req.policy = STOW_POLICY_SINGLE_NUMA_NODE;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text, "8 exclusive CPUs on one NUMA node; node 0 has 4 of 4 "
					     "free, node 1 has 4 of 4 free");
	req.policy = STOW_POLICY_BEST_EFFORT;
	req.memory = 64 * GI;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_null(strstr(s.refusal->text, "must stay"));
	assert_non_null(strstr(s.refusal->text, "16Gi of 16Gi memory"));
}

TEST(a_refusal_names_unknown_memory)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 1, .memory = GI };

	scene_new(&s, machine_new(1, 4, 1, 0, 16 * GI));
	machine_without_memory(s.topology, 0);
	s.topology->nodes[0].assumed = STOW_ASSUMED_MEMORY;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text, "1 CPU and 1Gi memory on one NUMA node; node 0 has an "
					     "unknown amount of memory free");
	assert_string_equal(s.refusal->nodes[0].text, "its memory is unknown");
}

TEST(named_nodes_only)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .cpus = 2 };

	scene_new(&s, machine_new(3, 4, 1, 0, 16 * GI));
	stow_idset_parse("1-2", &req.nodes, NULL);
	s.nodes[1].shared_cpus = 3;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->nodes, "2");
	s.nodes[2].shared_cpus = 3;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text, "2 CPUs on one of nodes 1-2; node 1 has 1 of 4 free, "
					     "node 2 has 1 of 4 free");
	stow_idset_parse("1,7", &req.nodes, NULL);
	assert_int_equal(plan(&s, &req), -EINVAL);
	assert_string_equal(s.err.msg, "numastow.io/nodes: \"1,7\": there is no node 7; this "
				       "machine has 0-2");
	stow_idset_parse("1", &req.nodes, NULL);
	assert_int_equal(plan_near(&s, &req, 0), -EINVAL);
}

TEST(memory_without_cpus_is_given_only_by_name)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = {
		.nodes_auto = true, .policy = STOW_POLICY_BEST_EFFORT, .cpus = 2, .memory = 20 * GI
	};

	scene_new(&s, machine_new(2, 4, 1, 0, 16 * GI));
	machine_without_cpus(s.topology, 1);
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->nodes[1].text, "has no CPUs");
	req.nodes_auto = false;
	stow_idset_parse("0-1", &req.nodes, NULL);
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->nodes, "0-1");
	assert_set(&s.plan->cpus, "0-3");
	assert_int_equal(s.plan->shares[1].cpus, 0);
	assert_int_equal(s.plan->shares[0].memory + s.plan->shares[1].memory, 20 * GI);
	stow_idset_parse("1", &req.nodes, NULL);
	assert_int_equal(plan(&s, &req), -EINVAL);
}

TEST(a_node_without_memory_takes_none)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 2, .memory = GI };

	scene_new(&s, machine_new(2, 4, 1, 0, 16 * GI));
	machine_without_memory(s.topology, 0);
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->nodes, "1");
	/* Without a number it would do, but the other one is better. */
	req.memory = 0;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->nodes, "1");
	req.cpus = 6;
	req.policy = STOW_POLICY_BEST_EFFORT;
	req.memory = GI;
	assert_int_equal(plan(&s, &req), 0);
	assert_int_equal(s.plan->shares[0].memory, 0);
	assert_int_equal(s.plan->shares[1].memory, GI);
}

TEST(no_number_still_needs_a_cpu_to_run_on)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .memory = GI };

	scene_new(&s, machine_new(2, 2, 1, 0, 16 * GI));
	stow_idset_parse("0-1", &s.usage.exclusive, NULL);
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->nodes, "1");
	assert_string_equal(s.plan->reason, "node 1: 1Gi memory fits; the only node that fits");
}

TEST(pools_grow_out_of_memory)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 1, .memory = 15 * GI };

	scene_new(&s, machine_new(2, 4, 1, 0, 16 * GI));
	req.pages[req.n_pages++] = (struct stow_page_request){ 2 * MI, 512 };
	assert_int_equal(plan(&s, &req), 0);
	req.pages[0].count = 513;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	/* Pages that are there already take nothing, and their node is the better one. */
	s.topology->nodes[1].pools[0].total = s.topology->nodes[1].pools[0].free = 100;
	s.topology->nodes[1].mem_available -= 200 * MI;
	req.memory = GI;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->nodes, "1");
	req.pages[0].size = 4 * MI;
	assert_int_equal(plan(&s, &req), -EINVAL);
	assert_string_equal(s.err.msg, "numastow.io/hugepages-4Mi: this machine has no pages of "
				       "that size; it has 2Mi, 1Gi");
}

/* --- exclusive CPUs ---------------------------------------------------------------------------- */

TEST(exclusive_leaves_something_for_the_rest)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 4, .cpu_mode = STOW_CPU_EXCLUSIVE };

	scene_new(&s, machine_new(1, 4, 1, 0, 16 * GI));
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(
		s.refusal->text,
		"4 exclusive CPUs; 4 CPUs are not exclusive yet, and one must remain shared");
	assert_string_equal(s.refusal->suggestion, "3 CPUs would fit on node 0");
	req.cpus = 3;
	assert_int_equal(plan(&s, &req), 0);
	assert_true(s.plan->exclusive);
	assert_set(&s.plan->cpus, "0-2");
}

/* What stow_plan_cpus() takes of `takeable` on a node of 8 cores with 2 threads, 4 cores a cache:
 * core N has CPUs N and N + 8. */
static void assert_taken(const char *takeable, uint32_t count, const char *expected)
{
	struct stow_topology *t = machine_new(1, 8, 2, 4, GI);
	struct stow_idset from, taken = { 0 };

	stow_idset_parse(takeable, &from, NULL);
	assert_int_equal(stow_plan_cpus(t, 0, &from, count, &taken, NULL), 0);
	assert_set(&taken, expected);
	stow_topology_free(t);
}

TEST(whole_cores_then_one_cache_then_tightest)
{
	assert_taken("0-15", 2, "0,8");
	assert_taken("0-15", 4, "0-1,8-9");
	assert_taken("0-15", 8, "0-3,8-11");
	assert_taken("0-15", 10, "0-4,8-12");
	/* The second cache has just what is needed. */
	assert_taken("0-5,8-13", 4, "4-5,12-13");
	/* Whole cores count more than one cache. */
	assert_taken("0,1-3,4,8,12", 4, "0,4,8,12");
	/* Core 5 is broken already: the odd thread comes from it. */
	assert_taken("0-15", 1, "0");
	assert_taken("0-4,8-15", 1, "13");
	assert_taken("0-4,6-15", 3, "4,12-13");
	assert_taken("0-3,5,8-11", 3, "0,5,8");
	/* Nothing but broken cores. */
	assert_taken("0-3", 3, "0-2");
	assert_taken("0-4", 5, "0-4");
}

TEST(cpus_that_are_not_there)
{
	struct stow_topology *t = machine_new(1, 2, 1, 0, GI);
	struct stow_idset from, taken = { 0 };
	struct stow_err err;
	struct stow_cpu *cpus = t->cpus;

	stow_idset_parse("0", &from, NULL);
	assert_int_equal(stow_plan_cpus(t, 0, &from, 2, &taken, &err), -ENOSPC);
	t->cpus = NULL;
	assert_int_equal(stow_plan_cpus(t, 0, &from, 1, &taken, &err), -EINVAL);
	t->cpus = cpus;
	stow_topology_free(t);
}

TEST(exclusive_shares_are_whole_cores)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true,
				    .policy = STOW_POLICY_BEST_EFFORT,
				    .cpus = 6,
				    .cpu_mode = STOW_CPU_EXCLUSIVE };

	scene_new(&s, machine_new(2, 2, 2, 0, 16 * GI));
	assert_int_equal(plan(&s, &req), 0);
	assert_int_equal(s.plan->n_shares, 2);
	assert_int_equal(s.plan->shares[0].cpus % 2, 0);
	assert_int_equal(s.plan->shares[1].cpus % 2, 0);
}

/* As on a machine of performance cores with two threads and efficient ones with one: cores of CPUs
 * 0 and 4, 1 and 5, then 2, 3, 6, 7. */
static struct stow_topology *hybrid(void)
{
	struct stow_topology *t = machine_new(1, 4, 2, 0, 16 * GI);

	t->cpus[6].core = 4;
	t->cpus[7].core = 5;
	return t;
}

TEST(full_cores_are_not_shared)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 3, .cpu_mode = STOW_CPU_EXCLUSIVE };

	scene_new(&s, machine_new(2, 4, 2, 0, 16 * GI));
	assert_int_equal(plan(&s, &req), 0);
	s.config.full_cores = true;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text,
			    "3 exclusive CPUs would leave part of a core to another container "
			    "(full-cores in /etc/numastow/config.yaml)");
	assert_string_equal(s.refusal->suggestion, "4 CPUs would fit on node 0");
	req.cpus = 4;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->cpus, "0-1,8-9");
	assert_int_equal(s.plan->shares[0].cpus, 4);
	/* Where three cores are broken there is one left, whatever is free. */
	stow_idset_parse("0-2,4-6", &s.usage.exclusive, NULL);
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text,
			    "4 exclusive CPUs on one NUMA node; node 0 has 2 of 8 free in whole "
			    "cores, node 1 has 2 of 8 free in whole cores");
	assert_string_equal(
		s.refusal->suggestion,
		"2 CPUs would fit on node 0; policy=best-effort would fit on nodes 0-1");
	req.policy = STOW_POLICY_BEST_EFFORT;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->cpus, "3,7,11,15");
	/* There is no next size upwards: downwards then. */
	req.cpus = 5;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->suggestion, "4 CPUs would fit on nodes 0-1");
	/* Shared CPUs have no cores. */
	req.cpu_mode = STOW_CPU_SHARED;
	assert_int_equal(plan(&s, &req), 0);
}

TEST(full_cores_divide_as_cores)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true,
				    .policy = STOW_POLICY_SPREAD,
				    .cpus = 6,
				    .cpu_mode = STOW_CPU_EXCLUSIVE };

	scene_new(&s, machine_new(2, 4, 2, 0, 16 * GI));
	s.config.full_cores = true;
	assert_int_equal(plan(&s, &req), 0);
	assert_int_equal(s.plan->n_shares, 2);
	assert_int_equal(s.plan->shares[0].cpus + s.plan->shares[1].cpus, 6);
	assert_int_equal(s.plan->shares[0].cpus % 2, 0);
	/* Free are one core and half of one on each node: a sum of 6 that no container can use. */
	scene_done(&s);
	scene_new(&s, machine_new(3, 2, 2, 0, 16 * GI));
	s.config.full_cores = true;
	req.policy = STOW_POLICY_BEST_EFFORT;
	for (int i = 0; i < 3; i++)
		s.nodes[i].shared_cpus = 1;
	assert_int_equal(plan(&s, &req), 0);
	assert_int_equal(s.plan->n_shares, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(s.plan->shares[i].cpus, 2);
}

TEST(full_cores_of_different_sizes)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 3, .cpu_mode = STOW_CPU_EXCLUSIVE };

	scene_new(&s, hybrid());
	s.config.full_cores = true;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->cpus, "0,2,4");
	req.cpus = 1;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->cpus, "2");
	/* Only the two large cores are left. */
	stow_idset_parse("2-3,6-7", &s.usage.exclusive, NULL);
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text,
			    "1 exclusive CPU would leave part of a core to another container "
			    "(full-cores in /etc/numastow/config.yaml)");
	assert_string_equal(s.refusal->suggestion, "2 CPUs would fit on node 0");
}

TEST(full_cores_of_isolated_cpus)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 2, .cpu_mode = STOW_CPU_ISOLATED };

	scene_new(&s, machine_new(1, 4, 2, 0, 16 * GI));
	s.config.full_cores = true;
	/* Core 1 is isolated in half: CPU 5 is shared. */
	stow_idset_parse("1-2,6", &s.topology->isolated, NULL);
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->cpus, "2,6");
	stow_idset_parse("2", &s.usage.exclusive, NULL);
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text, "2 isolated CPUs on one NUMA node; node 0 has 0 of 3 "
					     "free in whole cores");
}

TEST(isolated_cpus_come_from_the_isolated_ones_alone)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 4, .cpu_mode = STOW_CPU_ISOLATED };

	/* Node 0 has cores of CPUs N and N + 8, node 1 from 4 on. */
	scene_new(&s, machine_new(2, 4, 2, 0, 16 * GI));
	stow_idset_parse("2-3,6-7,10-11,15", &s.topology->isolated, NULL);
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->cpus, "2-3,10-11");
	assert_true(s.plan->exclusive && s.plan->isolated);
	/* What shared containers have promised to them is none of these. */
	s.nodes[0].shared_cpus = 4;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->nodes, "0");
	req.cpus = 2;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->cpus, "7,15"); /* the tightest whole core */
	stow_idset_parse("10", &s.usage.exclusive, NULL);
	req.cpus = 5;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text, "5 isolated CPUs on one NUMA node; node 0 has 3 of 4 "
					     "free, node 1 has 3 of 3 free");
	assert_string_equal(s.refusal->nodes[0].text, "3 of 4 isolated CPUs free");
	assert_string_equal(s.refusal->suggestion,
			    "3 CPUs would fit on node 0; policy=restricted would fit on nodes 0-1");
	/* They may all be taken: nothing else runs there anyway. */
	req.cpus = 6;
	req.policy = STOW_POLICY_BEST_EFFORT;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->cpus, "2-3,6-7,11,15");
}

TEST(isolated_cpus_are_given_for_isolated_requests_only)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 4 };

	scene_new(&s, machine_new(1, 4, 2, 0, 16 * GI));
	stow_idset_parse("1-3,5-7", &s.topology->isolated, NULL);
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text, "4 CPUs on one NUMA node; node 0 has 2 of 2 free");
	req.cpus = 1;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->cpus, "0,4");
	assert_false(s.plan->exclusive || s.plan->isolated);
	req.cpu_mode = STOW_CPU_EXCLUSIVE;
	assert_int_equal(plan(&s, &req), 0);
	assert_set(&s.plan->cpus, "0");
	assert_false(s.plan->isolated);
	req.cpus = 2;
	assert_int_equal(plan(&s, &req), -ENOSPC);
}

TEST(a_refusal_names_missing_isolated_cpus)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 2, .cpu_mode = STOW_CPU_ISOLATED };

	scene_new(&s, machine_new(1, 4, 2, 0, 16 * GI));
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(s.refusal->text,
			    "2 isolated CPUs; no CPUs are isolated (isolcpus= on the kernel's "
			    "command line, or partitions: yes in /etc/numastow/config.yaml)");
	assert_string_equal(s.refusal->suggestion, "cpu-mode=exclusive would fit on node 0");
}

/* A partition isolates CPUs that are not isolated by themselves. */
TEST(partitions_take_ordinary_cpus)
{
	_cleanup_(scene_done) struct scene s;
	struct stow_request req = { .nodes_auto = true, .cpus = 2, .cpu_mode = STOW_CPU_ISOLATED };

	scene_new(&s, machine_new(1, 4, 2, 0, 16 * GI));
	s.config.partitions = true;
	assert_int_equal(plan(&s, &req), 0);
	assert_true(s.plan->exclusive && s.plan->isolated);
	assert_set(&s.plan->cpus, "0,4");
	req.cpus = 8;
	assert_int_equal(plan(&s, &req), -ENOSPC);
	assert_string_equal(
		s.refusal->text,
		"8 exclusive CPUs; 8 CPUs are not exclusive yet, and one must remain shared");
	/* With isolcpus they come from there. */
	scene_done(&s);
	scene_new(&s, machine_new(1, 4, 2, 0, 16 * GI));
	s.config.partitions = true;
	stow_idset_parse("2,6", &s.topology->isolated, NULL);
	req.cpus = 2;
	assert_int_equal(plan(&s, &req), 0);
	assert_true(s.plan->isolated);
	assert_set(&s.plan->cpus, "2,6");
}

/* --- time ----------------------------------------------------------------- */

/* Bounds of processor time, which others have no part in, and far above what it takes, for slow
 * machines and sanitizers; an exponential planner would not come back at all. */
TEST(large_machines_take_no_time)
{
	static const int sizes[] = { 64, 1024 };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(sizes); i++)
		for (int policy = 0; policy < 4; policy++) {
			_cleanup_(scene_done) struct scene s;
			struct stow_request req = { .nodes_auto = true,
						    .policy = (enum stow_policy)policy,
						    .cpus = 66,
						    .memory = 66 * GI };
			clock_t start;

			scene_new(&s, machine_new(sizes[i], 4, 2, 2, 16 * GI));
			start = clock();
			assert_int_equal(plan(&s, &req), policy ? 0 : -ENOSPC);
			assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
		}
}
