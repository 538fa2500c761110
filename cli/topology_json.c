// SPDX-License-Identifier: Apache-2.0
#include "cli/topology_view.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

/*
 * The keys are documented in numastow-topology(1) and keep their meaning. Out of memory, json-c
 * returns NULL, which prints as null: `ok` remembers it, so that nobody gets half an answer.
 */
struct writer {
	bool ok;
};

static void put(struct writer *w, json_object *to, const char *key, json_object *value)
{
	if (value && to && json_object_object_add(to, key, value) == 0)
		return;
	json_object_put(value);
	w->ok = false;
}

static void append(struct writer *w, json_object *to, json_object *value)
{
	if (value && to && json_object_array_add(to, value) == 0)
		return;
	json_object_put(value);
	w->ok = false;
}

static json_object *list_json(const struct stow_idset *set)
{
	_cleanup_free_ char *list = stow_idset_to_list(set);

	return list ? json_object_new_string(list) : NULL;
}

static json_object *groups_json(struct writer *w, const struct stow_topology *t,
				const struct stow_idset *cpus, enum topology_level level)
{
	_cleanup_free_ struct stow_idset *groups = NULL;
	json_object *array = json_object_new_array();
	int n = topology_groups(t, cpus, level, &groups);

	if (n < 0)
		w->ok = false;
	for (int i = 0; i < n; i++)
		append(w, array, list_json(&groups[i]));
	return array;
}

static json_object *memory_json(struct writer *w, uint64_t total, uint64_t free_bytes,
				uint64_t available)
{
	json_object *o = json_object_new_object();

	put(w, o, "total", json_object_new_uint64(total));
	put(w, o, "free", json_object_new_uint64(free_bytes));
	put(w, o, "available", json_object_new_uint64(available));
	return o;
}

static json_object *pools_json(struct writer *w, const struct stow_node *node)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < node->n_pools; i++) {
		json_object *o = json_object_new_object();

		put(w, o, "size", json_object_new_uint64(node->pools[i].size));
		put(w, o, "total", json_object_new_uint64(node->pools[i].total));
		put(w, o, "free", json_object_new_uint64(node->pools[i].free));
		put(w, o, "surplus", json_object_new_uint64(node->pools[i].surplus));
		append(w, array, o);
	}
	return array;
}

static json_object *devices_json(struct writer *w, const struct stow_devices *list, int node)
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
			append(w, names, json_object_new_string(device->names[n]));
		put(w, o, "address", json_object_new_string(device->address));
		put(w, o, "kind", json_object_new_string(stow_device_kind_name(device->kind)));
		put(w, o, "names", names);
		append(w, array, o);
	}
	return array;
}

static json_object *given_json(struct writer *w, const struct stow_usage *usage,
			       const struct stow_node *node)
{
	json_object *o = json_object_new_object(), *pools = json_object_new_array();
	struct topology_given given;

	topology_given(usage, node, &given);
	put(w, o, "exclusive_cpus", list_json(&given.exclusive));
	put(w, o, "shared_cpus", json_object_new_uint64(given.shared_cpus));
	put(w, o, "memory", json_object_new_uint64(given.memory));
	for (size_t i = 0; given.pools && i < given.pools->n_pools; i++) {
		json_object *pool = json_object_new_object();

		put(w, pool, "size", json_object_new_uint64(given.pools->pools[i].size));
		put(w, pool, "pages", json_object_new_uint64(given.pools->pools[i].promised));
		append(w, pools, pool);
	}
	put(w, o, "hugepages", pools);
	put(w, o, "fenced", json_object_new_boolean(given.fenced));
	return o;
}

static json_object *node_json(struct writer *w, const struct topology_view *view, size_t at)
{
	const struct stow_topology *t = view->topology;
	const struct stow_node *node = &t->nodes[at];
	json_object *o = json_object_new_object(), *blocks = json_object_new_object(),
		    *row = json_object_new_array();
	size_t total, online;

	stow_memblocks_count(view->blocks, node->id, &total, &online);
	put(w, blocks, "total", json_object_new_uint64(total));
	put(w, blocks, "online", json_object_new_uint64(online));
	for (size_t j = 0; j < t->n_nodes; j++)
		append(w, row, json_object_new_int(t->distance[at * t->n_nodes + j]));
	put(w, o, "id", json_object_new_int(node->id));
	put(w, o, "cpus", list_json(&node->cpus));
	put(w, o, "cores", groups_json(w, t, &node->cpus, TOPOLOGY_CORE));
	put(w, o, "caches", groups_json(w, t, &node->cpus, TOPOLOGY_LLC));
	put(w, o, "memory", memory_json(w, node->mem_total, node->mem_free, node->mem_available));
	put(w, o, "hugepages", pools_json(w, node));
	put(w, o, "memory_blocks", blocks);
	put(w, o, "devices", devices_json(w, view->devices, node->id));
	put(w, o, "distances", row);
	if (view->usage)
		put(w, o, "given_away", given_json(w, view->usage, node));
	return o;
}

static json_object *machine_json(struct writer *w, const struct topology_view *view)
{
	const struct stow_topology *t = view->topology;
	json_object *o = json_object_new_object(), *nodes = json_object_new_array(),
		    *blocks = json_object_new_object();
	uint64_t total = 0, free_bytes = 0, available = 0, online = 0;

	for (size_t i = 0; i < t->n_nodes; i++) {
		total += t->nodes[i].mem_total;
		free_bytes += t->nodes[i].mem_free;
		available += t->nodes[i].mem_available;
		append(w, nodes, node_json(w, view, i));
	}
	for (size_t i = 0; i < view->blocks->n_blocks; i++)
		online += view->blocks->blocks[i].state == STOW_MEMBLOCK_ONLINE;
	put(w, blocks, "size", json_object_new_uint64(view->blocks->block_size));
	put(w, blocks, "total", json_object_new_uint64(view->blocks->n_blocks));
	put(w, blocks, "online", json_object_new_uint64(online));
	put(w, o, "numa", json_object_new_boolean(t->numa));
	put(w, o, "cpus", list_json(&t->online));
	put(w, o, "packages", groups_json(w, t, &t->online, TOPOLOGY_PACKAGE));
	put(w, o, "memory", memory_json(w, total, free_bytes, available));
	put(w, o, "memory_blocks", blocks);
	put(w, o, "nodes", nodes);
	put(w, o, "devices", devices_json(w, view->devices, -1));
	return o;
}

int topology_print_json(const struct topology_view *view)
{
	struct writer w = { .ok = true };
	json_object *o = machine_json(&w, view);
	const char *text = NULL;

	if (w.ok && o)
		text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
								 JSON_C_TO_STRING_SPACED |
								 JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		puts(text);
	json_object_put(o);
	return text ? 0 : -ENOMEM;
}
