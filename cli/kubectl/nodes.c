// SPDX-License-Identifier: Apache-2.0
/* kubectl numastow nodes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/grid.h"
#include "cli/json_writer.h"
#include "cli/kubectl/kubectl.h"
#include "cli/kubectl/machines.h"

static const struct cli_usage usage = {
	.name = "nodes",
	.arguments = "[MACHINE...]",
	.summary = "Show the machines' NUMA nodes: what claims have, and what is left",
	.options = KUBECTL_HELP,
	.words = 1000,
};

/* --- the table ------------------------------------------------------------ */

static void number(int64_t value, char *buf, size_t size)
{
	if (value < 0)
		snprintf(buf, size, "-");
	else
		snprintf(buf, size, "%" PRId64, value);
}

/* Format what is left and the whole: "3/4"; "?/4" when what claims take is not known. */
static void append_share(const struct kubectl_device *device, size_t i, bool known, char *buf,
			 size_t size)
{
	const struct kubectl_amount *whole = &device->capacity.list[i];
	char left[32], all[32];

	stow_append(buf, size, "%s/%s",
		    known ? kubectl_amount_text(whole->name, kubectl_left(device, i), left,
						sizeof(left))
			  : "?",
		    kubectl_amount_text(whole->name, whole->value, all, sizeof(all)));
}

static void share_of(const struct kubectl_device *device, const char *name, bool known, char *buf,
		     size_t size)
{
	buf[0] = '\0';
	for (size_t i = 0; i < device->capacity.n; i++)
		if (strcmp(device->capacity.list[i].name, name) == 0)
			append_share(device, i, known, buf, size);
	if (!buf[0])
		snprintf(buf, size, "-");
}

/* Format all hugepages: "2Mi 512Mi/1Gi, 1Gi 2Gi/2Gi". */
static void pages_of(const struct kubectl_device *device, bool known, char *buf, size_t size)
{
	static const char prefix[] = "hugepages";

	buf[0] = '\0';
	for (size_t i = 0; i < device->capacity.n; i++) {
		const char *name = device->capacity.list[i].name;

		if (strncmp(name, prefix, strlen(prefix)) != 0)
			continue;
		stow_append(buf, size, "%s%s ", buf[0] ? ", " : "", name + strlen(prefix));
		append_share(device, i, known, buf, size);
	}
	if (!buf[0])
		snprintf(buf, size, "-");
}

static void taints_of(const struct kubectl_device *device, char *buf, size_t size)
{
	buf[0] = '\0';
	for (size_t i = 0; i < device->n_taints; i++) {
		const struct kubectl_taint *t = &device->taints[i];

		if (strcmp(t->key, KUBECTL_FENCE) == 0)
			stow_append(buf, size, "%sfenced", i ? ", " : "");
		else
			stow_append(buf, size, "%s%s:%s", i ? ", " : "", t->key, t->effect);
	}
}

static void add_row(struct cli_grid *table, const struct kubectl_machine *machine,
		    const struct kubectl_device *device, bool known)
{
	char socket[24], count[24], cpus[64], memory[80], pages[400], claims[24], taints[400];

	number(device->socket, socket, sizeof(socket));
	number(device->cpu_count, count, sizeof(count));
	share_of(device, "cpus", known, cpus, sizeof(cpus));
	share_of(device, "memory", known, memory, sizeof(memory));
	pages_of(device, known, pages, sizeof(pages));
	snprintf(claims, sizeof(claims), "%" PRIu64, device->claims);
	taints_of(device, taints, sizeof(taints));
	if (!machine->complete)
		stow_append(taints, sizeof(taints), "%sslices are missing", taints[0] ? ", " : "");
	cli_grid_row(table, (const char *const[]){ machine->name, device->name, socket, count, cpus,
						   memory, pages, known ? claims : "?",
						   taints[0] ? taints : "-" });
}

/* Return whether the arguments name the machine, or no machine. */
static bool wanted(const struct kubectl_machine *machine, char *const *names)
{
	if (!names[0])
		return true;
	for (; names[0]; names++)
		if (strcmp(names[0], machine->name) == 0)
			return true;
	return false;
}

