// SPDX-License-Identifier: Apache-2.0
/* numastow zones, as JSON: amounts in bytes, what is unknown as null. */
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/json_writer.h"
#include "cli/view/zones_view.h"

static json_object *number(uint64_t value)
{
	return value == STOW_UNKNOWN ? NULL : json_object_new_uint64(value);
}

static void put_bytes(const struct zones_view *view, struct json_writer *w, json_object *to,
		      const char *key, uint64_t pages)
{
	json_put_amount(w, to, key, zones_bytes(view, pages));
}

static void put_protection(const struct zones_view *view, struct json_writer *w, json_object *to,
			   const uint64_t *pages, unsigned int n)
{
	json_object *array = json_object_new_array();

	for (unsigned int i = 0; i < n; i++) {
		uint64_t bytes = zones_bytes(view, pages[i]);

		if (bytes == STOW_UNKNOWN)
			json_object_array_add(array, NULL);
		else
			json_append(w, array, number(bytes));
	}
	json_put_known(w, to, "protection", n, array);
}

static const char *const list_keys[STOW_LIST_AMOUNTS] = { "count", "high", "batch", "high_min",
							  "high_max" };

static void put_lists(const struct zones_view *view, struct json_writer *w, json_object *to,
		      const struct stow_zone *zone)
{
	json_object *lists = json_object_new_object(), *cpus;

	json_put(w, lists, "cpus", json_object_new_uint64(zone->n_cpus));
	for (int i = 0; i < STOW_LIST_AMOUNTS; i++)
		put_bytes(view, w, lists, list_keys[i], zone->lists[i]);
	json_put(w, to, "lists", lists);
	if (!view->lists)
		return;
	cpus = json_object_new_array();
	for (size_t k = 0; zone->cpus && k < zone->n_cpus; k++) {
		json_object *cpu = json_object_new_object();

		json_put(w, cpu, "cpu", json_object_new_int(zone->cpus[k].cpu));
		for (int i = 0; i < STOW_LIST_AMOUNTS; i++)
			put_bytes(view, w, cpu, list_keys[i], zone->cpus[k].amounts[i]);
		json_append(w, cpus, cpu);
	}
	json_put(w, lists, "list", cpus);
}

static void put_blocks(const struct zones_view *view, struct json_writer *w, json_object *to,
		       const struct stow_zone *zone)
{
	json_object *array;

	if (!zone->n_orders) {
		json_object_object_add(to, "blocks", NULL);
		return;
	}
	array = json_object_new_array();
	for (unsigned int k = 0; k < zone->n_orders; k++) {
		json_object *block = json_object_new_object();

		json_put(w, block, "order", json_object_new_uint64(k));
		put_bytes(view, w, block, "size", UINT64_C(1) << k);
		json_put(w, block, "free", json_object_new_uint64(zone->blocks[k]));
		json_put(w, block, "unusable",
			 json_object_new_double(stow_zone_unusable(zone, k) / 1000.0));
		json_append(w, array, block);
	}
	json_put(w, to, "blocks", array);
}

static void put_computed(const struct zones_view *view, struct json_writer *w, json_object *to,
			 size_t i)
{
	const struct stow_watermarks *marks = &view->account.zones[i];
	const struct stow_zone *zone = &view->zones.list[i];
	json_object *computed = json_object_new_object();

	put_bytes(view, w, computed, "min", marks->min);
	put_bytes(view, w, computed, "low", marks->low);
	put_bytes(view, w, computed, "high", marks->high);
	put_bytes(view, w, computed, "promo", marks->promo);
	put_protection(view, w, computed, marks->protection, marks->n_protection);
	json_put(w, to, "computed", computed);
	json_put_known(w, to, "as_computed", view->account.computed,
		       json_object_new_boolean(stow_zone_is_as_computed(zone, marks)));
}

static json_object *zone_object(const struct zones_view *view, struct json_writer *w, size_t i)
{
	static const char *const keys[STOW_ZONE_AMOUNTS] = {
		"free",	 "boost",   "min",     "low",	  "high",
		"promo", "spanned", "present", "managed", "cma",
	};
	const struct stow_zone *zone = &view->zones.list[i];
	json_object *o = json_object_new_object();

	json_put(w, o, "node", json_object_new_int(zone->node));
	json_put(w, o, "zone", json_object_new_string(zone->name));
	for (int k = 0; k < STOW_ZONE_AMOUNTS; k++)
		put_bytes(view, w, o, keys[k], zone->amounts[k]);
	json_put_amount(w, o, "start_pfn", zone->start_pfn);
	put_protection(view, w, o, zone->protection, zone->n_protection);
	put_computed(view, w, o, i);
	put_blocks(view, w, o, zone);
	put_lists(view, w, o, zone);
	return o;
}

static void put_daemon(const struct zones_view *view, struct json_writer *w, json_object *to,
		       const char *key, const struct stow_node_daemon *daemon)
{
	char state[2] = "";
	json_object *o;

	if (!view->daemons_known || !daemon) {
		json_object_object_add(to, key, NULL);
		return;
	}
	o = json_object_new_object();
	json_put(w, o, "pid", json_object_new_int((int)daemon->pid));
	state[0] = daemon->state;
	json_put_text(w, o, "state", daemon->state == '?' ? NULL : state);
	json_put_known(w, o, "cpu_seconds", daemon->cpu_ns != UINT64_MAX,
		       json_object_new_double((double)daemon->cpu_ns / (double)STOW_SECOND));
	json_put(w, to, key, o);
}

