/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/slice.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kubernetes/make.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/idset.h"
#include "base/math.h"
#include "base/parse.h"
#include "kube/make.h"

#define MIB	      (UINT64_C(1) << 20)
#define NAME_NODE_MAX 200 /* bytes of a node's name in a slice's name, which has 253 at most */

/* --- devices -------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
	const struct agent_slice_device *x = a, *y = b;

	return x->facts.id < y->facts.id ? -1 : x->facts.id > y->facts.id;
}

static struct agent_slice_facts facts_of(uint32_t id, const struct agent_slice_facts *facts,
					 size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (facts[i].id == id)
			return facts[i];
	return (struct agent_slice_facts){ .id = id, .socket = -1, .tier = -1 };
}

static void add_pool(struct agent_slice_device *device, const PbHugepagePool *pool)
{
	uint64_t *memory = &device->allocatable.memory, bytes;
	size_t i = device->n_pools;

	if (pool->page_size == 0 || i == STOW_POOLS_MAX)
		return;
	device->pools[i] = pool->page_size;
	device->capacity.pages[i] = pool->total;
	/* Without surplus pages, which the kernel frees when they are no longer in use. */
	device->allocatable.pages[i] = stow_saturating_sub(pool->total, pool->surplus);
	device->n_pools++;
	if (__builtin_mul_overflow(pool->total, pool->page_size, &bytes))
		bytes = UINT64_MAX;
	*memory = stow_saturating_sub(*memory, bytes);
}

static void fill_costs(struct agent_slice_device *device, const PbNodeReport *report,
		       const PbNumaNode *node)
{
	for (size_t i = 0; i < node->n_distances && i < report->n_numa_nodes; i++)
		if (report->numa_nodes[i]->id < AGENT_SLICE_COSTS)
			device->costs[report->numa_nodes[i]->id] =
				(uint8_t)STOW_MIN(node->distances[i], (uint32_t)UINT8_MAX);
}

static void fill_device(struct agent_slice_device *device, const PbNumaNode *node,
			const struct agent_slice_facts *facts, size_t n_facts)
{
	struct stow_idset cpus;

	device->facts = facts_of(node->id, facts, n_facts);
	device->fenced = node->state == PB_NUMA_NODE_STATE_FENCED ||
			 node->state == PB_NUMA_NODE_STATE_DRAINING;
	device->no_execute = node->no_execute;
	device->has_cpus = node->cpus && node->cpus[0];
	device->has_memory = node->memory_total > 0;
	device->allocatable.cpus = device->capacity.cpus = node->cpus_total;
	if (node->cpus && stow_idset_parse(node->cpus, &cpus, NULL) == 0)
		device->capacity.cpus = (uint64_t)stow_idset_count(&cpus);
	device->capacity.memory = node->memory_total;
	device->allocatable.memory =
		stow_saturating_sub(node->memory_total, device->facts.reserved_memory);
	for (size_t i = 0; i < node->n_hugepages; i++)
		add_pool(device, node->hugepages[i]);
	device->offered = device->available = device->allocatable;
}

static void subtract(const struct agent_slice_device *device, struct agent_slice_amounts *amounts,
		     const PbContainerPart *part)
{
	amounts->cpus = stow_saturating_sub(amounts->cpus, part->cpus);
	amounts->memory = stow_saturating_sub(amounts->memory, part->memory_promised);
	for (size_t h = 0; h < part->n_hugepages; h++)
		for (size_t p = 0; p < device->n_pools; p++)
			if (device->pools[p] == part->hugepages[h]->page_size)
				amounts->pages[p] = stow_saturating_sub(amounts->pages[p],
									part->hugepages[h]->pages);
}

/* Subtract what a container, or a claim, was given. */
static void subtract_container(struct agent_slice_device *devices, size_t n,
			       const PbContainer *container)
{
	for (size_t p = 0; p < container->n_parts; p++)
		for (size_t i = 0; i < n; i++) {
			if (devices[i].facts.id != container->parts[p]->numa_node)
				continue;
			subtract(&devices[i], &devices[i].available, container->parts[p]);
			/* kube-scheduler subtracts what it has allocated to claims itself. */
			if (!container->claim)
				subtract(&devices[i], &devices[i].offered, container->parts[p]);
		}
}

int agent_slice_devices(const PbNodeReport *report, const struct agent_slice_facts *facts,
			size_t n_facts, struct agent_slice_device **ret, size_t *ret_n,
			struct stow_err *err)
{
	struct agent_slice_device *devices = calloc(report->n_numa_nodes + 1, sizeof(*devices));

