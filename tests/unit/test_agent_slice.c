// SPDX-License-Identifier: Apache-2.0
/* ResourceSlices made of reports: amounts, limits of the API, fences, and comparing with what is
 * stored. */
#include "unit.h"

#include <stdio.h>

#include "agent/kubernetes/slice.h"
#include "agent/kubernetes/state.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/json.h"
#include "tree.h"

#define GIB  (UINT64_C(1) << 30)
#define MIB  (UINT64_C(1) << 20)
#define NUMA 200

/* A machine with 8 CPUs and 16 GiB on each NUMA node, pools of 512 pages of 2Mi and 2 of 1Gi. */
struct made {
	PbNodeReport report;
	PbNumaNode numa[NUMA], *list[NUMA];
	PbHugepagePool pools[NUMA][2], *pool_list[NUMA][2];
	PbContainer container, *containers[1];
	PbContainerPart part, *parts[1];
	PbHugepages pages, *pages_list[1];
	struct agent_slice_facts facts[NUMA];
	size_t n_facts;
	struct agent_slice_settings settings;
	struct agent_slice_device *devices;
	size_t n_devices;
	struct json_object *slices;
};

static struct made *made_new(uint32_t n)
{
	struct made *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	pb_node_report__init(&m->report);
	m->report.numa_nodes = m->list;
	m->report.n_numa_nodes = n;
	for (uint32_t i = 0; i < n; i++) {
		m->list[i] = &m->numa[i];
		pb_numa_node__init(&m->numa[i]);
		m->numa[i].id = i;
		m->numa[i].state = PB_NUMA_NODE_STATE_READY;
		m->numa[i].cpus = (char *)(uintptr_t) "0-7";
		m->numa[i].cpus_total = 8;
		m->numa[i].memory_total = 16 * GIB;
		m->numa[i].hugepages = m->pool_list[i];
		m->numa[i].n_hugepages = 2;
		for (int p = 0; p < 2; p++) {
			m->pool_list[i][p] = &m->pools[i][p];
			pb_hugepage_pool__init(&m->pools[i][p]);
			m->pools[i][p].page_size = p ? GIB : 2 * MIB;
			m->pools[i][p].total = p ? 2 : 512;
		}
	}
	m->settings = (struct agent_slice_settings){
		.node = "web-3", .node_uid = "u", .taints = true, .generation = 7
	};
	return m;
}

/* A container with 2 CPUs, 1 GiB and 100 pages of 2Mi on node 0. */
static void add_container(struct made *m)
{
	pb_container__init(&m->container);
	pb_container_part__init(&m->part);
	pb_hugepages__init(&m->pages);
	m->pages.page_size = 2 * MIB;
	m->pages.pages = 100;
	m->pages_list[0] = &m->pages;
	m->part.cpus = 2;
	m->part.memory_promised = GIB;
	m->part.hugepages = m->pages_list;
	m->part.n_hugepages = 1;
	m->parts[0] = &m->part;
	m->container.parts = m->parts;
	m->container.n_parts = 1;
	m->containers[0] = &m->container;
	m->report.containers = m->containers;
	m->report.n_containers = 1;
}

static void make(struct made *m)
{
	struct stow_err err = { 0 };

	free(m->devices);
	json_object_put(m->slices);
	m->slices = NULL;
	if (agent_slice_devices(&m->report, m->facts, m->n_facts, &m->devices, &m->n_devices,
				&err) < 0 ||
	    agent_slice_make(&m->settings, m->devices, m->n_devices, &m->slices, &err) < 0)
		fail_msg("%s", err.msg);
}

static void made_free(struct made *m)
{
	free(m->devices);
	json_object_put(m->slices);
	free(m);
}

static struct json_object *slice(const struct made *m, size_t i)
{
	return json_object_array_get_idx(m->slices, i);
}

static struct json_object *device(const struct made *m, size_t s, size_t i)
{
	size_t n;
	struct json_object *devices = stow_kube_list_at(slice(m, s), "spec.devices", &n);

	assert_true(i < n);
	return json_object_array_get_idx(devices, i);
}

static const char *amount(struct json_object *of, const char *capacity)
{
	char path[64];

	snprintf(path, sizeof(path), "capacity.%s.value", capacity);
	return stow_kube_text(of, path);
}

