// SPDX-License-Identifier: Apache-2.0
/* numastow top, as JSON: one object for each output. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/timestamp.h"
#include "cli/json_writer.h"
#include "cli/view/output.h"
#include "cli/view/top.h"

/* A rate or share; the key is there even when it is not known. */
static void put_real(struct json_writer *w, json_object *to, const char *key, double value)
{
	json_put_known(w, to, key, value >= 0, cli_output_real(value));
}

static void put_pressure(struct json_writer *w, json_object *to, const char *key,
			 const struct top_psi *psi)
{
	json_object *o;

	if (!psi->known) {
		json_object_object_add(to, key, NULL);
		return;
	}
	o = json_object_new_object();
	cli_output_stalls(w, o, "some", &psi->psi.some);
	cli_output_stalls(w, o, "full", &psi->psi.full);
	json_put(w, to, key, o);
}

static void put_balancing(const struct top_view *view, struct json_writer *w, json_object *to)
{
	const uint64_t *before = view->before.counters, *now = view->now.counters;
	json_object *o = json_object_new_object();
	uint64_t ns = top_view_passed(view);

	json_put_amount(w, o, "numa_balancing", view->now.balancing);
	json_put_amount(w, o, "hint_faults", top_view_hint_faults(view));
	put_real(w, o, "local_percent",
		 ns ? top_share(before[STOW_NUMA_HINT_FAULTS_LOCAL],
				now[STOW_NUMA_HINT_FAULTS_LOCAL], before[STOW_NUMA_HINT_FAULTS],
				now[STOW_NUMA_HINT_FAULTS])
		    : -1);
	put_real(w, o, "migrated_per_second",
		 ns ? top_rate(before[STOW_NUMA_PAGES_MIGRATED], now[STOW_NUMA_PAGES_MIGRATED], ns)
		    : -1);
	json_put(w, to, "balancing", o);
}

static json_object *node_json(const struct top_view *view, const struct top_node *now,
			      struct json_writer *w)
{
	static const struct {
		const char *key;
		enum stow_node_counter which;
	} rates[] = { { "hits_per_second", STOW_NUMA_HIT },
		      { "misses_per_second", STOW_NUMA_MISS },
		      { "foreign_per_second", STOW_NUMA_FOREIGN } };
	const struct top_node *before = top_machine_node(&view->before, now->node);
	uint64_t ns = before ? top_view_passed(view) : 0;
	json_object *o = json_object_new_object();

	json_put_node(w, o, now->node);
	json_put(w, o, "n_cpus", json_object_new_uint64(now->n_cpus));
	put_real(w, o, "busy_percent",
		 ns ? top_share(before->busy, now->busy, before->all, now->all) : -1);
	json_put_amount(w, o, "total", now->total);
	json_put_amount(w, o, "free", now->free);
	json_put_text(w, o, "pressure",
		      now->pressure == STOW_PRESSURE_UNKNOWN ? NULL
							     : stow_pressure_word(now->pressure));
	for (size_t i = 0; i < STOW_ARRAY_SIZE(rates); i++)
		put_real(w, o, rates[i].key,
			 ns ? top_rate(before->counters[rates[i].which],
				       now->counters[rates[i].which], ns)
			    : -1);
	put_real(w, o, "remote_loads_per_second",
		 ns ? top_rate(before->remote, now->remote, ns) : -1);
	return o;
}

static void put_nodes(const struct top_view *view, struct json_writer *w, json_object *to)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < view->now.n_nodes; i++)
		if (stow_idset_empty(&view->nodes) ||
		    stow_idset_has(&view->nodes, view->now.nodes[i].node))
			json_append(w, list, node_json(view, &view->now.nodes[i], w));
	json_put(w, to, "nodes", list);
}

static void put_drains(const struct top_view *view, struct json_writer *w, json_object *to)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < view->source.n_drains; i++) {
		const struct stow_drain_row *row = &view->source.drains[i];
		json_object *o;

		if (stow_drain_step_is_end(row->step))
			continue;
		o = json_object_new_object();
		json_put_text(w, o, "id", row->id);
		json_put_node(w, o, row->node);
		json_put_text(w, o, "step", stow_drain_step_name(row->step));
		json_put_amount(w, o, "offline", row->bytes_offline);
		json_put_amount(w, o, "bytes", row->bytes);
		json_append(w, list, o);
	}
	json_put(w, to, "drains", list);
}

