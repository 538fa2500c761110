// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <json-c/json.h>

#include "base/cleanup.h"
#include "machine.h"
#include "place/explain.h"

#define GI (UINT64_C(1) << 30)

struct scene {
	struct stow_topology *topology;
	struct stow_capacity *capacity;
	struct stow_plan *plan;
	struct stow_refusal *refusal;
	struct stow_request request;
	int r;
};

static void scene_new(struct scene *s, uint32_t cpus)
{
	memset(s, 0, sizeof(*s));
	s->topology = machine_new(2, 2, 2, 0, 4 * GI);
	s->request.nodes_auto = true;
	s->request.cpus = cpus;
	s->request.memory = GI;
	s->request.pages[s->request.n_pages++] = (struct stow_page_request){ 2 << 20, 4 };
	assert_int_equal(
		stow_capacity_build(s->topology, NULL, NULL, NULL, NULL, &s->capacity, NULL), 0);
	s->r = stow_plan_make(s->capacity, &s->request, -1, &s->plan, &s->refusal, NULL);
}

static void scene_done(struct scene *s)
{
	stow_plan_free(s->plan);
	stow_refusal_free(s->refusal);
	stow_capacity_free(s->capacity);
	stow_topology_free(s->topology);
}

TEST(explains_a_plan)
{
	_cleanup_(scene_done) struct scene s;
	_cleanup_free_ char *text = NULL;
	struct json_object *json;

	scene_new(&s, 3);
	assert_int_equal(s.r, 0);
	text = stow_explain_text(&s.request, s.plan, NULL);
	assert_string_equal(
		text,
		"request   3 shared CPUs, 1Gi memory, 8Mi in 2Mi hugepages, "
		"single-numa-node\n"
		"fits      node 0: 3 CPUs, 1Gi memory and 8Mi in 2Mi pages fit; tightest of 2 "
		"nodes that fit\n"
		"CPUs      0-1,4-5 (shared)\n"
		"node 0    3 CPUs, 1Gi memory, 8Mi in 2Mi hugepages\n");
	json = stow_explain_json(&s.request, s.plan, NULL);
	assert_string_equal(
		json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN),
		"{\"fits\":true,\"request\":\"3 shared CPUs, 1Gi memory, 8Mi in 2Mi hugepages, "
		"single-numa-node\",\"mems\":\"0\",\"cpus\":\"0-1,4-5\",\"exclusive\":false,"
		"\"isolated\":false,\"reason\":\"node 0: 3 CPUs, 1Gi memory and 8Mi in 2Mi pages "
		"fit; tightest of 2 "
		"nodes that fit\",\"nodes\":[{\"node\":0,\"n_cpus\":3,\"memory\":1073741824,"
		"\"hugepages\":[{\"page_size\":2097152,\"pages\":4}]}]}");
	json_object_put(json);
}

TEST(explains_a_refusal)
{
	_cleanup_(scene_done) struct scene s;
	_cleanup_free_ char *text = NULL;
	struct json_object *json, *nodes;

	scene_new(&s, 5);
	assert_int_equal(s.r, -ENOSPC);
	text = stow_explain_text(&s.request, NULL, s.refusal);
	assert_string_equal(
		text, "request   5 shared CPUs, 1Gi memory, 8Mi in 2Mi hugepages, "
		      "single-numa-node\n"
		      "no room   5 CPUs, 1Gi memory and 8Mi in 2Mi pages on one NUMA node; node 0 "
		      "has 4 of 4 free, node 1 has 4 of 4 free\n"
		      "nodes 0-1 each 4 of 4 CPUs free\n"
		      "but       4 CPUs would fit on node 0; policy=restricted would fit on nodes "
		      "0-1\n");
	json = stow_explain_json(&s.request, NULL, s.refusal);
	assert_false(json_object_get_boolean(json_object_object_get(json, "fits")));
	nodes = json_object_object_get(json, "nodes");
	assert_int_equal(json_object_array_length(nodes), 2);
	json_object_put(json);
}

/* Only neighbours are joined, so that the order stays. */
TEST(like_neighbours_share_a_line)
{
	static const char *const lacks[] = { "is fenced",	 "4 of 4 CPUs free",
					     "4 of 4 CPUs free", "4 of 4 CPUs free",
					     "is fenced",	 "4 of 4 CPUs free",
					     "4 of 4 CPUs free" };
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_free_ char *text = NULL;
	struct stow_request request = { .cpus = 5 };

	refusal = calloc(1, sizeof(*refusal));
	refusal->n_nodes = STOW_ARRAY_SIZE(lacks);
	refusal->nodes = calloc(refusal->n_nodes, sizeof(*refusal->nodes));
	for (size_t i = 0; i < refusal->n_nodes; i++) {
		refusal->nodes[i].id = (int)i * 2;
		strcpy(refusal->nodes[i].text, lacks[i]);
	}
	text = stow_explain_text(&request, NULL, refusal);
	assert_non_null(strstr(text, "\nnode 0    is fenced\n"
				     "nodes 2,4,6 each 4 of 4 CPUs free\n"
				     "node 8    is fenced\n"
				     "nodes 10,12 each 4 of 4 CPUs free\n"));
}

TEST(like_shares_share_a_line)
{
	struct stow_share shares[] = { { .node = 0, .cpus = 2 },
				       { .node = 1, .cpus = 2 },
				       { .node = 2, .cpus = 1 } };
	struct stow_plan plan = { .shares = shares, .n_shares = STOW_ARRAY_SIZE(shares) };
	struct stow_request request = { .cpus = 5 };
	_cleanup_free_ char *text = stow_explain_text(&request, &plan, NULL);

	assert_non_null(strstr(text, "\nnodes 0-1 each 2 CPUs, 0 memory\n"
				     "node 2    1 CPU, 0 memory\n"));
}
