// SPDX-License-Identifier: Apache-2.0
#include "cli/topology_view.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cli/json_writer.h"

/* The keys are documented in numastow-topology(1) and keep their meaning. */

static json_object *list_json(const struct stow_idset *set)
{
	_cleanup_free_ char *list = stow_idset_to_list(set);

	return list ? json_object_new_string(list) : NULL;
}

/* List values that are assumed, because no file has them. */
static json_object *assumed_json(struct json_writer *w, unsigned int assumed)
{
	json_object *array = json_object_new_array();

	for (unsigned int what = 1; what < STOW_ASSUMED_END; what <<= 1)
		if (assumed & what)
			json_append(w, array,
				    json_object_new_string(stow_topology_assumed_name(what)));
	return array;
}

static json_object *groups_json(struct json_writer *w, const struct stow_topology *t,
				const struct stow_idset *cpus, enum topology_level level)
{
	_cleanup_free_ struct stow_idset *groups = NULL;
	json_object *array = json_object_new_array();
	int n = topology_groups(t, cpus, level, &groups);

	if (n < 0)
		w->ok = false;
	for (int i = 0; i < n; i++)
		json_append(w, array, list_json(&groups[i]));
	return array;
}

static json_object *memory_json(struct json_writer *w, uint64_t total, uint64_t free_bytes,
				uint64_t available)
{
	json_object *o = json_object_new_object();

	json_put(w, o, "total", json_object_new_uint64(total));
	json_put(w, o, "free", json_object_new_uint64(free_bytes));
	json_put(w, o, "available", json_object_new_uint64(available));
	return o;
}

static json_object *pools_json(struct json_writer *w, const struct stow_node *node)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < node->n_pools; i++) {
		json_object *o = json_object_new_object();

		json_put(w, o, "size", json_object_new_uint64(node->pools[i].size));
		json_put(w, o, "total", json_object_new_uint64(node->pools[i].total));
		json_put(w, o, "free", json_object_new_uint64(node->pools[i].free));
		json_put(w, o, "surplus", json_object_new_uint64(node->pools[i].surplus));
		json_append(w, array, o);
	}
	return array;
}

static json_object *devices_json(struct json_writer *w, const struct stow_devices *list, int node)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < list->n_devices; i++) {
		const struct stow_device *device = &list->devices[i];
		json_object *o, *names;

		if (device->node != node)
			continue;
		o = json_object_new_object();
		names = json_object_new_array();
		for (size_t n = 0; n < device->n_names; n++)
			json_append(w, names, json_object_new_string(device->names[n]));
		json_put(w, o, "address", json_object_new_string(device->address));
		json_put(w, o, "kind", json_object_new_string(stow_device_kind_name(device->kind)));
		json_put(w, o, "names", names);
		json_append(w, array, o);
	}
	return array;
}

static json_object *given_json(struct json_writer *w, const struct stow_usage *usage,
			       const struct stow_node *node)
{
	json_object *o = json_object_new_object(), *pools = json_object_new_array();
	struct topology_given given;

	topology_given(usage, node, &given);
	json_put(w, o, "exclusive_cpus", list_json(&given.exclusive));
	json_put(w, o, "shared_cpus", json_object_new_uint64(given.shared_cpus));
	json_put(w, o, "memory", json_object_new_uint64(given.memory));
	for (size_t i = 0; given.pools && i < given.pools->n_pools; i++) {
		json_object *pool = json_object_new_object();

		json_put(w, pool, "size", json_object_new_uint64(given.pools->pools[i].size));
		json_put(w, pool, "pages", json_object_new_uint64(given.pools->pools[i].promised));
		json_append(w, pools, pool);
	}
	json_put(w, o, "hugepages", pools);
	json_put(w, o, "fenced", json_object_new_boolean(given.fenced));
	return o;
}

static json_object *node_json(struct json_writer *w, const struct topology_view *view, size_t at)
{
	const struct stow_topology *t = view->topology;
	const struct stow_node *node = &t->nodes[at];
	json_object *o = json_object_new_object(), *blocks = json_object_new_object(),
		    *row = json_object_new_array();
	size_t total, online;

	stow_memblocks_count(view->blocks, node->id, &total, &online);
	json_put(w, blocks, "total", json_object_new_uint64(total));
	json_put(w, blocks, "online", json_object_new_uint64(online));
	for (size_t j = 0; j < t->n_nodes; j++)
		json_append(w, row, json_object_new_int(t->distance[at * t->n_nodes + j]));
	json_put(w, o, "id", json_object_new_int(node->id));
	json_put(w, o, "cpus", list_json(&node->cpus));
	json_put(w, o, "cores", groups_json(w, t, &node->cpus, TOPOLOGY_CORE));
	json_put(w, o, "caches", groups_json(w, t, &node->cpus, TOPOLOGY_LLC));
	json_put(w, o, "memory",
		 memory_json(w, node->mem_total, node->mem_free, node->mem_available));
	json_put(w, o, "hugepages", pools_json(w, node));
	json_put(w, o, "memory_blocks", blocks);
	json_put(w, o, "devices", devices_json(w, view->devices, node->id));
	json_put(w, o, "distances", row);
	json_put(w, o, "assumed", assumed_json(w, node->assumed));
	if (view->usage)
		json_put(w, o, "given_away", given_json(w, view->usage, node));
	return o;
}

static json_object *machine_json(struct json_writer *w, const struct topology_view *view)
{
	const struct stow_topology *t = view->topology;
	json_object *o = json_object_new_object(), *nodes = json_object_new_array(),
		    *blocks = json_object_new_object();
	uint64_t total = 0, free_bytes = 0, available = 0, online = 0;

	for (size_t i = 0; i < t->n_nodes; i++) {
		total += t->nodes[i].mem_total;
		free_bytes += t->nodes[i].mem_free;
		available += t->nodes[i].mem_available;
		json_append(w, nodes, node_json(w, view, i));
	}
	for (size_t i = 0; i < view->blocks->n_blocks; i++)
		online += view->blocks->blocks[i].state == STOW_MEMBLOCK_ONLINE;
	json_put(w, blocks, "size", json_object_new_uint64(view->blocks->block_size));
	json_put(w, blocks, "total", json_object_new_uint64(view->blocks->n_blocks));
	json_put(w, blocks, "online", json_object_new_uint64(online));
	json_put(w, o, "numa", json_object_new_boolean(t->numa));
	json_put(w, o, "cpus", list_json(&t->online));
	json_put(w, o, "packages", groups_json(w, t, &t->online, TOPOLOGY_PACKAGE));
	json_put(w, o, "memory", memory_json(w, total, free_bytes, available));
	json_put(w, o, "memory_blocks", blocks);
	json_put(w, o, "nodes", nodes);
	json_put(w, o, "devices", devices_json(w, view->devices, -1));
	json_put(w, o, "assumed", assumed_json(w, t->assumed));
	return o;
}

int topology_print_json(const struct topology_view *view)
{
	struct json_writer w = { .ok = true };
	json_object *o = machine_json(&w, view);

	return json_print(&w, o);
}
