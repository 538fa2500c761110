// SPDX-License-Identifier: Apache-2.0
/* numastow topology --tree. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cli/view/topology_views.h"

enum { OBJECT, CPUS, MEMORY, AVAILABLE, OWNER, KIND, NUMBER };

const struct cli_column topology_tree_columns[] = {
	[OBJECT] = { "OBJECT", CLI_TREE, "machine, package, node, cache, core, cpu or device" },
	[CPUS] = { "CPUS", CLI_TEXT, "its online CPUs" },
	[MEMORY] = { "MEMORY", CLI_SIZE, "memory of a node or of the machine" },
	[AVAILABLE] = { "AVAILABLE", CLI_SIZE, "of it, what can be allocated", true },
	[OWNER] = { "OWNER", CLI_TEXT, "container that has the CPU alone, by the ledger" },
	[KIND] = { "KIND", CLI_TEXT, "the object's kind", true },
	[NUMBER] = { "NUMBER", CLI_NUMBER, "the object's number", true },
	{ 0 },
};

enum level { PACKAGE, NODE, CACHE, CORE, LEVELS };

struct tree {
	const struct topology_data *data;
	const struct topology_owners *owners;
	const struct cli_output *out;
	struct cli_table *table;
	const struct stow_cpu **cpus; /* in the order of the tree */
	size_t n_cpus;
	enum level order[LEVELS]; /* from the top */
	bool oom;
};

/* Packages contain nodes, unless a node has CPUs of several packages. */
static bool packages_first(const struct stow_topology *t)
{
	for (size_t i = 0; i < t->n_nodes; i++) {
		const struct stow_cpu *first =
			stow_topology_cpu(t, stow_idset_next(&t->nodes[i].cpus, 0));

		STOW_IDSET_FOR(id, &t->nodes[i].cpus)
			if (stow_topology_cpu(t, id)->package != first->package)
				return false;
	}
	return true;
}

static int number_of(const struct stow_cpu *cpu, enum level level)
{
	switch (level) {
	case PACKAGE:
		return cpu->package;
	case NODE:
		return cpu->node;
	case CACHE:
		return cpu->llc;
	case CORE:
	case LEVELS:
		break;
	}
	return cpu->core;
}

static int compare(const void *a, const void *b, void *data)
{
	const struct stow_cpu *x = *(const struct stow_cpu *const *)a,
			      *y = *(const struct stow_cpu *const *)b;
	const struct tree *tree = data;

	for (int i = 0; i < LEVELS; i++) {
		int p = number_of(x, tree->order[i]), q = number_of(y, tree->order[i]);

		if (p != q)
			return (p > q) - (p < q);
	}
	return x->id - y->id;
}

static void set_cpus(struct tree *tree, struct cli_row *row, const struct stow_idset *cpus)
{
	_cleanup_free_ char *list = stow_idset_to_list(cpus);

	if (!list)
		tree->oom = true;
	else
		cli_row_text(row, CPUS, list);
}

static struct cli_row *add(struct tree *tree, struct cli_row *parent, const char *kind, int number,
			   bool assumed)
{
	struct cli_row *row = cli_table_row(tree->table, parent);

	if (number < 0)
		cli_row_text(row, OBJECT, kind);
	else
		cli_row_format(row, OBJECT, "%s %d%s", kind, number, assumed ? " (assumed)" : "");
	cli_row_text(row, KIND, kind);
	cli_row_id(row, NUMBER, number);
	return row;
}

static void fill_memory(struct cli_row *row, uint64_t total, uint64_t available, bool known)
{
	if (!known)
		return;
	cli_row_number(row, MEMORY, total);
	cli_row_number(row, AVAILABLE, available);
}

static void add_devices(struct tree *tree, struct cli_row *parent, int node)
{
	const struct stow_devices *list = &tree->data->devices;

	for (size_t i = 0; i < list->n_devices; i++) {
		const struct stow_device *device = &list->devices[i];
		struct cli_row *row;

		if (device->node != node)
			continue;
		row = cli_table_row(tree->table, parent);
		cli_row_format(row, OBJECT, "%s %s%s%s", stow_device_kind_name(device->kind),
			       device->address, device->n_names ? " " : "",
			       device->n_names ? device->names[0] : "");
		cli_row_text(row, KIND, "device");
	}
}

static void fill_node(struct tree *tree, struct cli_row *row, int id)
{
	const struct stow_node *node = stow_topology_node(tree->data->view.topology, id);

	if (node)
		fill_memory(row, node->mem_total, node->mem_available,
			    !(node->assumed & STOW_ASSUMED_MEMORY));
	add_devices(tree, row, id);
}

