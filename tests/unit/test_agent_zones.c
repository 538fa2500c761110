// SPDX-License-Identifier: Apache-2.0
/* NodeResourceTopology objects made of reports: amounts, costs, gaps in the numbers of NUMA nodes,
 * and comparing with what is stored. */
#include "unit.h"

#include <stdio.h>

#include "agent/kubernetes/zones.h"
#include "base/cleanup.h"
#include "kube/json.h"

#define GIB  (UINT64_C(1) << 30)
#define MIB  (UINT64_C(1) << 20)
#define NUMA 80

/* A machine whose NUMA nodes have 8 CPUs, 16 GiB and 512 pages of 2Mi each, and distances of 10 and
 * 20. */
struct made {
	PbNodeReport report;
	PbNumaNode numa[NUMA], *list[NUMA];
	PbHugepagePool pools[NUMA], *pool_lists[NUMA][1];
	uint32_t distances[NUMA][NUMA];
	PbContainer containers[2], *container_list[2];
	PbContainerPart parts[2], *part_lists[2][1];
	PbHugepages pages, *page_list[1];
	struct agent_slice_facts facts[1];
	struct agent_zones_settings settings;
	struct json_object *object;
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
		m->numa[i].hugepages = m->pool_lists[i];
		m->numa[i].n_hugepages = 1;
		m->pool_lists[i][0] = &m->pools[i];
		pb_hugepage_pool__init(&m->pools[i]);
		m->pools[i].page_size = 2 * MIB;
		m->pools[i].total = 512;
		m->numa[i].distances = m->distances[i];
		m->numa[i].n_distances = n;
		for (uint32_t to = 0; to < n; to++)
			m->distances[i][to] = to == i ? 10 : 20;
	}
	m->settings = (struct agent_zones_settings){ .node = "web-3", .node_uid = "u" };
	return m;
}

/* A container with 2 CPUs, 1 GiB and 100 pages on node 0; a claim with 3 CPUs there. */
static void add_containers(struct made *m)
{
	m->report.containers = m->container_list;
	m->report.n_containers = 2;
	for (int i = 0; i < 2; i++) {
		pb_container__init(&m->containers[i]);
		pb_container_part__init(&m->parts[i]);
		m->container_list[i] = &m->containers[i];
		m->part_lists[i][0] = &m->parts[i];
		m->containers[i].parts = m->part_lists[i];
		m->containers[i].n_parts = 1;
		m->parts[i].cpus = 2 + (uint32_t)i;
	}
	m->containers[1].claim = true;
	m->parts[0].memory_promised = GIB;
	pb_hugepages__init(&m->pages);
	m->pages.page_size = 2 * MIB;
	m->pages.pages = 100;
	m->page_list[0] = &m->pages;
	m->parts[0].hugepages = m->page_list;
	m->parts[0].n_hugepages = 1;
}

static struct json_object *make(struct made *m)
{
	struct agent_slice_device *devices;
	struct stow_err err = { 0 };
	size_t n;

	json_object_put(m->object);
	m->object = NULL;
	if (agent_slice_devices(&m->report, m->facts, 1, &devices, &n, &err) < 0 ||
	    agent_zones_make(&m->settings, devices, n, &m->object, &err) < 0)
		fail_msg("%s", err.msg);
	free(devices);
	return m->object;
}

static void made_free(struct made *m)
{
	json_object_put(m->object);
	free(m);
}

/* Return the object with a name in a list; NULL: none. */
static struct json_object *named(struct json_object *list, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *entry = json_object_array_get_idx(list, i);

		if (strcmp(stow_kube_text(entry, "name"), name) == 0)
			return entry;
	}
	return NULL;
}

static struct json_object *zone(const struct made *m, const char *name)
{
	return named(stow_kube_at(m->object, "zones"), name);
}

static void has(const struct made *m, const char *name, const char *resource, const char *capacity,
		const char *allocatable, const char *available)
{
	struct json_object *found = named(stow_kube_at(zone(m, name), "resources"), resource);

	assert_non_null(found);
	assert_string_equal(stow_kube_text(found, "capacity"), capacity);
	assert_string_equal(stow_kube_text(found, "allocatable"), allocatable);
	assert_string_equal(stow_kube_text(found, "available"), available);
}

static int64_t cost(const struct made *m, const char *from, const char *to)
{
	return stow_kube_number(named(stow_kube_at(zone(m, from), "costs"), to), "value", -1);
}

static const char *attribute(const struct made *m, const char *name)
{
	return stow_kube_text(named(stow_kube_at(m->object, "attributes"), name), "value");
}