TEST(a_numa_node_is_a_device)
{
	struct made *m = made_new(2);
	struct json_object *d;

	make(m);
	assert_int_equal(json_object_array_length(m->slices), 1);
	assert_string_equal(stow_kube_text(slice(m, 0), "metadata.name"), "web-3-numastow-000");
	assert_string_equal(stow_kube_text(slice(m, 0), "spec.pool.name"), "web-3");
	assert_int_equal(stow_kube_number(slice(m, 0), "spec.pool.generation", 0), 7);
	assert_int_equal(stow_kube_number(slice(m, 0), "spec.pool.resourceSliceCount", 0), 1);
	d = device(m, 0, 1);
	assert_string_equal(stow_kube_text(d, "name"), "node1");
	assert_true(stow_kube_is_true(d, "allowMultipleAllocations"));
	assert_string_equal(amount(d, "cpus"), "8");
	assert_string_equal(amount(d, "memory"), "13Gi"); /* less both pools */
	assert_string_equal(amount(d, "hugepages2Mi"), "1Gi");
	assert_string_equal(amount(d, "hugepages1Gi"), "2Gi");
	assert_string_equal(stow_kube_text(d, "capacity.memory.requestPolicy.default"), "0");
	assert_string_equal(stow_kube_text(d, "capacity.memory.requestPolicy.validRange.min"), "0");
	assert_string_equal(stow_kube_text(d, "capacity.memory.requestPolicy.validRange.step"),
			    "1Mi");
	assert_string_equal(stow_kube_text(d, "attributes.kind.string"), "cpus-memory");
	assert_null(stow_kube_at(d, "attributes.socket"));
	assert_null(stow_kube_at(d, "taints"));
	made_free(m);
}

TEST(a_slice_has_at_most_64_devices)
{
	static const struct {
		uint32_t numa;
		size_t slices, last;
	} cases[] = { { 1, 1, 1 }, { 64, 1, 64 }, { 65, 2, 1 }, { 200, 4, 8 } };

	for (size_t c = 0; c < STOW_ARRAY_SIZE(cases); c++) {
		struct made *m = made_new(cases[c].numa);
		char name[40];
		size_t n;

		make(m);
		assert_int_equal(json_object_array_length(m->slices), cases[c].slices);
		for (size_t i = 0; i < cases[c].slices; i++) {
			(void)stow_kube_list_at(slice(m, i), "spec.devices", &n);
			assert_int_equal(n, i + 1 < cases[c].slices ? 64 : cases[c].last);
			assert_int_equal(stow_kube_number(slice(m, i),
							  "spec.pool.resourceSliceCount", 0),
					 cases[c].slices);
			snprintf(name, sizeof(name), "web-3-numastow-%03zu", i);
			assert_string_equal(stow_kube_text(slice(m, i), "metadata.name"), name);
			snprintf(name, sizeof(name), "node%zu", i * 64);
			assert_string_equal(stow_kube_text(device(m, i, 0), "name"), name);
		}
		made_free(m);
	}
}

/* The API server refuses the whole slice for one of these. */
TEST(less_than_a_step_is_left_out)
{
	struct made *m = made_new(2);
	struct json_object *d;

	m->pools[0][0].total = 0;
	m->pools[0][1].total = 0;
	m->numa[0].memory_total = MIB - 1;
	make(m);
	d = device(m, 0, 0);
	assert_string_equal(amount(d, "cpus"), "8");
	assert_null(stow_kube_at(d, "capacity.memory"));
	assert_null(stow_kube_at(d, "capacity.hugepages2Mi"));
	assert_null(stow_kube_at(d, "capacity.hugepages1Gi"));
	/* Whole steps only. */
	m->numa[0].memory_total = 3 * MIB + 4096;
	make(m);
	assert_string_equal(amount(device(m, 0, 0), "memory"), "3Mi");
	/* Nothing at all. */
	m->numa[0].memory_total = 0;
	m->numa[0].cpus_total = 0;
	make(m);
	assert_string_equal(stow_kube_text(device(m, 0, 0), "name"), "node1");
	m->report.n_numa_nodes = 1;
	make(m);
	assert_int_equal(json_object_array_length(m->slices), 0);
	made_free(m);
}

