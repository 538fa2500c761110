// SPDX-License-Identifier: Apache-2.0
/* kubectl numastow where. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/grid.h"
#include "cli/json_writer.h"
#include "cli/kubectl/actual.h"
#include "cli/kubectl/kubectl.h"
#include "cli/kubectl/pod.h"
#include "kube/json.h"

#define CONTAINERS_MAX 128 /* of a pod */

static const struct cli_usage usage = {
	.name = "where",
	.arguments = "pod/NAME",
	.summary = "Show what a pod's containers are promised on which NUMA node, and whether they "
		   "have it",
	.options = KUBECTL_HELP KUBECTL_CLIENT_HELP,
	.words = 1,
};

/* What a container has of one NUMA node. */
struct row {
	const char *container, *claim;
	struct json_object *result; /* of the claim's allocation */
	struct kubectl_amounts amounts;
	const char *state;   /* "in place", "drift" ... */
	const char *message; /* of the agent; "" */
};

struct rows {
	struct row *list;
	size_t n;
};

static const char *const in_place = KUBECTL_DRIVER "/InPlace";
static const char *const prepared = KUBECTL_DRIVER "/Prepared";

/* Set the row's state from the conditions that the agent has written for the share. */
static void read_state(const struct kubectl_claim *claim, struct row *row)
{
	struct json_object *c = kubectl_claim_condition(claim, row->result, prepared);

	row->message = "";
	row->state = "not known";
	if (strcmp(stow_kube_text(c, "status"), "False") == 0) {
		row->state = "refused";
		row->message = stow_kube_text(c, "message");
		return;
	}
	if (c)
		row->state = "prepared";
	c = kubectl_claim_condition(claim, row->result, in_place);
	if (!c)
		return;
	row->state = strcmp(stow_kube_text(c, "status"), "True") == 0 ? "in place" : "drift";
	row->message = stow_kube_text(c, "message");
}

/* Return whether the allocation result belongs to `request`, as a container names it; "" is all
 * requests. A result's request is "a" or, for alternative b of request a, "a/b". */
static bool belongs_to(const char *request, struct json_object *result)
{
	const char *of = stow_kube_text(result, "request");
	size_t len = strlen(request);

	return !request[0] ||
	       (strncmp(of, request, len) == 0 && (of[len] == '\0' || of[len] == '/'));
}

static int add_rows(struct rows *rows, struct json_object *container, struct json_object *named,
		    const struct kubectl_claim *claim)
{
	struct json_object *result;

	for (size_t i = 0; (result = kubectl_claim_result(claim, i)); i++) {
		struct row *row;

		if (!belongs_to(stow_kube_text(named, "request"), result))
			continue;
		row = STOW_APPEND(rows->list, rows->n);
		if (!row)
			return -ENOMEM;
		*row = (struct row){ .container = stow_kube_text(container, "name"),
				     .claim = claim->name,
				     .result = result };
		if (kubectl_amounts_read(stow_kube_at(result, "consumedCapacity"), &row->amounts,
					 NULL) < 0)
			row->amounts.n = 0;
		read_state(claim, row);
	}
	return 0;
}

static int add_container(struct rows *rows, const struct kubectl_pod *pod,
			 struct json_object *container)
{
	size_t n;
	struct json_object *list = stow_kube_list_at(container, "resources.claims", &n);

	for (size_t i = 0; i < n && i < KUBECTL_CLAIMS_MAX; i++) {
		struct json_object *named = json_object_array_get_idx(list, i);

		for (size_t k = 0; k < pod->n; k++)
			if (strcmp(pod->claims[k].name, stow_kube_text(named, "name")) == 0 &&
			    add_rows(rows, container, named, &pod->claims[k]) < 0)
				return -ENOMEM;
	}
	return 0;
}

static int collect(const struct kubectl_pod *pod, struct rows *rows)
{
	static const char *const lists[] = { "spec.initContainers", "spec.containers" };

	for (size_t l = 0; l < STOW_ARRAY_SIZE(lists); l++) {
		size_t n;
		struct json_object *list = stow_kube_list_at(pod->object, lists[l], &n);

		for (size_t i = 0; i < n && i < CONTAINERS_MAX; i++)
			if (add_container(rows, pod, json_object_array_get_idx(list, i)) < 0)
				return -ENOMEM;
	}
	return 0;
}

