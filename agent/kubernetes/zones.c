/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/zones.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/kubernetes/make.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "kube/json.h"
#include "kube/make.h"

#define MIB	     (UINT64_C(1) << 20)
#define UNREACHABLE  255 /* as in the firmware's SLIT */
#define PLUGIN_NODES 8	 /* topologyManagerMaxNUMANodes without that attribute */
#define SIZES	     (2 * STOW_POOLS_MAX)

/* The page sizes of all NUMA nodes, ascending. */
struct sizes {
	uint64_t list[SIZES];
	size_t n;
};

static void add_size(struct sizes *sizes, uint64_t size)
{
	size_t i = 0;

	while (i < sizes->n && sizes->list[i] < size)
		i++;
	if ((i < sizes->n && sizes->list[i] == size) || sizes->n == SIZES)
		return;
	memmove(&sizes->list[i + 1], &sizes->list[i], (sizes->n - i) * sizeof(*sizes->list));
	sizes->list[i] = size;
	sizes->n++;
}

static const struct agent_slice_device *find_device(const struct agent_slice_device *devices,
						    size_t n, uint32_t id)
{
	for (size_t i = 0; i < n; i++)
		if (devices[i].facts.id == id)
			return &devices[i];
	return NULL;
}

static char *zone_name(uint32_t id, char name[16])
{
	snprintf(name, 16, "node-%" PRIu32, id);
	return name;
}

/* --- resources ------------------------------------------------------------ */

struct amounts {
	uint64_t capacity, allocatable, available;
};

static bool add_resource(struct json_object *resources, const char *name,
			 const struct amounts *amounts, bool bytes)
{
	struct json_object *resource = stow_kube_append_object(resources);

	return stow_kube_put_text(resource, "name", name) &&
	       stow_kube_put(resource, "capacity", agent_json_quantity(amounts->capacity, bytes)) &&
	       stow_kube_put(resource, "allocatable",
			     agent_json_quantity(amounts->allocatable, bytes)) &&
	       stow_kube_put(resource, "available", agent_json_quantity(amounts->available, bytes));
}

static uint64_t bytes_of(uint64_t pages, uint64_t size)
{
	uint64_t bytes;

	return __builtin_mul_overflow(pages, size, &bytes) ? INT64_MAX / size * size : bytes;
}

static struct amounts pages_of(const struct agent_slice_device *device, uint64_t size)
{
	for (size_t p = 0; device && p < device->n_pools; p++)
		if (device->pools[p] == size)
			return (struct amounts){
				.capacity = bytes_of(device->capacity.pages[p], size),
				.allocatable = bytes_of(device->allocatable.pages[p], size),
				.available = device->fenced
						     ? 0
						     : bytes_of(device->available.pages[p], size),
			};
	return (struct amounts){ 0 };
}

/* Add all resources of a NUMA node; `device` is NULL for a missing one. */
static bool add_resources(struct json_object *zone, const struct agent_slice_device *device,
			  const struct sizes *sizes)
{
	struct json_object *resources = stow_kube_put_list(zone, "resources");
	struct amounts cpus = { 0 }, memory = { 0 };
	bool ok;

	if (device) {
		cpus.capacity = device->capacity.cpus;
		cpus.allocatable = device->allocatable.cpus;
		cpus.available = device->fenced ? 0 : device->available.cpus;
		/* Whole MiB, as in slices. */
		memory.capacity = device->capacity.memory;
		memory.allocatable = device->allocatable.memory / MIB * MIB;
		memory.available = device->fenced ? 0 : device->available.memory / MIB * MIB;
	}
	ok = add_resource(resources, "cpu", &cpus, false) &&
	     add_resource(resources, "memory", &memory, true);
	for (size_t i = 0; ok && i < sizes->n; i++) {
		struct amounts pages = pages_of(device, sizes->list[i]);
		char name[40], size[24];

		snprintf(name, sizeof(name), "hugepages-%s",
			 stow_format_size(sizes->list[i], size, sizeof(size)));
		ok = add_resource(resources, name, &pages, true);
	}
	return ok;
}

/* --- zones ---------------------------------------------------------------- */

static bool add_costs(struct json_object *zone, const struct agent_slice_device *device,
		      uint32_t n_zones)
{
	struct json_object *costs = stow_kube_put_list(zone, "costs");
	bool ok = costs != NULL;

	for (uint32_t to = 0; ok && to < n_zones; to++) {
		int64_t cost = device && device->costs[to] ? device->costs[to] : UNREACHABLE;
		struct json_object *entry = stow_kube_append_object(costs);
		char name[16];

		ok = stow_kube_put_text(entry, "name", zone_name(to, name)) &&
		     stow_kube_put(entry, "value", json_object_new_int64(cost));
	}
	return ok;
}