TEST(a_numa_node_is_a_zone)
{
	struct made *m = made_new(2);
	struct json_object *owner;

	make(m);
	assert_string_equal(stow_kube_text(m->object, "apiVersion"),
			    "topology.node.k8s.io/v1alpha2");
	assert_string_equal(stow_kube_text(m->object, "kind"), "NodeResourceTopology");
	assert_string_equal(stow_kube_text(m->object, "metadata.name"), "web-3");
	owner = json_object_array_get_idx(stow_kube_at(m->object, "metadata.ownerReferences"), 0);
	assert_string_equal(stow_kube_text(owner, "kind"), "Node");
	assert_string_equal(stow_kube_text(owner, "uid"), "u");
	assert_int_equal(json_object_array_length(stow_kube_at(m->object, "zones")), 2);
	assert_string_equal(stow_kube_text(zone(m, "node-1"), "type"), "Node");
	has(m, "node-1", "cpu", "8", "8", "8");
	has(m, "node-1", "memory", "16Gi", "15Gi", "15Gi");
	has(m, "node-1", "hugepages-2Mi", "1Gi", "1Gi", "1Gi");
	assert_int_equal(cost(m, "node-0", "node-0"), 10);
	assert_int_equal(cost(m, "node-0", "node-1"), 20);
	assert_string_equal(attribute(m, "topologyManagerPolicy"), "single-numa-node");
	assert_string_equal(attribute(m, "topologyManagerScope"), "container");
	assert_string_equal(attribute(m, "topologyManagerMaxNUMANodes"), "");
	/* Only true of all pods of a node, which the agent does not know. */
	assert_string_equal(attribute(m, "nodeTopologyPodsFingerprint"), "");
	made_free(m);
}

TEST(the_policy_is_the_default_policy)
{
	static const char *const words[] = {
		[STOW_POLICY_SINGLE_NUMA_NODE] = "single-numa-node",
		[STOW_POLICY_RESTRICTED] = "restricted",
		[STOW_POLICY_BEST_EFFORT] = "best-effort",
		[STOW_POLICY_SPREAD] = "best-effort",
	};
	struct made *m = made_new(1);

	for (size_t i = 0; i < STOW_ARRAY_SIZE(words); i++) {
		m->settings.policy = (enum stow_policy)i;
		make(m);
		assert_string_equal(attribute(m, "topologyManagerPolicy"), words[i]);
	}
	made_free(m);
}

TEST(what_is_given_is_not_available)
{
	struct made *m = made_new(2);

	add_containers(m);
	m->numa[0].cpus = (char *)(uintptr_t) "0-8,10";
	m->facts[0].reserved_memory = 2 * GIB + 1;
	m->pools[0].surplus = 12;
	make(m);
	has(m, "node-0", "cpu", "10", "8", "3");
	has(m, "node-0", "memory", "16Gi", "13311Mi", "12287Mi");
	has(m, "node-0", "hugepages-2Mi", "1Gi", "1000Mi", "800Mi");
	has(m, "node-1", "cpu", "8", "8", "8");
	/* More than there is. */
	m->parts[0].cpus = 100;
	m->parts[0].memory_promised = UINT64_MAX;
	m->pages.pages = UINT64_MAX;
	make(m);
	has(m, "node-0", "cpu", "10", "8", "0");
	has(m, "node-0", "memory", "16Gi", "13311Mi", "0");
	has(m, "node-0", "hugepages-2Mi", "1Gi", "1000Mi", "0");
	made_free(m);
}

TEST(a_fenced_numa_node_has_nothing_available)
{
	struct made *m = made_new(2);

	for (int draining = 0; draining < 2; draining++) {
		m->numa[1].state =
			draining ? PB_NUMA_NODE_STATE_DRAINING : PB_NUMA_NODE_STATE_FENCED;
		make(m);
		has(m, "node-1", "cpu", "8", "8", "0");
		has(m, "node-1", "memory", "16Gi", "15Gi", "0");
		has(m, "node-1", "hugepages-2Mi", "1Gi", "1Gi", "0");
		has(m, "node-0", "cpu", "8", "8", "8");
	}
	made_free(m);
}

/* The plugin indexes an array of as many entries as there are zones by their numbers. */
TEST(numbers_have_no_gaps)
{
	struct made *m = made_new(3);

	m->numa[1].id = 4; /* not ascending, as it may be in a report */
	m->numa[2].id = 2;
	make(m);
	assert_int_equal(json_object_array_length(stow_kube_at(m->object, "zones")), 5);
	for (int i = 0; i < 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "node-%d", i);
		assert_string_equal(
			stow_kube_text(json_object_array_get_idx(stow_kube_at(m->object, "zones"),
								 (size_t)i),
				       "name"),
			name);
		has(m, name, "cpu", i % 2 ? "0" : "8", i % 2 ? "0" : "8", i % 2 ? "0" : "8");
	}
	has(m, "node-3", "memory", "0", "0", "0");
	has(m, "node-3", "hugepages-2Mi", "0", "0", "0");
	assert_int_equal(cost(m, "node-4", "node-2"), 20);
	assert_int_equal(cost(m, "node-4", "node-4"), 10);
	assert_int_equal(cost(m, "node-4", "node-3"), 255);
	assert_int_equal(cost(m, "node-3", "node-3"), 255);
	made_free(m);
}