TEST(what_others_have_is_subtracted)
{
	struct made *m = made_new(2);
	struct json_object *d;

	add_container(m);
	m->facts[0] = (struct agent_slice_facts){ .id = 0,
						  .exclusive = true,
						  .socket = 3,
						  .tier = 4,
						  .n_roots = 1,
						  .reserved_memory = 2 * GIB,
						  .roots = { "pci0000:00" } };
	m->n_facts = 1;
	m->pools[0][0].surplus = 12;
	make(m);
	d = device(m, 0, 0);
	assert_string_equal(amount(d, "cpus"), "6");
	assert_string_equal(amount(d, "memory"), "10Gi");
	assert_string_equal(amount(d, "hugepages2Mi"), "800Mi");
	assert_int_equal(stow_kube_number(d, "attributes.socket.int", 0), 3);
	assert_int_equal(stow_kube_number(d, "attributes.memoryTier.int", 0), 4);
	assert_int_equal(stow_kube_number(d, "attributes.cpuCount.int", 0), 8);
	assert_true(stow_kube_is_true(d, "attributes.exclusive.bool"));
	assert_string_equal(amount(device(m, 0, 1), "cpus"), "8");
	/* More than there is. */
	m->part.cpus = 100;
	m->part.memory_promised = UINT64_MAX;
	m->pages.pages = UINT64_MAX;
	make(m);
	d = device(m, 0, 0);
	assert_null(stow_kube_at(d, "capacity.cpus"));
	assert_null(stow_kube_at(d, "capacity.memory"));
	assert_null(stow_kube_at(d, "capacity.hugepages2Mi"));
	/* What a claim has, kube-scheduler subtracts. */
	m->container.claim = true;
	make(m);
	assert_string_equal(amount(device(m, 0, 0), "cpus"), "8");
	made_free(m);
}

TEST(lists_are_asked_for)
{
	struct made *m = made_new(1);
	struct json_object *attributes, *roots;

	m->facts[0] = (struct agent_slice_facts){
		.n_roots = 2, .socket = -1, .tier = -1, .roots = { "pci0000:00", "pci0000:80" }
	};
	m->n_facts = 1;
	make(m);
	attributes = stow_kube_at(device(m, 0, 0), "attributes");
	assert_false(
		json_object_object_get_ex(attributes, "resource.kubernetes.io/pcieRoot", &roots));
	m->settings.lists = true;
	make(m);
	attributes = stow_kube_at(device(m, 0, 0), "attributes");
	assert_true(
		json_object_object_get_ex(attributes, "resource.kubernetes.io/pcieRoot", &roots));
	roots = stow_kube_at(roots, "strings");
	assert_int_equal(json_object_array_length(roots), 2);
	made_free(m);
}

TEST(a_node_without_cpus_is_memory)
{
	struct made *m = made_new(2);

	m->numa[1].cpus = (char *)(uintptr_t) "";
	m->numa[1].cpus_total = 0;
	m->numa[0].memory_total = 0;
	m->numa[0].n_hugepages = 0;
	make(m);
	assert_string_equal(stow_kube_text(device(m, 0, 1), "attributes.kind.string"), "memory");
	assert_null(stow_kube_at(device(m, 0, 1), "capacity.cpus"));
	assert_string_equal(stow_kube_text(device(m, 0, 0), "attributes.kind.string"), "cpus");
	made_free(m);
}

TEST(devices_are_in_order)
{
	struct made *m = made_new(3);

	m->numa[0].id = 9;
	m->numa[1].id = 2;
	m->numa[2].id = 4;
	make(m);
	assert_string_equal(stow_kube_text(device(m, 0, 0), "name"), "node2");
	assert_string_equal(stow_kube_text(device(m, 0, 2), "name"), "node9");
	made_free(m);
}

TEST(a_long_name_is_valid)
{
	char node[260], *name;

	memset(node, 'a', sizeof(node));
	node[199] = '.';
	node[198] = '-';
	node[253] = '\0';
	name = agent_slice_name(node, 12);
	assert_non_null(name);
	assert_true(strlen(name) <= 253);
	assert_null(strstr(name, ".-"));
	assert_null(strstr(name, "--"));
	assert_string_equal(name + strlen(name) - 13, "-numastow-012");
	free(name);
}

/* --- fences --------------------------------------------------------------- */

static const char *no_time(void *ctx, uint32_t id)
{
	return ctx ? ctx : "";
}