static bool add_zones(struct json_object *object, const struct agent_slice_device *devices,
		      size_t n, uint32_t n_zones)
{
	struct json_object *zones = stow_kube_put_list(object, "zones");
	struct sizes sizes = { 0 };
	bool ok = zones != NULL;

	for (size_t i = 0; i < n; i++)
		for (size_t p = 0; p < devices[i].n_pools; p++)
			add_size(&sizes, devices[i].pools[p]);
	for (uint32_t id = 0; ok && id < n_zones; id++) {
		const struct agent_slice_device *device = find_device(devices, n, id);
		struct json_object *zone = stow_kube_append_object(zones);
		char name[16];

		ok = stow_kube_put_text(zone, "name", zone_name(id, name)) &&
		     stow_kube_put_text(zone, "type", "Node") && add_costs(zone, device, n_zones) &&
		     add_resources(zone, device, &sizes);
	}
	return ok;
}

static bool add_attribute(struct json_object *attributes, const char *name, const char *value)
{
	struct json_object *attribute = stow_kube_append_object(attributes);

	return stow_kube_put_text(attribute, "name", name) &&
	       stow_kube_put_text(attribute, "value", value);
}

/* kubelet's word for a policy. It has none for `spread`, which constrains a container as little as
 * `best-effort`. */
static const char *word_of(enum stow_policy policy)
{
	return stow_policy_name(policy == STOW_POLICY_SPREAD ? STOW_POLICY_BEST_EFFORT : policy);
}

static bool add_attributes(struct json_object *object, enum stow_policy policy, uint32_t n_zones)
{
	struct json_object *attributes = stow_kube_put_list(object, "attributes");
	char text[16];

	snprintf(text, sizeof(text), "%" PRIu32, n_zones);
	return add_attribute(attributes, "topologyManagerPolicy", word_of(policy)) &&
	       add_attribute(attributes, "topologyManagerScope", "container") &&
	       (n_zones <= PLUGIN_NODES ||
		add_attribute(attributes, "topologyManagerMaxNUMANodes", text));
}

int agent_zones_make(const struct agent_zones_settings *settings,
		     const struct agent_slice_device *devices, size_t n, struct json_object **ret,
		     struct stow_err *err)
{
	struct json_object *object = json_object_new_object(), *metadata;
	uint32_t n_zones = 0;

	while (n > 0 && devices[n - 1].facts.id >= AGENT_ZONES)
		n--;
	if (n > 0)
		n_zones = devices[n - 1].facts.id + 1;
	metadata = stow_kube_object_at(object, "metadata");
	if (!stow_kube_put_text(object, "apiVersion", "topology.node.k8s.io/v1alpha2") ||
	    !stow_kube_put_text(object, "kind", "NodeResourceTopology") ||
	    !stow_kube_put_text(metadata, "name", settings->node) ||
	    !agent_json_put_owner(metadata, settings->node, settings->node_uid) ||
	    !add_attributes(object, settings->policy, n_zones) ||
	    !add_zones(object, devices, n, n_zones)) {
		json_object_put(object);
		return stow_kube_no_memory(err);
	}
	*ret = object;
	return 0;
}

/* --- what is stored ------------------------------------------------------- */

static bool has_owner(struct json_object *stored, struct json_object *owner)
{
	struct json_object *owners;
	bool found = false;
	size_t n;

	owners = stow_kube_list_at(stored, "metadata.ownerReferences", &n);
	for (size_t i = 0; i < n && !found; i++)
		found = agent_json_agrees(owner, json_object_array_get_idx(owners, i));
	return found;
}

bool agent_zones_agree(struct json_object *wanted, struct json_object *stored)
{
	struct json_object *owners;
	size_t n;

	owners = stow_kube_list_at(wanted, "metadata.ownerReferences", &n);
	for (size_t i = 0; i < n; i++)
		if (!has_owner(stored, json_object_array_get_idx(owners, i)))
			return false;
	return agent_json_agrees(stow_kube_at(wanted, "zones"), stow_kube_at(stored, "zones")) &&
	       agent_json_agrees(stow_kube_at(wanted, "attributes"),
				 stow_kube_at(stored, "attributes"));
}

bool agent_zones_are_of(struct json_object *stored, const char *manager)
{
	struct json_object *entries, *entry;
	size_t n;

	entries = stow_kube_list_at(stored, "metadata.managedFields", &n);
	for (size_t i = 0; i < n; i++) {
		entry = json_object_array_get_idx(entries, i);
		if (strcmp(stow_kube_text(entry, "manager"), manager) == 0 &&
		    strcmp(stow_kube_text(entry, "operation"), "Apply") == 0 &&
		    stow_kube_at(entry, "fieldsV1.f:zones"))
			return true;
	}
	return false;
}
