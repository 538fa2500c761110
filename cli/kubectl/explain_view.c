// SPDX-License-Identifier: Apache-2.0
/* What `explain` prints. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/grid.h"
#include "cli/kubectl/explain.h"
#include "cli/kubectl/kubectl.h"
#include "kube/json.h"

/* Append what a device lacks of what the request asks for: "3 of 4 cpus left, 4 asked for, fenced".
 */
static void describe_device(const struct kubectl_device *device,
			    const struct kubectl_request *request, char *buf, size_t size)
{
	for (size_t c = 0; c < request->n; c++) {
		const struct kubectl_choice *choice = &request->choices[c];
		struct kubectl_shortfall lack;

		if (!choice->ours || choice->fault)
			continue;
		if (buf[0])
			stow_append(buf, size, "; or ");
		if (!kubectl_find_shortfall(device, choice, &lack)) {
			stow_append(buf, size, "fits");
			continue;
		}
		for (size_t i = 0; i < lack.missing.n; i++) {
			const struct kubectl_amount *a = &lack.missing.list[i];
			const struct kubectl_amount *whole =
				kubectl_amounts_find(&device->capacity, a->name);
			char left[32], all[32], asked[32];

			stow_append(buf, size, i ? ", " : "");
			if (!whole)
				stow_append(buf, size, "has no %s", a->name);
			else
				stow_append(buf, size, "%s of %s %s left, %s asked for",
					    kubectl_amount_text(a->name, a->step, left,
								sizeof(left)),
					    kubectl_amount_text(a->name, whole->value, all,
								sizeof(all)),
					    a->name,
					    kubectl_amount_text(a->name, a->value, asked,
								sizeof(asked)));
		}
		if (lack.tainted)
			stow_append(buf, size, "%sfenced", lack.missing.n ? ", " : "");
	}
}

/* --- a claim -------------------------------------------------------------- */

/* Print a text of the API server, without control characters. */
static void print_clean(const char *before, const char *text, const char *after)
{
	_cleanup_free_ char *clean = kubectl_clean(text);

	printf("%s%s%s", before, clean ? clean : "?", after);
}

static void show_condition(const struct kubectl_claim *claim, struct json_object *result,
			   const char *type, const char *said)
{
	struct json_object *condition = kubectl_claim_condition(claim, result, type);

	if (strcmp(stow_kube_text(condition, "status"), "False") != 0)
		return;
	printf("    %s", said);
	print_clean("", stow_kube_text(condition, "message"), "");
	print_clean(" (since ", stow_kube_text(condition, "lastTransitionTime"), ")\n");
}

static void show_allocated(const struct kubectl_claim *claim)
{
	struct json_object *result;

	for (size_t i = 0; (result = kubectl_claim_result(claim, i)); i++) {
		struct kubectl_amounts amounts;
		char text[400] = "";

		if (kubectl_amounts_read(stow_kube_at(result, "consumedCapacity"), &amounts,
					 NULL) == 0)
			kubectl_amounts_text(&amounts, text, sizeof(text));
		print_clean("  request ", stow_kube_text(result, "request"), "");
		print_clean(": allocated on ", stow_kube_text(result, "pool"), " ");
		print_clean("", stow_kube_text(result, "device"), "");
		printf("%s%s\n", text[0] ? ": " : "", text);
		show_condition(claim, result, KUBECTL_DRIVER "/Prepared",
			       "the machine refuses it: ");
		show_condition(claim, result, KUBECTL_DRIVER "/InPlace",
			       "its container does not have it: ");
	}
}

static void show_choice(const struct kubectl_choice *choice, bool first)
{
	char text[400] = "";

	kubectl_amounts_text(&choice->amounts, text, sizeof(text));
	printf("%s", first ? "" : ", or ");
	if (choice->fault)
		printf("%s", choice->fault);
	else if (!choice->ours)
		printf("devices of another driver (class %s), which this command does not know",
		       choice->class);
	else if (choice->count > 1)
		printf("%s on each of %zu NUMA nodes", text, (size_t)choice->count);
	else
		printf("%s on one NUMA node", text[0] ? text : "nothing");
	if (choice->selectors && choice->ours)
		printf(" (its selectors are not evaluated here)");
}