/* Put what is on each node, by index of the source's nodes. */
static void put_used(const struct top_view *view, struct json_writer *w, json_object *to,
		     const uint64_t *used)
{
	json_object *list = json_object_new_array();

	for (size_t k = 0; k < view->source.n_nodes; k++) {
		json_object *o = json_object_new_object();

		json_put_node(w, o, view->source.nodes[k]);
		json_put_amount(w, o, "memory", used[k]);
		json_append(w, list, o);
	}
	json_put(w, to, "nodes", list);
}

static void put_containers(const struct top_view *view, struct json_writer *w, json_object *to)
{
	_cleanup_free_ const struct top_container **order = NULL;
	json_object *list = json_object_new_array();
	size_t n = 0;

	order = top_view_order(view, &n);
	w->ok = w->ok && order;
	for (size_t i = 0; order && i < n; i++) {
		const struct top_container *c = order[i];
		json_object *o = json_object_new_object();

		json_put_text(w, o, "id", c->it.id);
		json_put_text(w, o, "name", c->it.name);
		json_put_text(w, o, "grant", top_container_grant(c));
		json_put_number(w, o, "n_cpus", c->granted ? (int64_t)c->cpus : -1);
		put_real(w, o, "busy_percent", top_container_busy(c));
		json_put_set(w, o, "mems", &c->nodes);
		json_put_amount(w, o, "promised", c->memory);
		json_put_amount(w, o, "memory", c->total);
		put_real(w, o, "off_node_percent", top_container_off(c));
		put_used(view, w, o, c->used);
		json_append(w, list, o);
	}
	json_put(w, to, "containers", list);
}

/* The pages of what was named; null: nothing was. */
static void put_pages(const struct top_view *view, struct json_writer *w, json_object *to)
{
	const struct top_pages *pages = &view->pages;
	json_object *o, *list;

	if (!pages->pid && !pages->id[0]) {
		json_object_object_add(to, "pages", NULL);
		return;
	}
	o = json_object_new_object();
	list = json_object_new_array();
	json_put_text(w, o, "container", pages->id);
	json_put_number(w, o, "pid", pages->pid ? pages->pid : -1);
	json_put(w, o, "complete", json_object_new_boolean(pages->whole));
	json_put(w, o, "n_unread", json_object_new_uint64(pages->n_unread_shown));
	for (size_t i = 0; i < pages->n_shown; i++) {
		const struct top_process *p = &pages->shown[i];
		json_object *process = json_object_new_object();

		json_put(w, process, "pid", json_object_new_int(p->pid));
		json_put_text(w, process, "command", p->command);
		json_put_amount(w, process, "memory", p->total);
		put_used(view, w, process, p->used);
		json_append(w, list, process);
	}
	json_put(w, o, "processes", list);
	json_put(w, to, "pages", o);
}

int top_json_print(const struct top_view *view)
{
	struct json_writer w = { .ok = true };
	json_object *o = cli_output_object(&w), *pressure = json_object_new_object();
	uint64_t ns = top_view_passed(view);
	char at[STOW_TIMESTAMP_MAX];

	json_put_text(&w, o, "time", stow_timestamp(stow_clock_wall(), at));
	put_real(&w, o, "seconds", ns ? (double)ns / (double)STOW_SECOND : -1);
	json_put_set(&w, o, "cpus", &view->now.cpus);
	put_pressure(&w, pressure, "memory", &view->now.memory);
	put_pressure(&w, pressure, "cpu", &view->now.cpu);
	json_put(&w, o, "pressure", pressure);
	put_balancing(view, &w, o);
	json_put(&w, o, "counted", json_object_new_boolean(view->now.counted));
	json_put_text(&w, o, "remote_unknown", view->pmu.why);
	json_put(&w, o, "grants_known", json_object_new_boolean(!view->source.hidden));
	json_put_text(&w, o, "note", view->message);
	put_nodes(view, &w, o);
	put_drains(view, &w, o);
	put_containers(view, &w, o);
	put_pages(view, &w, o);
	return json_print(&w, o);
}