	if (!devices)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < report->n_numa_nodes; i++) {
		fill_device(&devices[i], report->numa_nodes[i], facts, n_facts);
		fill_costs(&devices[i], report, report->numa_nodes[i]);
	}
	for (size_t i = 0; i < report->n_containers; i++)
		subtract_container(devices, report->n_numa_nodes, report->containers[i]);
	qsort(devices, report->n_numa_nodes, sizeof(*devices), by_id);
	*ret = devices;
	*ret_n = report->n_numa_nodes;
	return 0;
}

/* --- objects -------------------------------------------------------------- */

/* Add a capacity in whole steps, unless it is less than one. */
static bool add_capacity(struct json_object *capacities, const char *name, uint64_t value,
			 uint64_t step, bool bytes)
{
	struct json_object *capacity, *policy, *range;

	value -= value % step;
	if (value == 0 || value > INT64_MAX)
		return true;
	capacity = stow_kube_object_at(capacities, name);
	policy = stow_kube_object_at(capacity, "requestPolicy");
	range = stow_kube_object_at(policy, "validRange");
	return stow_kube_put(capacity, "value", agent_json_quantity(value, bytes)) &&
	       stow_kube_put_text(policy, "default", "0") &&
	       stow_kube_put_text(range, "min", "0") &&
	       stow_kube_put(range, "step", agent_json_quantity(step, bytes));
}

static bool add_capacities(struct json_object *capacities, const struct agent_slice_device *device)
{
	bool ok = add_capacity(capacities, "cpus", device->offered.cpus, 1, false) &&
		  add_capacity(capacities, "memory", device->offered.memory, MIB, true);

	for (size_t p = 0; ok && p < device->n_pools; p++) {
		char name[40], size[24];
		uint64_t bytes;

		snprintf(name, sizeof(name), "hugepages%s",
			 stow_format_size(device->pools[p], size, sizeof(size)));
		if (!__builtin_mul_overflow(device->pools[p], device->offered.pages[p], &bytes))
			ok = add_capacity(capacities, name, bytes, device->pools[p], true);
	}
	return ok;
}

static bool add_int(struct json_object *attributes, const char *name, int64_t value)
{
	return stow_kube_put(stow_kube_object_at(attributes, name), "int",
			     json_object_new_int64(value));
}

static const char *kind_of(const struct agent_slice_device *device)
{
	if (!device->has_cpus)
		return "memory";
	return device->has_memory ? "cpus-memory" : "cpus";
}

static bool add_pcie_roots(struct json_object *attributes, const struct agent_slice_facts *facts)
{
	struct json_object *roots = stow_kube_put_list(
		stow_kube_object_at(attributes, "resource.kubernetes.io/pcieRoot"), "strings");
	bool ok = roots != NULL;

	for (size_t i = 0; ok && i < facts->n_roots; i++)
		ok = stow_kube_append_text(roots, facts->roots[i]);
	return ok;
}

static bool add_attributes(struct json_object *attributes, const struct agent_slice_device *device,
			   bool lists)
{
	static const char *const ids[] = { "resource.kubernetes.io/numaNode", "dra.cpu/numaNodeID",
					   "dra.net/numaNode" };
	const struct agent_slice_facts *facts = &device->facts;
	bool ok = stow_kube_put_text(stow_kube_object_at(attributes, "kind"), "string",
				     kind_of(device));

	for (size_t i = 0; ok && i < STOW_ARRAY_SIZE(ids); i++)
		ok = add_int(attributes, ids[i], facts->id);
	ok = ok && add_int(attributes, "cpuCount", (int64_t)device->allocatable.cpus);
	if (ok && device->has_cpus)
		ok = stow_kube_put(stow_kube_object_at(attributes, "exclusive"), "bool",
				   json_object_new_boolean(facts->exclusive));
	if (ok && facts->socket >= 0)
		ok = add_int(attributes, "socket", facts->socket);
	if (ok && facts->tier >= 0)
		ok = add_int(attributes, "memoryTier", facts->tier);
	return ok && (!lists || !facts->n_roots || add_pcie_roots(attributes, facts));
}

/* A NoExecute has the API server's time: seconds of toleration do not begin with the fence. */
static bool add_taint(struct json_object *device, const struct agent_slice_device *from)
{
	struct json_object *taint = stow_kube_append_object(stow_kube_put_list(device, "taints"));

	return stow_kube_put_text(taint, "key", AGENT_SLICE_FENCE) &&
	       stow_kube_put_text(taint, "effect", from->no_execute ? "NoExecute" : "NoSchedule") &&
	       (from->no_execute || !from->since[0] ||
		stow_kube_put_text(taint, "timeAdded", from->since));
}

/* Have kube-scheduler wait, before it binds a pod, until the agent has set one of these. */
static bool add_binding(struct json_object *device)
{
	return stow_kube_put(device, "bindsToNode", json_object_new_boolean(true)) &&
	       stow_kube_put(device, "bindingConditions",
			     stow_kube_list_of(AGENT_CONDITION_PREPARED)) &&
	       stow_kube_put(device, "bindingFailureConditions",
			     stow_kube_list_of(AGENT_CONDITION_REFUSED));
}