static void show_claim(const struct kubectl_claim *claim)
{
	printf("claim %s", claim->name);
	if (claim->object_name)
		printf(" (%s)", claim->object_name);
	printf(claim->fault ? ": %s\n" : "\n", claim->fault);
	if (claim->allocated) {
		show_allocated(claim);
		return;
	}
	for (size_t i = 0; i < claim->n; i++) {
		printf("  request %s: ", claim->requests[i].name);
		for (size_t c = 0; c < claim->requests[i].n; c++)
			show_choice(&claim->requests[i].choices[c], c == 0);
		putchar('\n');
	}
	if (claim->constrained && claim->n)
		printf("  its constraints are not evaluated here\n");
}

/* --- machines ------------------------------------------------------------- */

static const char *word_of(enum kubectl_verdict verdict)
{
	static const char *const words[] = {
		[KUBECTL_FITS] = "fits",
		[KUBECTL_LACKS] = "no NUMA node has enough",
		[KUBECTL_TAINTED] = "fenced",
		[KUBECTL_IN_SUM] = "fits only in sum of its NUMA nodes",
		[KUBECTL_NOT_AT_ONCE] = "each request fits alone, but not all at once",
		[KUBECTL_UNKNOWN] = "not known: there are too many ways to try",
	};

	return words[verdict];
}

/* Add a row for each NUMA node, with what each request lacks there. */
static void add_nodes(struct cli_grid *table, const struct kubectl_judged *j,
		      const struct kubectl_wanted *wanted)
{
	for (size_t d = 0; d < j->machine->n_devices; d++) {
		char text[1000] = "";

		for (size_t i = 0; i < wanted->n; i++) {
			char one[600] = "";

			describe_device(&j->machine->devices[d], wanted->requests[i], one,
					sizeof(one));
			if (wanted->n > 1)
				stow_append(text, sizeof(text), "%s%s: ", i ? "; " : "",
					    wanted->requests[i]->name);
			stow_append(text, sizeof(text), "%s", one);
		}
		cli_grid_row(table, (const char *const[]){ "", j->machine->devices[d].name, text });
	}
}

static void show_rest(const struct kubectl_explained *e, size_t from)
{
	size_t counts[KUBECTL_UNKNOWN + 1] = { 0 };
	bool first = true;

	for (size_t i = from; i < e->n; i++)
		counts[e->judged[i].verdict]++;
	printf("and %zu more: ", e->n - from);
	for (int v = KUBECTL_FITS; v <= (int)KUBECTL_UNKNOWN; v++)
		if (counts[v]) {
			printf("%s%zu: %s", first ? "" : "; ", counts[v],
			       word_of((enum kubectl_verdict)v));
			first = false;
		}
	putchar('\n');
}

static void show_machines(const struct kubectl_explained *e)
{
	static const char *const columns[] = { "MACHINE", "NUMA", "WHY", NULL };
	size_t shown = e->n < e->limit ? e->n : e->limit;
	struct cli_grid *table;

	if (!e->n) {
		printf("\nNo machine that it could run on publishes NUMA nodes.\n");
		return;
	}
	putchar('\n');
	table = cli_grid(columns);
	for (size_t i = 0; i < shown; i++) {
		const struct kubectl_judged *j = &e->judged[i];

		cli_grid_row(table,
			     (const char *const[]){
				     j->machine->name, j->device ? j->device->name : "",
				     j->machine->complete ? word_of(j->verdict)
							  : "not all of its slices are there; "
							    "kube-scheduler waits" });
		if (j->verdict != KUBECTL_FITS)
			add_nodes(table, j, e->wanted);
	}
	cli_grid_print(table, stdout);
	if (shown < e->n)
		show_rest(e, shown);
}

void kubectl_explain_show(const struct kubectl_explained *e)
{
	const struct kubectl_pod *pod = e->pod;
	bool refused = pod->reason[0] != '\0';

	printf("pod %s/%s is %s%s%s\n", pod->ns, pod->name, pod->phase[0] ? pod->phase : "new",
	       pod->machine[0] ? ", on " : "", pod->machine);
	if (!pod->n)
		printf("It has no claims, so it waits for no NUMA node.\n");
	for (size_t i = 0; i < pod->n; i++)
		show_claim(&pod->claims[i]);
	if (e->wanted->n)
		show_machines(e);
	if (e->wanted->more)
		printf("It has more requests than this command looks at.\n");
	if (refused)
		printf("\nkube-scheduler: %s\n", pod->reason);
	if (e->n && e->judged[0].verdict == KUBECTL_FITS && refused)
		printf("There are NUMA nodes that fit: something else is in the way, or "
		       "kube-scheduler has not tried again yet.\n");
}

