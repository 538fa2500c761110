// SPDX-License-Identifier: Apache-2.0
/* numastow show: tables and JSON. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/paragraph.h"
#include "cli/view/show_view.h"
#include "node/topology.h"

#define INDENT 13 /* of what is said of a process */

enum column {
	COL_PID,
	COL_TID,
	COL_NAME,
	COL_CONTAINER,
	COL_CPUS,
	COL_NODES,
	COL_POLICY,
	COL_FROM,
	COL_PREFERRED,
	COL_BY,
	COL_CPU,
	COL_NODE,
	COL_CGROUP,
};

const struct cli_column show_columns[] = {
	[COL_PID] = { "PID", CLI_NUMBER, "the process" },
	[COL_TID] = { "TID", CLI_NUMBER, "the thread", true },
	[COL_NAME] = { "NAME", CLI_TEXT, "of the thread" },
	[COL_CONTAINER] = { "CONTAINER", CLI_TEXT, "its name, or id" },
	[COL_CPUS] = { "CPUS", CLI_TEXT, "that it may run on, by affinity and cpuset" },
	[COL_NODES] = { "NODES", CLI_TEXT, "whose memory it may use, by its cpuset" },
	[COL_POLICY] = { "POLICY", CLI_TEXT,
			 "memory policy, from mappings without one of their own" },
	[COL_FROM] = { "FROM", CLI_TEXT, "which mappings: stack, or most", true },
	[COL_PREFERRED] = { "PREFERRED", CLI_NUMBER, "NUMA node", true },
	[COL_BY] = { "BY", CLI_TEXT, "what prefers it: policy, or balancing", true },
	[COL_CPU] = { "CPU", CLI_NUMBER, "on which it last ran" },
	[COL_NODE] = { "NODE", CLI_NUMBER, "of that CPU" },
	[COL_CGROUP] = { "CGROUP", CLI_LAST, "of the cpuset hierarchy", true },
	{ 0 },
};

/* Find the node of each CPU, as far as it is known. */
static void read_nodes(const struct show_view *view, int node_of[STOW_IDSET_MAX])
{
	struct stow_idset nodes, cpus;

	for (int cpu = 0; cpu < STOW_IDSET_MAX; cpu++)
		node_of[cpu] = -1;
	if (stow_root_list_ids(view->root, "/sys/devices/system/node", "node", &nodes, NULL) < 0)
		return;
	STOW_IDSET_FOR(node, &nodes) {
		if (stow_root_read_idset(view->root, &cpus, NULL,
					 "/sys/devices/system/node/node%d/cpulist", node) < 0)
			continue;
		STOW_IDSET_FOR(cpu, &cpus)
			node_of[cpu] = node;
	}
}

static const char *from_word(enum stow_policy_from from)
{
	return from == STOW_POLICY_STACK ? "stack" : "most";
}

static void put_thread(struct cli_table *table, const struct show_process *p,
		       const struct stow_task *task, const int *node_of)
{
	struct cli_row *row = cli_table_row(table, NULL);
	char id[80];

	cli_row_id(row, COL_PID, p->pid);
	cli_row_id(row, COL_TID, task->tid);
	if (task->name[0])
		cli_row_text(row, COL_NAME, task->name);
	if (p->id)
		cli_row_text(row, COL_CONTAINER,
			     p->name ? p->name : cli_short_id(p->id, id, sizeof(id)));
	if (task->known)
		cli_row_set(row, COL_CPUS, &task->cpus);
	cli_row_set(row, COL_NODES, &task->mems);
	if (task->policy[0]) {
		cli_row_text(row, COL_POLICY, task->policy);
		cli_row_text(row, COL_FROM, from_word(task->from));
	}
	cli_row_id(row, COL_PREFERRED, task->preferred);
	if (task->preferred >= 0)
		cli_row_text(row, COL_BY, task->preferred_by_policy ? "policy" : "balancing");
	cli_row_id(row, COL_CPU, task->cpu);
	cli_row_id(row, COL_NODE, task->cpu >= 0 ? node_of[task->cpu] : -1);
	if (p->cgroup)
		cli_row_text(row, COL_CGROUP, p->cgroup);
	if (p->displaced)
		cli_row_mark(row, COL_CPUS, CLI_BAD);
}

static uint64_t pages_on(const struct show_process *p, size_t node)
{
	uint64_t sum = 0;

	for (int kind = 0; kind < STOW_PAGES_KINDS; kind++)
		sum += p->pages.nodes[node].kinds[kind];
	return sum;
}

static void print_pages(const struct show_view *view, const struct show_process *p)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *out = p->pages_known ? open_memstream(&text, &len) : NULL;
	char size[32];

	if (!out) {
		cli_paragraph(INDENT, "pages", "unknown");
		return;
	}
	for (size_t node = 0; node < p->pages.n_nodes; node++)
		if (pages_on(p, node) && cli_output_wants_node(view->out, (int)node))
			fprintf(out, "%s%s on node %zu", ftell(out) > 0 ? ", " : "",
				cli_output_size(view->out, pages_on(p, node), size, sizeof(size)),
				node);
	cli_paragraph(INDENT, "pages", fclose(out) == 0 ? text : "unknown");
}

