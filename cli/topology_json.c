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

static json_object *memory_json(struct json_writer *w, unsigned int assumed, uint64_t total,
				uint64_t free_bytes, uint64_t available)
{
	json_object *o = json_object_new_object();
	bool known = !(assumed & STOW_ASSUMED_MEMORY);

	json_put_known(w, o, "total", known, json_object_new_uint64(total));
	json_put_known(w, o, "free", known, json_object_new_uint64(free_bytes));
	json_put_known(w, o, "available", known, json_object_new_uint64(available));
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
	json_put_set(w, o, "exclusive_cpus", &given.exclusive);
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

/* Add a number, or null: 0 stands for unknown. */
static void put_known(struct json_writer *w, json_object *o, const char *key, uint64_t value)
{
	json_put_known(w, o, key, value, json_object_new_uint64(value));
}

static json_object *access_json(struct json_writer *w, const struct stow_locality_node *node)
{
	json_object *array = json_object_new_array();

	for (int class = 0; class < STOW_ACCESS_CLASSES; class ++) {
		const struct stow_access *access = &node->access[class];
		json_object *o;

		if (!access->known)
			continue;
		o = json_object_new_object();
		json_put(w, o, "class", json_object_new_int(class));
		json_put_set(w, o, "initiators", &access->initiators);
		put_known(w, o, "read_latency_ns", access->read_latency);
		put_known(w, o, "write_latency_ns", access->write_latency);
		put_known(w, o, "read_bandwidth_mbps", access->read_bandwidth);
		put_known(w, o, "write_bandwidth_mbps", access->write_bandwidth);
		json_append(w, array, o);
	}
	return array;
}

static json_object *side_caches_json(struct json_writer *w, const struct stow_locality_node *node)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < node->n_caches; i++) {
		const struct stow_side_cache *cache = &node->caches[i];
		json_object *o = json_object_new_object();

		json_put(w, o, "level", json_object_new_int(cache->level));
		put_known(w, o, "size", cache->size > 0 ? (uint64_t)cache->size : 0);
		put_known(w, o, "line_size", cache->line_size > 0 ? (uint64_t)cache->line_size : 0);
		json_put_text(w, o, "indexing", stow_side_cache_indexing(cache));
		json_put_text(w, o, "write_policy", stow_side_cache_policy(cache));
		json_append(w, array, o);
	}
	return array;
}

/* What the kernel knows of a node beyond the topology. */
static void put_locality(struct json_writer *w, json_object *o, const struct stow_locality *l,
			 size_t at, int id)
{
	const struct stow_locality_node *node = &l->nodes[at];
	json_object *states = json_object_new_object(), *fallback = json_object_new_array();

	for (int s = 0; s < STOW_NODE_STATES; s++) {
		const char *name = stow_node_state_name((enum stow_node_state)s);

		json_put_known(w, states, name, l->known[s],
			       json_object_new_boolean(stow_idset_has(&l->states[s], id)));
	}
	for (size_t i = 0; i < node->n_fallback; i++)
		json_append(w, fallback, json_object_new_int(node->fallback[i]));
	json_put(w, o, "node", json_object_new_int(id));
	json_put(w, o, "states", states);
	json_put(w, o, "fallback", fallback);
	json_put_number(w, o, "memory_tier", node->tier);
	json_put(w, o, "memory_side_caches", side_caches_json(w, node));
	json_put(w, o, "access", access_json(w, node));
}

static void put_figure(struct json_writer *w, json_object *o, const char *key, double value)
{
	json_put_known(w, o, key, value > 0, json_object_new_double(value));
}

/* What was measured to a node's memory. */
static json_object *measured_json(struct json_writer *w, const struct stow_measured *measured,
				  int id)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < measured->n; i++) {
		const struct stow_measured_pair *pair = &measured->pairs[i];
		json_object *o;

		if (pair->to != id)
			continue;
		o = json_object_new_object();
		json_put(w, o, "from", json_object_new_int(pair->from));
		put_figure(w, o, "latency_ns", pair->latency);
		put_figure(w, o, "latency_4k_ns", pair->latency_4k);
		put_figure(w, o, "read_mbps", pair->read);
		put_figure(w, o, "read_write_mbps", pair->read_write);
		json_append(w, array, o);
	}
	return array;
}