static void put_pressure(struct json_writer *w, json_object *to, const char *key,
			 enum stow_pressure pressure)
{
	json_put_text(w, to, key,
		      pressure == STOW_PRESSURE_UNKNOWN ? NULL : stow_pressure_word(pressure));
}

static json_object *node_object(const struct zones_view *view, struct json_writer *w, int node)
{
	enum stow_pressure pressure = stow_zones_pressure(&view->zones, node, false);
	json_object *o = json_object_new_object();

	json_put(w, o, "node", json_object_new_int(node));
	put_pressure(w, o, "pressure", pressure);
	put_pressure(w, o, "kernel_pressure", stow_zones_pressure(&view->zones, node, true));
	json_put_text(w, o, "explanation",
		      pressure == STOW_PRESSURE_UNKNOWN ? NULL : stow_pressure_sentence(pressure));
	put_daemon(view, w, o, "kswapd", zones_daemon(view, node, false));
	put_daemon(view, w, o, "kcompactd", zones_daemon(view, node, true));
	return o;
}

static void put_stalls(const struct zones_view *view, struct json_writer *w, json_object *to)
{
	json_object *machine = json_object_new_object(), *cgroups = json_object_new_array();
	json_object *stalls = json_object_new_object();

	cli_output_stalls(w, machine, "some", &view->psi.some);
	cli_output_stalls(w, machine, "full", &view->psi.full);
	json_put(w, stalls, "machine", machine);
	for (size_t i = 0; i < view->n_cgroups; i++) {
		const struct zones_cgroup *cgroup = &view->cgroups[i];
		char *path = stow_text_copy(cgroup->path, 4096);
		json_object *o = json_object_new_object();

		json_put(w, o, "cgroup", path ? json_object_new_string(path) : NULL);
		free(path);
		json_put_text(w, o, "container", cgroup->id);
		json_put_text(w, o, "container_name", cgroup->name);
		cli_output_stalls(w, o, "some", &cgroup->psi.some);
		cli_output_stalls(w, o, "full", &cgroup->psi.full);
		json_append(w, cgroups, o);
	}
	json_put(w, stalls, "cgroups", cgroups);
	json_put(w, to, "memory_stalls", stalls);
}

static uint64_t kib(uint64_t value)
{
	uint64_t bytes;

	return value == STOW_UNKNOWN || __builtin_mul_overflow(value, 1024, &bytes) ? STOW_UNKNOWN
										    : bytes;
}

static void put_settings(const struct zones_view *view, struct json_writer *w, json_object *to)
{
	const struct stow_zones_account *a = &view->account;
	json_object *o = json_object_new_object(), *ratios = json_object_new_array();
	bool implied = a->why == STOW_WMARK_OTHER_MIN || a->why == STOW_WMARK_OTHER_SCALE;

	json_put_amount(w, o, "min_free_kbytes", view->knobs.min_free_kbytes);
	json_put_amount(w, o, "watermark_scale_factor", view->knobs.scale_factor);
	json_put_amount(w, o, "watermark_boost_factor", view->knobs.boost_factor);
	json_put_amount(w, o, "percpu_pagelist_high_fraction", view->knobs.high_fraction);
	for (unsigned int i = 0; i < view->knobs.n_ratio; i++)
		json_append(w, ratios, number(view->knobs.ratio[i]));
	json_put(w, o, "lowmem_reserve_ratio", ratios);
	json_put(w, to, "settings", o);

	o = json_object_new_object();
	json_put_amount(w, o, "size", kib(view->knobs.min_free_kbytes));
	json_put_text(w, o, "source", zones_source_word(a->source));
	json_put_amount(w, o, "square_root", kib(a->square_root));
	json_put_amount(w, o, "khugepaged", kib(a->khugepaged));
	json_put(w, to, "min_free", o);

	o = json_object_new_object();
	json_put_text(w, o, "watermarks", zones_why_word(a->why));
	json_put_amount(w, o, "different_zones", a->computed ? a->n_different : STOW_UNKNOWN);
	json_put_amount(w, o, "different_protection",
			view->knobs.n_ratio ? a->n_protection_different : STOW_UNKNOWN);
	json_put_amount(w, o, "implied", implied ? a->implied : STOW_UNKNOWN);
	json_put_known(w, o, "movable_has_share", a->computed && a->movable_decides,
		       json_object_new_boolean(!a->movable_capped));
	json_put(w, to, "computed", o);
}

int zones_print_json(const struct zones_view *view)
{
	json_object *zones, *nodes, *all;
	struct json_writer w;

	all = cli_output_object(&w);
	zones = json_object_new_array();
	nodes = json_object_new_array();
	json_put_amount(&w, all, "page_size", view->knobs.page_size);
	for (size_t i = 0; i < view->zones.n; i++)
		if (cli_output_wants_node(view->out, view->zones.list[i].node))
			json_append(&w, zones, zone_object(view, &w, i));
	STOW_IDSET_FOR(node, &view->nodes)
		if (cli_output_wants_node(view->out, node))
			json_append(&w, nodes, node_object(view, &w, node));
	json_put(&w, all, "zones", zones);
	json_put(&w, all, "nodes", nodes);
	put_settings(view, &w, all);
	put_stalls(view, &w, all);
	return json_print(&w, all);
}