/* What is above the table of threads. */
static void print_head(const struct show_view *view, const struct show_process *p)
{
	char cpus[256], nodes[128], line[1024];

	printf("process %d%s%s\n", (int)p->pid, p->threads[0].name[0] ? ", " : "",
	       p->threads[0].name);
	cli_paragraph(INDENT, "cgroup", p->cgroup ? p->cgroup : "unknown");
	snprintf(line, sizeof(line), "%s%s%s%s", p->id ? p->id : "", p->name ? ", " : "",
		 p->name ? p->name : "", p->granted ? "" : ", without a grant");
	if (p->id)
		cli_paragraph(INDENT, "container", line);
	snprintf(line, sizeof(line), "CPUs %s, memory of nodes %s",
		 stow_idset_format(&p->cpus, cpus, sizeof(cpus)),
		 stow_idset_empty(&p->mems) ? "as given"
					    : stow_idset_format(&p->mems, nodes, sizeof(nodes)));
	if (p->promised)
		cli_paragraph(INDENT, "promised", line);
	print_pages(view, p);
	if (p->promised)
		cli_paragraph(INDENT, "in place",
			      p->displaced
				      ? "no: it may run, or has pages, where nothing was promised"
			      : p->checked ? "yes"
					   : "unknown");
	if (p->cut)
		printf("  threads    more than %d: the others are left out\n", STOW_TASKS_MAX);
}

static int print_threads(const struct show_view *view, const struct show_process *list, size_t n,
			 bool all, struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	_cleanup_free_ int *node_of = calloc(STOW_IDSET_MAX, sizeof(*node_of));
	int r;

	if (!node_of)
		return stow_err_sys(err, ENOMEM, "show");
	r = cli_table_new(show_columns, view->out, &table, err);
	if (r < 0)
		return r;
	read_nodes(view, node_of);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < (all ? list[i].n_threads : 1); k++)
			put_thread(table, &list[i], &list[i].threads[k], node_of);
	return cli_table_print(table);
}

int show_print_processes(const struct show_view *view, struct stow_err *err)
{
	bool plain = view->out->pairs || view->out->raw;
	int r = 0;

	if (plain)
		return print_threads(view, view->list, view->n, true, err);
	for (size_t i = 0; i < view->n && r == 0; i++) {
		if (i > 0)
			printf("\n");
		print_head(view, &view->list[i]);
		r = print_threads(view, &view->list[i], 1, true, err);
	}
	return r;
}

int show_print_list(const struct show_view *view, struct stow_err *err)
{
	if (!view->n && !view->out->pairs && !view->out->raw)
		printf("No process is restricted.\n");
	return print_threads(view, view->list, view->n, false, err);
}

/* --- JSON ----------------------------------------------------------------- */

static json_object *thread_json(struct json_writer *w, const struct stow_task *task,
				const int *node_of)
{
	json_object *o = json_object_new_object();

	json_put(w, o, "tid", json_object_new_int(task->tid));
	json_put_text(w, o, "name", task->name);
	json_put_known_set(w, o, "cpus", task->known && !stow_idset_empty(&task->cpus),
			   &task->cpus);
	json_put_known_set(w, o, "mems", !stow_idset_empty(&task->mems), &task->mems);
	json_put_text(w, o, "policy", task->policy);
	json_put_text(w, o, "policy_from", task->policy[0] ? from_word(task->from) : NULL);
	json_put_number(w, o, "preferred", task->preferred);
	json_put_text(w, o, "preferred_by",
		      task->preferred < 0	  ? NULL
		      : task->preferred_by_policy ? "policy"
						  : "balancing");
	json_put_number(w, o, "cpu", task->cpu);
	json_put_number(w, o, "node", task->cpu >= 0 ? node_of[task->cpu] : -1);
	return o;
}

static void put_pages(struct json_writer *w, json_object *to, const struct show_view *view,
		      const struct show_process *p)
{
	json_object *list;

	if (!p->pages_known) {
		json_object_object_add(to, "pages", NULL);
		return;
	}
	list = json_object_new_array();
	for (size_t node = 0; node < p->pages.n_nodes; node++) {
		json_object *o;

		if (!pages_on(p, node) || !cli_output_wants_node(view->out, (int)node))
			continue;
		o = json_object_new_object();
		json_put(w, o, "node", json_object_new_int((int)node));
		json_put(w, o, "bytes", json_object_new_uint64(pages_on(p, node)));
		json_append(w, list, o);
	}
	json_put(w, to, "pages", list);
}

static json_object *process_json(struct json_writer *w, const struct show_view *view,
				 const struct show_process *p, const int *node_of)
{
	json_object *o = json_object_new_object(), *threads = json_object_new_array();

	json_put(w, o, "pid", json_object_new_int(p->pid));
	json_put_text(w, o, "cgroup", p->cgroup);
	json_put_text(w, o, "container", p->id);
	json_put_text(w, o, "container_name", p->name);
	json_put(w, o, "granted", json_object_new_boolean(p->granted));
	json_put_known_set(w, o, "promised_cpus", p->promised, &p->cpus);
	json_put_known_set(w, o, "promised_mems", p->promised && !stow_idset_empty(&p->mems),
			   &p->mems);
	json_put_known(w, o, "in_place", p->displaced || p->checked,
		       json_object_new_boolean(!p->displaced));
	put_pages(w, o, view, p);
	for (size_t i = 0; i < p->n_threads; i++)
		json_append(w, threads, thread_json(w, &p->threads[i], node_of));
	json_put(w, o, "threads", threads);
	json_put(w, o, "threads_cut", json_object_new_boolean(p->cut));
	return o;
}

int show_print_json(const struct show_view *view)
{
	_cleanup_free_ int *node_of = calloc(STOW_IDSET_MAX, sizeof(*node_of));
	struct json_writer w = { .ok = true };
	json_object *o, *list;

	if (!node_of)
		return -ENOMEM;
	read_nodes(view, node_of);
	o = cli_output_object(&w);
	list = json_object_new_array();
	for (size_t i = 0; i < view->n; i++)
		json_append(&w, list, process_json(&w, view, &view->list[i], node_of));
	json_put(&w, o, "processes", list);
	return json_print(&w, o);
}