/* When that was, and how far it holds; null: nothing was kept. */
static void put_measured(struct json_writer *w, json_object *to,
			 const struct stow_measured *measured)
{
	json_object *o = json_object_new_object();

	json_put_text(w, o, "time", measured->time);
	json_put_text(w, o, "virtualization", measured->virtualization);
	json_put_known(w, o, "same_firmware", measured->firmware != STOW_MEASURED_UNKNOWN,
		       json_object_new_boolean(measured->firmware == STOW_MEASURED_SAME));
	json_put_known(w, to, "measured", measured->n, o);
}

/* And of the machine. */
static void put_machine_locality(struct json_writer *w, json_object *o,
				 const struct topology_view *view)
{
	const struct stow_locality *l = view->locality;
	json_object *states = json_object_new_object(), *hotplug = json_object_new_object(),
		    *tiers = json_object_new_array();

	for (int s = 0; s < STOW_NODE_STATES; s++)
		json_put_known_set(w, states, stow_node_state_name((enum stow_node_state)s),
				   l->known[s], &l->states[s]);
	STOW_IDSET_FOR(tier, &l->tiers)
		json_append(w, tiers, json_object_new_int(tier));
	json_put_known_set(w, hotplug, "possible_cpus", l->cpus_known, &l->possible_cpus);
	json_put_known_set(w, hotplug, "present_cpus", l->cpus_known, &l->present_cpus);
	json_put(w, hotplug, "memory", json_object_new_boolean(view->blocks->block_size != 0));
	json_put(w, o, "version", json_object_new_string(STOW_VERSION));
	json_put(w, o, "node_states", states);
	json_put_number(w, o, "nodes_per_package", l->nodes_per_package);
	json_put(w, o, "node_is_last_level_cache", json_object_new_boolean(l->node_is_llc));
	json_put(w, o, "memory_tiers", tiers);
	json_put_known(w, o, "demotion", l->demotion >= 0, json_object_new_boolean(l->demotion));
	json_put(w, o, "hotplug", hotplug);
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
	json_put_set(w, o, "cpus", &node->cpus);
	json_put(w, o, "cores", groups_json(w, t, &node->cpus, TOPOLOGY_CORE));
	json_put(w, o, "caches", groups_json(w, t, &node->cpus, TOPOLOGY_LLC));
	json_put(w, o, "memory",
		 memory_json(w, node->assumed, node->mem_total, node->mem_free,
			     node->mem_available));
	json_put(w, o, "hugepages", pools_json(w, node));
	json_put(w, o, "memory_blocks", blocks);
	json_put(w, o, "devices", devices_json(w, view->devices, node->id));
	json_put(w, o, "distances", row);
	json_put(w, o, "assumed", assumed_json(w, node->assumed));
	if (view->usage)
		json_put(w, o, "granted", given_json(w, view->usage, node));
	put_locality(w, o, view->locality, at, node->id);
	json_put(w, o, "measured", measured_json(w, view->measured, node->id));
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
		if (topology_wants(view, t->nodes[i].id))
			json_append(w, nodes, node_json(w, view, i));
	}
	for (size_t i = 0; i < view->blocks->n_blocks; i++)
		online += view->blocks->blocks[i].state == STOW_MEMBLOCK_ONLINE;
	json_put(w, blocks, "size", json_object_new_uint64(view->blocks->block_size));
	json_put(w, blocks, "total", json_object_new_uint64(view->blocks->n_blocks));
	json_put(w, blocks, "online", json_object_new_uint64(online));
	json_put(w, o, "numa", json_object_new_boolean(t->numa));
	json_put_set(w, o, "cpus", &t->online);
	json_put(w, o, "packages", groups_json(w, t, &t->online, TOPOLOGY_PACKAGE));
	json_put(w, o, "memory", memory_json(w, t->assumed, total, free_bytes, available));
	json_put(w, o, "memory_blocks", blocks);
	json_put(w, o, "nodes", nodes);
	json_put(w, o, "devices", devices_json(w, view->devices, -1));
	json_put(w, o, "assumed", assumed_json(w, t->assumed));
	put_machine_locality(w, o, view);
	put_measured(w, o, view->measured);
	return o;
}

int topology_print_json(const struct topology_view *view)
{
	struct json_writer w = { .ok = true };
	json_object *o = machine_json(&w, view);

	return json_print(&w, o);
}