TEST(a_fence_is_a_taint_that_keeps_its_time)
{
	struct agent_state *known = calloc(1, sizeof(*known));
	struct made *m = made_new(2);
	struct json_object *taint;

	assert_non_null(known);
	m->numa[1].state = PB_NUMA_NODE_STATE_DRAINING;
	make(m);
	assert_true(
		agent_state_note(known, m->devices, 2, no_time, NULL, 1700000000 * STOW_SECOND));
	assert_string_equal(m->devices[1].since, "2023-11-14T22:13:20Z");
	/* Later, and although the API server says otherwise. */
	assert_false(agent_state_note(known, m->devices, 2, no_time,
				      (void *)(uintptr_t) "2020-01-01T00:00:00Z",
				      1800000000 * STOW_SECOND));
	assert_string_equal(m->devices[1].since, "2023-11-14T22:13:20Z");
	json_object_put(m->slices);
	assert_int_equal(agent_slice_make(&m->settings, m->devices, 2, &m->slices, NULL), 0);
	taint = json_object_array_get_idx(stow_kube_at(device(m, 0, 1), "taints"), 0);
	assert_string_equal(stow_kube_text(taint, "key"), "numastow.io/fence");
	assert_string_equal(stow_kube_text(taint, "effect"), "NoSchedule");
	assert_string_equal(stow_kube_text(taint, "timeAdded"), "2023-11-14T22:13:20Z");
	assert_string_equal(agent_slice_since(slice(m, 0), 1), "2023-11-14T22:13:20Z");
	assert_string_equal(agent_slice_since(slice(m, 0), 0), "");
	/* With the server's time: tolerations for some seconds begin anew. */
	m->devices[1].no_execute = true;
	json_object_put(m->slices);
	assert_int_equal(agent_slice_make(&m->settings, m->devices, 2, &m->slices, NULL), 0);
	taint = json_object_array_get_idx(stow_kube_at(device(m, 0, 1), "taints"), 0);
	assert_string_equal(stow_kube_text(taint, "effect"), "NoExecute");
	assert_null(stow_kube_at(taint, "timeAdded"));
	assert_null(stow_kube_at(device(m, 0, 0), "taints"));
	/* Where taints are dropped, the device is left out. */
	m->settings.taints = false;
	json_object_put(m->slices);
	assert_int_equal(agent_slice_make(&m->settings, m->devices, 2, &m->slices, NULL), 0);
	assert_string_equal(stow_kube_text(device(m, 0, 0), "name"), "node0");
	(void)stow_kube_list_at(slice(m, 0), "spec.devices", &m->n_devices);
	assert_int_equal(m->n_devices, 1);
	/* Lifted. */
	m->devices[1].fenced = false;
	assert_true(agent_state_note(known, m->devices, 2, no_time, NULL, 0));
	assert_int_equal(known->n_fences, 0);
	free(known);
	made_free(m);
}

TEST(an_unknown_fence_has_the_servers_time)
{
	struct agent_state *known = calloc(1, sizeof(*known));
	struct made *m = made_new(1);

	assert_non_null(known);
	m->numa[0].state = PB_NUMA_NODE_STATE_FENCED;
	make(m);
	assert_true(agent_state_note(known, m->devices, 1, no_time,
				     (void *)(uintptr_t) "2020-01-01T00:00:00Z",
				     1800000000 * STOW_SECOND));
	assert_string_equal(m->devices[0].since, "2020-01-01T00:00:00Z");
	known->n_fences = 0;
	assert_true(agent_state_note(known, m->devices, 1, no_time,
				     (void *)(uintptr_t) "2020\",\"x\":\"", 0));
	assert_string_equal(m->devices[0].since, "1970-01-01T00:00:00Z");
	free(known);
	made_free(m);
}

TEST(the_state_is_read_again)
{
	static const char fences[] =
		"{\"fences\":[1,{\"node\":-1},{\"node\":1,\"since\":\"yesterday\"}]}";
	static const char *const damaged[] = { "", "[]", "{\"generation\":-3}",
					       "{\"generation\":\"x\"}", fences };
	struct agent_state *known = calloc(1, sizeof(*known)), *again = calloc(1, sizeof(*again));
	struct tree *t = tree_new();

	assert_non_null(known);
	assert_non_null(again);
	tree_write_data(t, "/run/numastow/x", "", 0);
	agent_state_read(t->root, again);
	assert_int_equal(again->generation, 0);
	known->generation = INT64_C(1) << 40;
	known->n_fences = 1;
	known->fences[0].id = 5;
	strcpy(known->fences[0].since, "2020-01-01T00:00:00Z");
	assert_int_equal(agent_state_write(t->root, known, NULL), 0);
	agent_state_read(t->root, again);
	assert_true(again->generation == known->generation);
	assert_int_equal(again->n_fences, 1);
	assert_int_equal(again->fences[0].id, 5);
	assert_string_equal(again->fences[0].since, "2020-01-01T00:00:00Z");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(damaged); i++) {
		tree_write_data(t, AGENT_STATE_PATH, damaged[i], strlen(damaged[i]));
		agent_state_read(t->root, again);
		assert_int_equal(again->generation, 0);
		assert_int_equal(again->n_fences, 0);
	}
	tree_free(t);
	free(again);
	free(known);
}

/* --- comparing ------------------------------------------------------------ */

/* A copy of the first slice, as JSON that may be changed. */
static struct json_object *stored(const struct made *m)
{
	struct json_object *copy = NULL;

	assert_int_equal(json_object_deep_copy(slice(m, 0), &copy, NULL), 0);
	return copy;
}

