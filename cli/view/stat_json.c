// SPDX-License-Identifier: Apache-2.0
/* numastow stat, as JSON: amounts in bytes, counters in pages, what is unknown as null. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/json_writer.h"
#include "cli/view/stat_view.h"

/* Put counters by their names, and their rates since `before` if there is one. */
static void put_counters(struct json_writer *w, json_object *to, const char *const *names,
			 const uint64_t *values, const uint64_t *before, double seconds)
{
	json_object *rates = before && seconds > 0 ? json_object_new_object() : NULL;

	for (size_t i = 0; names[i]; i++) {
		json_put_amount(w, to, names[i], values[i]);
		if (!rates)
			continue;
		if (values[i] == STOW_UNKNOWN || before[i] == STOW_UNKNOWN || values[i] < before[i])
			json_object_object_add(rates, names[i], NULL);
		else
			json_put(w, rates, names[i],
				 json_object_new_double((double)(values[i] - before[i]) / seconds));
	}
	if (rates)
		json_put(w, to, "per_second", rates);
}

static void put_nodes(const struct stat_view *view, const struct stat_view *before,
		      struct json_writer *w, json_object *all)
{
	double seconds = before ? (double)stow_clock_elapsed(before->read_ns, view->read_ns) /
					  (double)STOW_SECOND
				: 0;
	json_object *nodes = json_object_new_array(), *machine = json_object_new_object();

	for (size_t i = 0; i < view->n_nodes; i++) {
		const struct stat_node *node = &view->nodes[i],
				       *old = stat_view_node(before, node->node);
		json_object *o = json_object_new_object();

		json_put(w, o, "node", json_object_new_int(node->node));
		put_counters(w, o, stow_node_counter_names, node->counters,
			     old ? old->counters : NULL, seconds);
		json_append(w, nodes, o);
	}
	json_put(w, all, "counted", json_object_new_boolean(view->counted));
	json_put(w, all, "nodes", nodes);
	put_counters(w, machine, stow_balancing_counter_names, view->machine,
		     before ? before->machine : NULL, seconds);
	json_put(w, all, "machine", machine);
}

static void put_fields(const struct stat_view *view, struct json_writer *w, json_object *all)
{
	json_object *nodes = json_object_new_array();

	for (size_t k = 0; k < view->n_nodes; k++) {
		json_object *o = json_object_new_object(), *fields = json_object_new_object();

		json_put(w, o, "node", json_object_new_int(view->nodes[k].node));
		for (size_t i = 0; i < view->n_fields; i++)
			if (!view->nonzero || view->fields[i].values[k])
				json_put_amount(w, fields, view->fields[i].name,
						view->fields[i].values[k]);
		json_put(w, o, "meminfo", fields);
		json_append(w, nodes, o);
	}
	json_put(w, all, "nodes", nodes);
}

static json_object *process_object(const struct stat_view *view, struct json_writer *w,
				   const struct stat_process *process)
{
	static const char *const kinds[STOW_PAGES_KINDS] = { "huge", "heap", "stack", "private" };
	static const struct stow_node_pages none = { 0 };
	json_object *o = json_object_new_object(), *nodes = json_object_new_array();
	struct stow_idset shown;

	json_put(w, o, "pid", json_object_new_int((int)process->pid));
	json_put(w, o, "command", json_object_new_string(process->command));
	stat_process_nodes(view, process, &shown);
	STOW_IDSET_FOR(node, &shown) {
		const struct stow_node_pages *pages =
			(size_t)node < process->pages.n_nodes ? &process->pages.nodes[node] : &none;
		uint64_t total = stow_process_pages_on(&process->pages, node);
		json_object *n;

		if (view->nonzero && !total)
			continue;
		n = json_object_new_object();
		json_put(w, n, "node", json_object_new_int(node));
		for (int i = 0; i < STOW_PAGES_KINDS; i++)
			json_put_amount(w, n, kinds[i], pages->kinds[i]);
		json_put_amount(w, n, "file", pages->file);
		json_put_amount(w, n, "shared", pages->shared);
		json_put_amount(w, n, "total", total);
		json_append(w, nodes, n);
	}
	json_put(w, o, "nodes", nodes);
	json_put_amount(w, o, "total", stat_process_sum(view, process, -1));
	return o;
}

static void put_place(struct json_writer *w, json_object *o, const struct stat_place *place)
{
	json_put_amount(w, o, "anon", place->anon);
	json_put_amount(w, o, "file", place->file);
	json_put_amount(w, o, "shmem", place->shmem);
	json_put_amount(w, o, "file_mapped", place->mapped);
	json_put_amount(w, o, "kernel", place->kernel);
	json_put_amount(w, o, "huge", place->huge);
	json_put_amount(w, o, "total", place->total);
	json_put_amount(w, o, "processes", place->processes);
}

static json_object *container_object(struct json_writer *w, const struct stat_container *c)
{
	json_object *o = json_object_new_object(), *nodes = json_object_new_array(), *sum;
	json_object *counters = json_object_new_object();

	json_put(w, o, "container", json_object_new_string(c->it.id));
	json_put_text(w, o, "name", c->it.name);
	for (size_t k = 0; k < c->n_places; k++) {
		json_object *n = json_object_new_object();

		json_put(w, n, "node", json_object_new_int(c->places[k].node));
		put_place(w, n, &c->places[k]);
		json_append(w, nodes, n);
	}
	json_put(w, o, "nodes", nodes);
	sum = json_object_new_object();
	put_place(w, sum, &c->sum);
	json_put(w, o, "sum", sum);
	json_put(w, o, "n_processes", json_object_new_uint64(c->n_processes));
	for (size_t i = 0; stow_balancing_counter_names[i]; i++)
		json_put_amount(w, counters, stow_balancing_counter_names[i], c->counters[i]);
	json_put(w, o, "counters", counters);
	return o;
}

int stat_print_json(const struct stat_view *view, const struct stat_view *before)
{
	struct json_writer w;
	json_object *all = cli_output_object(&w);

	if (view->meminfo) {
		put_fields(view, &w, all);
	} else if (!view->n_processes && !view->n_containers && !view->n_failed) {
		put_nodes(view, before, &w, all);
	} else {
		json_object *processes = json_object_new_array();
		json_object *containers = json_object_new_array();

		for (size_t i = 0; i < view->n_processes; i++)
			json_append(&w, processes, process_object(view, &w, &view->processes[i]));
		for (size_t i = 0; i < view->n_containers; i++)
			json_append(&w, containers, container_object(&w, &view->containers[i]));
		json_put(&w, all, "processes", processes);
		json_put(&w, all, "containers", containers);
	}
	return json_print(&w, all);
}