/* It panics for node-64. */
TEST(numbers_are_below_64)
{
	struct made *m = made_new(NUMA);

	make(m);
	assert_int_equal(json_object_array_length(stow_kube_at(m->object, "zones")), 64);
	assert_non_null(zone(m, "node-63"));
	assert_string_equal(attribute(m, "topologyManagerMaxNUMANodes"), "64");
	m->report.n_numa_nodes = 9;
	make(m);
	assert_string_equal(attribute(m, "topologyManagerMaxNUMANodes"), "9");
	m->numa[0].id = 64;
	m->report.n_numa_nodes = 1;
	make(m);
	assert_int_equal(json_object_array_length(stow_kube_at(m->object, "zones")), 0);
	m->numa[0].id = UINT32_MAX;
	make(m);
	assert_int_equal(json_object_array_length(stow_kube_at(m->object, "zones")), 0);
	made_free(m);
}

TEST(every_zone_has_every_resource)
{
	struct made *m = made_new(2);

	m->pools[0].page_size = GIB;
	m->pools[0].total = 2;
	m->numa[1].cpus = (char *)(uintptr_t) "";
	m->numa[1].cpus_total = 0;
	make(m);
	has(m, "node-0", "hugepages-1Gi", "2Gi", "2Gi", "2Gi");
	has(m, "node-0", "hugepages-2Mi", "0", "0", "0");
	has(m, "node-1", "hugepages-1Gi", "0", "0", "0");
	has(m, "node-1", "hugepages-2Mi", "1Gi", "1Gi", "1Gi");
	has(m, "node-1", "cpu", "0", "0", "0");
	made_free(m);
}

/* --- what is stored ------------------------------------------------------- */

static struct json_object *parsed(const char *text)
{
	struct json_object *object;
	struct stow_err err;

	if (stow_kube_parse(text, strlen(text), &object, &err) < 0)
		fail_msg("%s", err.msg);
	return object;
}

static void replace(struct json_object *object, const char *path, const char *key, const char *text)
{
	json_object_object_add(stow_kube_at(object, path), key, parsed(text));
}

TEST(what_is_stored_agrees)
{
	static const char *const owners = "{\"l\":[{\"apiVersion\":\"v1\",\"kind\":\"Namespace\","
					  "\"name\":\"n\",\"uid\":\"x\"}]}";
	struct made *m = made_new(2);
	struct json_object *stored, *list, *resource, *other = parsed(owners);

	make(m);
	stored = parsed(json_object_to_json_string(m->object));
	assert_true(agent_zones_agree(m->object, stored));
	/* What the server and others add. */
	json_object_object_add(stow_kube_at(stored, "metadata"), "uid",
			       json_object_new_string("z"));
	list = stow_kube_at(stored, "metadata.ownerReferences");
	json_object_array_add(
		list, json_object_get(json_object_array_get_idx(stow_kube_at(other, "l"), 0)));
	assert_true(agent_zones_agree(m->object, stored));
	/* The same quantity. */
	resource = named(stow_kube_at(named(stow_kube_at(stored, "zones"), "node-0"), "resources"),
			 "memory");
	json_object_object_add(resource, "available", json_object_new_string("16106127360"));
	assert_true(agent_zones_agree(m->object, stored));
	json_object_object_add(resource, "available", json_object_new_string("16106127361"));
	assert_false(agent_zones_agree(m->object, stored));
	json_object_object_add(resource, "available", json_object_new_string("15Gi"));
	assert_true(agent_zones_agree(m->object, stored));
	/* Another Node of the same name. */
	m->settings.node_uid = "v";
	make(m);
	assert_false(agent_zones_agree(m->object, stored));
	json_object_put(stored);
	json_object_put(other);
	made_free(m);
}

TEST(no_type_is_trusted)
{
	static const char *const odd[] = { "{}", "{\"zones\":{},\"attributes\":[]}",
					   "{\"metadata\":7,\"zones\":[1,2],\"attributes\":null}",
					   "{\"metadata\":{\"ownerReferences\":[1],"
					   "\"managedFields\":[1,{\"manager\":2}]}}" };
	struct made *m = made_new(2);

	make(m);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(odd); i++) {
		struct json_object *stored = parsed(odd[i]);

		assert_false(agent_zones_agree(m->object, stored));
		assert_false(agent_zones_are_of(stored, "numastow-agent"));
		json_object_put(stored);
	}
	made_free(m);
}

TEST(the_manager_of_the_zones_is_known)
{
	struct json_object *stored = parsed("{\"metadata\":{}}");

	replace(stored, "metadata", "managedFields", "{}");
	assert_false(agent_zones_are_of(stored, "numastow-agent"));
	json_object_put(stored);
	stored = parsed(
		"{\"metadata\":{\"managedFields\":["
		"{\"manager\":\"nfd\",\"operation\":\"Apply\",\"fieldsV1\":{\"f:zones\":{}}},"
		"{\"manager\":\"numastow-agent\",\"operation\":\"Apply\",\"fieldsV1\":"
		"{\"f:attributes\":{}}}]}}");
	assert_false(agent_zones_are_of(stored, "numastow-agent"));
	assert_true(agent_zones_are_of(stored, "nfd"));
	json_object_put(stored);
}