/* --- as JSON -------------------------------------------------------------- */

static json_object *allocated_json(struct json_writer *w, const struct kubectl_claim *claim)
{
	json_object *list = json_object_new_array(), *result;

	for (size_t i = 0; (result = kubectl_claim_result(claim, i)); i++) {
		json_object *o = json_object_new_object();
		json_object *prepared =
			kubectl_claim_condition(claim, result, KUBECTL_DRIVER "/Prepared");
		json_object *in_place =
			kubectl_claim_condition(claim, result, KUBECTL_DRIVER "/InPlace");

		kubectl_put_clean(w, o, "request", stow_kube_text(result, "request"));
		kubectl_put_clean(w, o, "machine", stow_kube_text(result, "pool"));
		kubectl_put_clean(w, o, "numa_node", stow_kube_text(result, "device"));
		kubectl_put_clean(w, o, "prepared", stow_kube_text(prepared, "status"));
		kubectl_put_clean(w, o, "prepared_message", stow_kube_text(prepared, "message"));
		kubectl_put_clean(w, o, "in_place", stow_kube_text(in_place, "status"));
		kubectl_put_clean(w, o, "in_place_message", stow_kube_text(in_place, "message"));
		json_append(w, list, o);
	}
	return list;
}

static json_object *claims_json(struct json_writer *w, const struct kubectl_pod *pod)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < pod->n; i++) {
		const struct kubectl_claim *claim = &pod->claims[i];
		json_object *o = json_object_new_object();

		json_put(w, o, "name", json_object_new_string(claim->name));
		json_put_text(w, o, "object", claim->object_name);
		json_put_text(w, o, "fault", claim->fault);
		json_put(w, o, "allocated", allocated_json(w, claim));
		json_append(w, list, o);
	}
	return list;
}

static json_object *machine_json(struct json_writer *w, const struct kubectl_judged *j,
				 const struct kubectl_wanted *wanted)
{
	json_object *o = json_object_new_object(), *nodes = json_object_new_array();

	json_put(w, o, "name", json_object_new_string(j->machine->name));
	json_put(w, o, "fits", json_object_new_boolean(j->verdict == KUBECTL_FITS));
	json_put(w, o, "why", json_object_new_string(word_of(j->verdict)));
	for (size_t d = 0; d < j->machine->n_devices; d++)
		for (size_t i = 0; i < wanted->n; i++) {
			json_object *node = json_object_new_object();
			char text[600] = "";

			describe_device(&j->machine->devices[d], wanted->requests[i], text,
					sizeof(text));
			json_put(w, node, "name",
				 json_object_new_string(j->machine->devices[d].name));
			json_put(w, node, "request",
				 json_object_new_string(wanted->requests[i]->name));
			json_put(w, node, "why", json_object_new_string(text));
			json_append(w, nodes, node);
		}
	json_put(w, o, "numa_nodes", nodes);
	return o;
}

int kubectl_explain_json(const struct kubectl_explained *e)
{
	json_object *top = json_object_new_object(), *machines = json_object_new_array();
	struct json_writer w = { true };

	json_put(&w, top, "namespace", json_object_new_string(e->pod->ns));
	json_put(&w, top, "pod", json_object_new_string(e->pod->name));
	json_put_text(&w, top, "phase", e->pod->phase);
	json_put_text(&w, top, "machine", e->pod->machine);
	json_put(&w, top, "claims", claims_json(&w, e->pod));
	json_put_text(&w, top, "scheduler", e->pod->reason);
	for (size_t i = 0; i < e->n; i++)
		json_append(&w, machines, machine_json(&w, &e->judged[i], e->wanted));
	json_put(&w, top, "machines", machines);
	return json_print(&w, json_with_version(top));
}