static struct json_object *its_device(struct json_object *copy)
{
	return json_object_array_get_idx(stow_kube_at(copy, "spec.devices"), 0);
}

static void set(struct json_object *object, const char *path, const char *key,
		struct json_object *value)
{
	struct json_object *at = stow_kube_at(object, path);

	assert_non_null(at);
	if (value)
		json_object_object_add(at, key, value);
	else
		json_object_object_del(at, key);
}

TEST(the_same_is_the_same)
{
	struct made *m = made_new(1);
	struct json_object *copy;

	make(m);
	copy = stored(m);
	set(copy, "metadata", "uid", json_object_new_string("x"));
	set(copy, "spec.pool", "generation", json_object_new_int64(99));
	set(its_device(copy), "capacity.memory", "value", json_object_new_string("13312Mi"));
	set(its_device(copy), "capacity.cpus", "value", json_object_new_string("8500m"));
	assert_int_equal(agent_slice_compare(slice(m, 0), copy), AGENT_SLICE_DIFFERENT);
	set(its_device(copy), "capacity.cpus", "value", json_object_new_string("8"));
	set(its_device(copy), "", "newField", json_object_new_string("of a later release"));
	assert_int_equal(agent_slice_compare(slice(m, 0), copy), AGENT_SLICE_SAME);
	set(its_device(copy), "attributes", "more", json_object_new_object());
	assert_int_equal(agent_slice_compare(slice(m, 0), copy), AGENT_SLICE_DIFFERENT);
	json_object_put(copy);
	copy = stored(m);
	set(its_device(copy), "", "taints", json_object_new_array());
	assert_int_equal(agent_slice_compare(slice(m, 0), copy), AGENT_SLICE_DIFFERENT);
	json_object_put(copy);
	copy = stored(m);
	set(copy, "metadata", "ownerReferences", NULL);
	assert_int_equal(agent_slice_compare(slice(m, 0), copy), AGENT_SLICE_DIFFERENT);
	json_object_put(copy);
	made_free(m);
}

TEST(what_a_gate_drops_is_named)
{
	struct made *m = made_new(1);
	struct json_object *copy;

	m->numa[0].state = PB_NUMA_NODE_STATE_FENCED;
	make(m);
	copy = stored(m);
	set(its_device(copy), "", "taints", NULL);
	assert_int_equal(agent_slice_compare(slice(m, 0), copy), AGENT_SLICE_NO_TAINTS);
	set(its_device(copy), "capacity.cpus", "requestPolicy", NULL);
	assert_int_equal(agent_slice_compare(slice(m, 0), copy), AGENT_SLICE_NO_SHARING);
	json_object_put(copy);
	copy = stored(m);
	set(its_device(copy), "", "allowMultipleAllocations", NULL);
	assert_int_equal(agent_slice_compare(slice(m, 0), copy), AGENT_SLICE_NO_SHARING);
	json_object_put(copy);
	/* The time that the API server has added is no difference. */
	copy = stored(m);
	set(json_object_array_get_idx(stow_kube_at(its_device(copy), "taints"), 0), "", "timeAdded",
	    json_object_new_string("2026-01-01T00:00:00Z"));
	assert_int_equal(agent_slice_compare(slice(m, 0), copy), AGENT_SLICE_SAME);
	json_object_put(copy);
	made_free(m);
}

TEST(a_pod_is_bound_when_its_claim_is_prepared)
{
	struct made *m = made_new(1);
	struct json_object *copy, *names;

	make(m);
	assert_null(stow_kube_at(device(m, 0, 0), "bindingConditions"));
	copy = stored(m);
	m->settings.binding = true;
	make(m);
	assert_true(stow_kube_is_true(device(m, 0, 0), "bindsToNode"));
	names = stow_kube_at(device(m, 0, 0), "bindingConditions");
	assert_string_equal(json_object_to_json_string(names), "[ \"numastow.io\\/Prepared\" ]");
	names = stow_kube_at(device(m, 0, 0), "bindingFailureConditions");
	assert_string_equal(json_object_to_json_string(names), "[ \"numastow.io\\/Refused\" ]");
	/* An API server that lacks the gate stores the same without them. */
	assert_int_equal(agent_slice_compare(slice(m, 0), copy), AGENT_SLICE_NO_BINDING);
	assert_int_equal(agent_slice_compare(slice(m, 0), slice(m, 0)), AGENT_SLICE_SAME);
	/* They are withdrawn where they are not wanted any more. */
	assert_int_equal(agent_slice_compare(copy, slice(m, 0)), AGENT_SLICE_DIFFERENT);
	json_object_put(copy);
	made_free(m);
}