static void show(const struct kubectl_machines *machines, char *const *names)
{
	static const char *const columns[] = {
		"MACHINE",	"NUMA",		  ">SOCKET", ">ONLINE", ">CPUS LEFT",
		">MEMORY LEFT", "HUGEPAGES LEFT", ">SHARES", "TAINTS",	NULL
	};
	struct cli_grid *table = cli_grid(columns);
	size_t rows = 0;

	for (size_t i = 0; i < machines->n; i++)
		for (size_t k = 0;
		     wanted(&machines->list[i], names) && k < machines->list[i].n_devices; k++) {
			add_row(table, &machines->list[i], &machines->list[i].devices[k],
				machines->unknown.code == 0);
			rows++;
		}
	if (!rows)
		printf("No %smachine publishes NUMA nodes.\n", names[0] ? "such " : "");
	cli_grid_print(table, rows ? stdout : stderr);
}

/* --- as JSON -------------------------------------------------------------- */

/* Add a number, or null when it is not known. */
static void put_number(struct json_writer *w, json_object *to, const char *key, bool known,
		       uint64_t value)
{
	json_put_known(w, to, key, known, json_object_new_uint64(value));
}

static json_object *taint_json(struct json_writer *w, const struct kubectl_taint *taint)
{
	json_object *o = json_object_new_object();

	json_put(w, o, "key", json_object_new_string(taint->key));
	json_put_text(w, o, "value", taint->value);
	json_put(w, o, "effect", json_object_new_string(taint->effect));
	return o;
}

static json_object *device_json(struct json_writer *w, const struct kubectl_device *device,
				bool known)
{
	json_object *o = json_object_new_object(), *amounts = json_object_new_object();
	json_object *taints = json_object_new_array();

	json_put(w, o, "name", json_object_new_string(device->name));
	json_put_number(w, o, "numa_node", device->node);
	json_put_number(w, o, "socket", device->socket);
	json_put_number(w, o, "memory_tier", device->tier);
	json_put_number(w, o, "cpu_count", device->cpu_count);
	json_put_text(w, o, "kind", device->kind);
	for (size_t i = 0; i < device->capacity.n; i++) {
		json_object *amount = json_object_new_object();

		json_put(w, amount, "capacity",
			 json_object_new_uint64(device->capacity.list[i].value));
		put_number(w, amount, "allocated", known, device->used[i]);
		put_number(w, amount, "left", known, kubectl_left(device, i));
		json_put(w, amounts, device->capacity.list[i].name, amount);
	}
	json_put(w, o, "amounts", amounts);
	for (size_t i = 0; i < device->n_taints; i++)
		json_append(w, taints, taint_json(w, &device->taints[i]));
	json_put(w, o, "taints", taints);
	put_number(w, o, "shares", known, device->claims);
	return o;
}

static int show_json(const struct kubectl_machines *machines, char *const *names)
{
	json_object *top = json_object_new_object(), *list = json_object_new_array();
	struct json_writer w = { true };

	for (size_t i = 0; i < machines->n; i++) {
		const struct kubectl_machine *machine = &machines->list[i];
		json_object *o, *nodes;

		if (!wanted(machine, names))
			continue;
		o = json_object_new_object();
		nodes = json_object_new_array();
		json_put(&w, o, "name", json_object_new_string(machine->name));
		json_put(&w, o, "complete", json_object_new_boolean(machine->complete));
		for (size_t k = 0; k < machine->n_devices; k++)
			json_append(&w, nodes,
				    device_json(&w, &machine->devices[k],
						machines->unknown.code == 0));
		json_put(&w, o, "numa_nodes", nodes);
		json_append(&w, list, o);
	}
	json_put(&w, top, "machines", list);
	return json_print(&w, json_with_version(top));
}

int kubectl_nodes(int argc, char **argv)
{
	struct kubectl_options o = { 0 };
	const struct cli_option options[] = { KUBECTL_OPTIONS(&o), { 0 } };
	struct kubectl_machines machines;
	struct stow_kube *kube = NULL;
	struct stow_err err = { 0 };
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	r = kubectl_connect(&o, &kube, &err);
	if (r == 0)
		r = kubectl_machines_read(kube, &machines, &err);
	stow_kube_free(kube);
	if (r < 0)
		return cli_fail(&err);
	if (machines.unknown.code)
		fprintf(stderr, "numastow: what claims have is not known: %s\n",
			machines.unknown.msg);
	if (o.json)
		r = show_json(&machines, argv + optind);
	else
		show(&machines, argv + optind);
	kubectl_machines_done(&machines);
	return r < 0 ? CLI_FAILED : CLI_OK;
}