static void show(const struct kubectl_pod *pod, const struct rows *rows, struct json_object *actual)
{
	static const char *const columns[] = { "CONTAINER", "CLAIM", "REQUEST", "MACHINE", "NUMA",
					       "PROMISED",  "STATE", "MESSAGE", NULL };
	struct cli_grid *table;

	if (!rows->n) {
		printf("No container of pod %s/%s has an allocated NUMA node; `kubectl numastow "
		       "explain` says why.\n",
		       pod->ns, pod->name);
		return;
	}
	table = cli_grid(columns);
	for (size_t i = 0; i < rows->n; i++) {
		const struct row *row = &rows->list[i];
		_cleanup_free_ char *container = kubectl_clean(row->container);
		_cleanup_free_ char *request =
			kubectl_clean(stow_kube_text(row->result, "request"));
		_cleanup_free_ char *machine = kubectl_clean(stow_kube_text(row->result, "pool"));
		_cleanup_free_ char *device = kubectl_clean(stow_kube_text(row->result, "device"));
		_cleanup_free_ char *message = kubectl_clean(row->message);
		char promised[400] = "";

		kubectl_amounts_text(&row->amounts, promised, sizeof(promised));
		cli_grid_row(table,
			     (const char *const[]){ container, row->claim, request, machine, device,
						    promised[0] ? promised : "-", row->state,
						    message && message[0] ? message : "-" });
	}
	cli_grid_print(table, stdout);
	if (!actual)
		printf("The states are those that the machine's agent has written to the claims. "
		       "What the containers use is known to the fleet's scheduler (--scheduler), "
		       "and on the machine: numastow containers\n");
}

static int show_json(const struct kubectl_pod *pod, const struct rows *rows,
		     struct json_object *actual)
{
	json_object *top = json_object_new_object(), *list = json_object_new_array();
	struct json_writer w = { true };

	json_put(&w, top, "namespace", json_object_new_string(pod->ns));
	json_put(&w, top, "pod", json_object_new_string(pod->name));
	for (size_t i = 0; i < rows->n; i++) {
		const struct row *row = &rows->list[i];
		json_object *o = json_object_new_object(), *promised = json_object_new_object();

		kubectl_put_clean(&w, o, "container", row->container);
		kubectl_put_clean(&w, o, "claim", row->claim);
		kubectl_put_clean(&w, o, "request", stow_kube_text(row->result, "request"));
		kubectl_put_clean(&w, o, "machine", stow_kube_text(row->result, "pool"));
		kubectl_put_clean(&w, o, "numa_node", stow_kube_text(row->result, "device"));
		for (size_t a = 0; a < row->amounts.n; a++)
			json_put(&w, promised, row->amounts.list[a].name,
				 json_object_new_uint64(row->amounts.list[a].value));
		json_put(&w, o, "promised", promised);
		json_put(&w, o, "state", json_object_new_string(row->state));
		kubectl_put_clean(&w, o, "message", row->message);
		json_append(&w, list, o);
	}
	json_put(&w, top, "containers", list);
	if (actual)
		json_put(&w, top, "actual", kubectl_actual_json(&w, actual, pod));
	return json_print(&w, json_with_version(top));
}

/* Ask the fleet's scheduler what the pod uses. If it does not answer, print why, and return NULL:
 * the rest is shown without it. */
static struct json_object *ask_scheduler(const struct kubectl_client *client,
					 const struct kubectl_pod *pod)
{
	struct json_object *answer = NULL;
	struct stow_err err;

	/* A name that begins with a hyphen would be an option of the program that asks. */
	if (pod->machine[0] && pod->machine[0] != '-' &&
	    kubectl_actual_read(client, pod, &answer, &err) < 0)
		fprintf(stderr, "numastow: %s\n", err.msg);
	return answer;
}

static int where(struct stow_kube *kube, const struct kubectl_options *o,
		 const struct kubectl_client *client, const char *word, struct stow_err *err)
{
	_cleanup_free_ struct kubectl_pod *pod = calloc(1, sizeof(*pod));
	struct json_object *actual = NULL;
	struct rows rows = { 0 };
	int r;

	if (!pod)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = kubectl_pod_read(kube, kubectl_namespace(o, kube), word, pod, err);
	if (r == 0)
		actual = ask_scheduler(client, pod);
	if (r == 0 && (collect(pod, &rows) < 0 || (o->json && show_json(pod, &rows, actual) < 0)))
		r = stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0 && !o->json)
		show(pod, &rows, actual);
	if (r == 0 && !o->json && actual)
		kubectl_actual_show(actual, pod);
	json_object_put(actual);
	free(rows.list);
	kubectl_pod_done(pod);
	return r;
}

int kubectl_where(int argc, char **argv)
{
	struct kubectl_options o = { 0 };
	struct kubectl_client client = { 0 };
	const struct cli_option options[] = { KUBECTL_OPTIONS(&o),
					      KUBECTL_CLIENT_OPTIONS(&client),
					      { 0 } };
	struct stow_kube *kube = NULL;
	struct stow_err err = { 0 };
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	if (optind == argc)
		return cli_wrong_usage(usage.name, "where needs pod/NAME");
	r = kubectl_connect(&o, &kube, &err);
	if (r == 0)
		r = where(kube, &o, &client, argv[optind], &err);
	stow_kube_free(kube);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}