/* Make a device. *ret is NULL when it has nothing to offer. */
static int make_device(const struct agent_slice_settings *settings,
		       const struct agent_slice_device *from, struct json_object **ret)
{
	struct json_object *device = json_object_new_object(), *capacities;
	char name[24];
	bool ok;

	snprintf(name, sizeof(name), AGENT_DEVICE_PREFIX "%" PRIu32, from->facts.id);
	ok = stow_kube_put_text(device, "name", name) &&
	     stow_kube_put(device, "allowMultipleAllocations", json_object_new_boolean(true)) &&
	     add_attributes(stow_kube_object_at(device, "attributes"), from, settings->lists);
	capacities = stow_kube_object_at(device, "capacity");
	ok = ok && capacities && add_capacities(capacities, from) &&
	     (!from->fenced || add_taint(device, from)) &&
	     (!settings->binding || add_binding(device));
	if (!ok || json_object_object_length(capacities) == 0) {
		json_object_put(device);
		device = NULL;
	}
	*ret = device;
	return ok ? 0 : -ENOMEM;
}

char *agent_slice_name(const char *node, size_t i)
{
	size_t len = strlen(node);
	char *name;

	if (len <= NAME_NODE_MAX)
		return asprintf(&name, "%s-numastow-%03zu", node, i) < 0 ? NULL : name;
	/* A part of a DNS name does not end with a hyphen. */
	for (len = NAME_NODE_MAX; len && strchr("-.", node[len - 1]); len--)
		;
	return asprintf(&name, "%.*s-%016" PRIx64 "-numastow-%03zu", (int)len, node,
			stow_hash_string(node), i) < 0
		       ? NULL
		       : name;
}

/* Make a slice without devices, and add it to the list. */
static int add_slice(const struct agent_slice_settings *settings, struct json_object *slices,
		     struct json_object **ret_devices)
{
	_cleanup_free_ char *name =
		agent_slice_name(settings->node, json_object_array_length(slices));
	struct json_object *slice = stow_kube_append_object(slices);
	struct json_object *metadata = stow_kube_object_at(slice, "metadata");
	struct json_object *spec = stow_kube_object_at(slice, "spec");
	struct json_object *pool = stow_kube_object_at(spec, "pool");

	*ret_devices = stow_kube_put_list(spec, "devices");
	if (name && *ret_devices && stow_kube_put_text(slice, "apiVersion", "resource.k8s.io/v1") &&
	    stow_kube_put_text(slice, "kind", "ResourceSlice") &&
	    stow_kube_put_text(metadata, "name", name) &&
	    agent_json_put_owner(metadata, settings->node, settings->node_uid) &&
	    stow_kube_put_text(spec, "driver", AGENT_DRIVER) &&
	    stow_kube_put_text(spec, "nodeName", settings->node) &&
	    stow_kube_put_text(pool, "name", settings->node) &&
	    stow_kube_put(pool, "generation", json_object_new_int64(settings->generation)))
		return 0;
	return -ENOMEM;
}

static int add_devices(const struct agent_slice_settings *settings,
		       const struct agent_slice_device *devices, size_t n,
		       struct json_object *slices)
{
	struct json_object *list = NULL;

	for (size_t i = 0; i < n; i++) {
		struct json_object *device;
		int r;

		if (devices[i].fenced && !settings->taints)
			continue;
		r = make_device(settings, &devices[i], &device);
		if (r == 0 && device &&
		    (!list || json_object_array_length(list) == AGENT_SLICE_DEVICES))
			r = add_slice(settings, slices, &list);
		if (r < 0) {
			json_object_put(device);
			return r;
		}
		if (device && !stow_kube_append(list, device))
			return -ENOMEM;
	}
	return 0;
}

int agent_slice_make(const struct agent_slice_settings *settings,
		     const struct agent_slice_device *devices, size_t n, struct json_object **ret,
		     struct stow_err *err)
{
	struct json_object *slices = json_object_new_array();
	size_t count;
	int r = slices ? add_devices(settings, devices, n, slices) : -ENOMEM;

	count = slices ? json_object_array_length(slices) : 0;
	for (size_t i = 0; r == 0 && i < count; i++) {
		struct json_object *spec =
			json_object_object_get(json_object_array_get_idx(slices, i), "spec");

		if (!stow_kube_put(json_object_object_get(spec, "pool"), "resourceSliceCount",
				   json_object_new_int64((int64_t)count)))
			r = -ENOMEM;
	}
	if (r < 0) {
		json_object_put(slices);
		return stow_kube_no_memory(err);
	}
	*ret = slices;
	return 0;
}