/* Add the object of one level that CPU number `at` begins, and return how many CPUs it has. */
static size_t add_object(struct tree *tree, enum level level, size_t at, size_t end,
			 struct cli_row *parent, struct cli_row **ret)
{
	static const char *const names[] = { "package", "node", "cache", "core" };
	static const unsigned int assumed[] = { STOW_ASSUMED_PACKAGES, STOW_ASSUMED_CPUS,
						STOW_ASSUMED_CACHES, STOW_ASSUMED_CORES };
	int number = number_of(tree->cpus[at], level);
	struct stow_idset cpus = { 0 };
	size_t n = 0;

	for (; at + n < end && number_of(tree->cpus[at + n], level) == number; n++)
		stow_idset_add(&cpus, tree->cpus[at + n]->id);
	*ret = add(tree, parent, names[level], number,
		   tree->data->view.topology->assumed & assumed[level]);
	set_cpus(tree, *ret, &cpus);
	if (level == NODE)
		fill_node(tree, *ret, number);
	return n;
}

static void add_cpus(struct tree *tree, size_t at, size_t end, struct cli_row *parent)
{
	for (; at < end; at++) {
		const struct stow_cpu *cpu = tree->cpus[at];
		struct cli_row *row = add(tree, parent, "cpu", cpu->id, false);

		if (tree->owners->of[cpu->id])
			cli_row_text(row, OWNER, tree->owners->of[cpu->id]);
	}
}

/* Walk the levels: `end[i]` is where the object of level i ends. */
static void add_levels(struct tree *tree, struct cli_row *machine)
{
	struct cli_row *rows[LEVELS + 1] = { machine };
	size_t end[LEVELS + 1] = { tree->n_cpus };

	for (size_t at = 0; at < tree->n_cpus; at = end[LEVELS]) {
		int i = 0;

		while (i < LEVELS && end[i + 1] > at)
			i++;
		for (; i < LEVELS; i++)
			end[i + 1] = at + add_object(tree, tree->order[i], at, end[i], rows[i],
						     &rows[i + 1]);
		add_cpus(tree, at, end[LEVELS], rows[LEVELS]);
	}
}

static void add_rest(struct tree *tree, struct cli_row *machine)
{
	const struct stow_topology *t = tree->data->view.topology;

	for (size_t i = 0; i < t->n_nodes; i++)
		if (stow_idset_empty(&t->nodes[i].cpus) &&
		    cli_output_wants_node(tree->out, t->nodes[i].id))
			fill_node(tree, add(tree, machine, "node", t->nodes[i].id, false),
				  t->nodes[i].id);
	if (stow_idset_empty(&tree->out->nodes))
		add_devices(tree, machine, -1);
}

static int fill(struct tree *tree)
{
	const struct stow_topology *t = tree->data->view.topology;
	struct cli_row *machine = add(tree, NULL, "machine", -1, false);
	uint64_t total = 0, available = 0;
	bool known = t->n_nodes != 0;

	tree->cpus = calloc(t->n_cpus + 1, sizeof(*tree->cpus));
	if (!tree->cpus)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_cpus; i++)
		if (cli_output_wants_node(tree->out, t->cpus[i].node))
			tree->cpus[tree->n_cpus++] = &t->cpus[i];
	qsort_r(tree->cpus, tree->n_cpus, sizeof(*tree->cpus), compare, tree);
	for (size_t i = 0; i < t->n_nodes; i++) {
		total += t->nodes[i].mem_total;
		available += t->nodes[i].mem_available;
		known = known && !(t->nodes[i].assumed & STOW_ASSUMED_MEMORY);
	}
	set_cpus(tree, machine, &t->online);
	fill_memory(machine, total, available, known);
	add_levels(tree, machine);
	add_rest(tree, machine);
	return tree->oom ? -ENOMEM : 0;
}

int topology_print_tree(const struct topology_data *data, const struct topology_owners *owners,
			const struct cli_output *out, struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	struct tree tree = { .data = data, .owners = owners, .out = out };
	struct json_writer w = { .ok = true };
	json_object *o;
	int r = cli_table_new(topology_tree_columns, out, &table, err);

	if (r < 0)
		return r;
	tree.table = table;
	for (int i = 0; i < LEVELS; i++)
		tree.order[i] = (enum level)i;
	if (!packages_first(data->view.topology)) {
		tree.order[0] = NODE;
		tree.order[1] = PACKAGE;
	}
	r = fill(&tree);
	free(tree.cpus);
	if (r == 0 && !out->json) {
		r = cli_table_print(table);
	} else if (r == 0) {
		o = cli_output_object(&w);
		json_put(&w, o, "tree", cli_table_json(table));
		r = json_print(&w, o);
	}
	return r < 0 ? stow_err_sys(err, -r, "printing the tree") : 0;
}
