// SPDX-License-Identifier: Apache-2.0
/* numastow place, release --cluster, explain --cluster. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/fleet/fleet.h"

#define AT(field) offsetof(struct fleet_options, field)
#define S	  STOW_SECOND

static const char *const strategies[] = { "default", "tight", "spread", NULL };

/* clang-format off */
#define TEXT(name, field, arg, help) \
	{ name, STOW_SETTING_TEXT, AT(field), 0, 0, NULL, arg, help }
#define POD_SETTINGS \
	TEXT("file", file, "FILE", "read annotations from a JSON file; - for standard input"), \
	TEXT("name", name, "NAME", "name of the pod, for display"), \
	TEXT("namespace", ns, "NAME", "namespace of the pod"), \
	TEXT("node", node, "NODE", "place on this machine only"), \
	{ "pods", STOW_SETTING_NUMBER, AT(pods), 1, 1000, NULL, "N", \
	  "place the same pod N times, all or none (1)" }, \
	{ "strategy", STOW_SETTING_WORD, AT(strategy), 0, 0, strategies, "WORD", \
	  "tight: the fullest machine that fits; spread: the emptiest" }
/* clang-format on */

static const struct stow_setting place_settings[] = {
	POD_SETTINGS,
	{ "lifetime", STOW_SETTING_DURATION, AT(lifetime), S, 24 * 3600 * S, NULL, "TIME",
	  "when the reservation expires if no container uses it" },
	{ "request-id", STOW_SETTING_TEXT, AT(request_id), 0, 0, NULL, "ID",
	  "a repeated call with the same id gets the same answer" },
	{ "confirmed", STOW_SETTING_SWITCH, AT(confirmed), 0, 0, NULL, NULL,
	  "wait until the machine holds the reservation" },
	{ "annotation", STOW_SETTING_SWITCH, AT(annotation), 0, 0, NULL, NULL,
	  "print only numastow.io/reservation=VALUE, one line for each pod" },
	{ 0 },
};

/* numastow(1) runs release and explain here only with --cluster; without it they are local. */
#define CLUSTER_SETTING                                                        \
	{                                                                      \
		"cluster", STOW_SETTING_SWITCH, AT(cluster), 0, 0, NULL, NULL, \
			"ask the scheduler, not this machine"                  \
	}

static const struct stow_setting release_settings[] = { CLUSTER_SETTING, { 0 } };

static const struct stow_setting explain_settings[] = {
	CLUSTER_SETTING,
	POD_SETTINGS,
	{ "limit", STOW_SETTING_NUMBER, AT(limit), 1, 100000, NULL, "N",
	  "machines to show, the nearest to fitting first (100)" },
	{ 0 },
};

static void show_placement(const PbReservation *r)
{
	char left[24];

	printf("node        %s\n", r->node);
	printf("NUMA nodes  %s\n", r->numa_nodes);
	if (*r->reason)
		printf("reason      %s\n", r->reason);
	if (*r->annotation)
		printf("annotation  numastow.io/reservation=%s\n", r->annotation);
	if (r->expires)
		printf("expires     in %s, unless a container uses it\n",
		       fleet_left(r, left, sizeof(left)));
}

static void show_placements(PbReservation *const *reservations, size_t n, bool annotation)
{
	for (size_t i = 0; i < n; i++) {
		if (annotation) {
			printf("numastow.io/reservation=%s\n", reservations[i]->annotation);
			continue;
		}
		if (i)
			putchar('\n');
		show_placement(reservations[i]);
	}
}

static int run_place(struct fleet *fleet, struct stow_err *err)
{
	const struct fleet_options *o = fleet->options;
	PbPlaceRequest request = PB_PLACE_REQUEST__INIT;
	PbPlaceResponse *response = NULL;
	int r;

	r = fleet_pods(o, &request.pods, &request.n_pods, err);
	if (r == -EINVAL)
		r = cli_wrong_usage("place", "%s", err->msg);
	request.strategy = (PbStrategy)o->strategy;
	request.lifetime = o->lifetime;
	request.confirmed = o->confirmed;
	if (o->request_id)
		request.request_id = o->request_id;
	if (r == 0)
		r = fleet_call(fleet, "Place", &request, &response, err);
	if (r == 0 && o->json)
		cli_message_print(response);
	else if (r == 0)
		show_placements(response->reservations, response->n_reservations, o->annotation);
	stow_rpc_message_free(response);
	fleet_pods_free(request.pods, request.n_pods);
	return r;
}

static int run_release(struct fleet *fleet, struct stow_err *err)
{
	PbReleaseRequest request = PB_RELEASE_REQUEST__INIT;
	PbReleaseResponse *response = NULL;
	char *ids[256];
	int r;

	/* Accept the annotation instead of the id. */
	for (size_t i = 0; i < fleet->options->n_words; i++) {
		const char *word = fleet->options->words[i];
		const char *prefix = "numastow.io/reservation=";

		if (strncmp(word, prefix, strlen(prefix)) == 0)
			word += strlen(prefix);
		ids[i] = (char *)word;
		ids[i][strcspn(word, ":")] = '\0';
	}
	request.ids = ids;
	request.n_ids = fleet->options->n_words;
	r = fleet_call(fleet, "Release", &request, &response, err);
	if (r < 0)
		return r;
	if (fleet->options->json)
		cli_message_print(response);
	else if (response->released == request.n_ids)
		printf("released %" PRIu32 "\n", response->released);
	else
		printf("released %" PRIu32 "; the other %zu did not exist\n", response->released,
		       request.n_ids - response->released);
	stow_rpc_message_free(response);
	return CLI_OK;
}

static void show_explanation(const PbExplainResponse *response)
{
	static const char *const columns[] = { "NODE", "FITS", "NUMA", "REASON", NULL };
	struct cli_grid *table;

	if (response->fits)
		show_placements(response->reservations, response->n_reservations, false);
	else
		printf("no room     %s\n", response->reason);
	printf("machines    %" PRIu32 " of %" PRIu32 " fit\n", response->fitting,
	       response->considered);
	if (!response->n_nodes)
		return;
	putchar('\n');
	table = cli_grid(columns);
	for (size_t i = 0; i < response->n_nodes; i++) {
		const PbNodeVerdict *v = response->nodes[i];

		cli_grid_row(table, (const char *const[]){ v->node, v->fits ? "yes" : "no",
							   *v->numa_nodes ? v->numa_nodes : "-",
							   v->reason });
	}
	cli_grid_print(table, stdout);
}

static int run_explain(struct fleet *fleet, struct stow_err *err)
{
	const struct fleet_options *o = fleet->options;
	PbExplainRequest request = PB_EXPLAIN_REQUEST__INIT;
	PbExplainResponse *response = NULL;
	int r;

	r = fleet_pods(o, &request.pods, &request.n_pods, err);
	if (r == -EINVAL)
		r = cli_wrong_usage("explain", "%s", err->msg);
	request.strategy = (PbStrategy)o->strategy;
	request.limit = (uint32_t)o->limit;
	if (r == 0)
		r = fleet_call(fleet, "Explain", &request, &response, err);
	if (r == 0) {
		if (o->json)
			cli_message_print(response);
		else
			show_explanation(response);
		r = response->fits ? CLI_OK : CLI_NOT_FIT;
	}
	stow_rpc_message_free(response);
	fleet_pods_free(request.pods, request.n_pods);
	return r;
}

const struct fleet_command fleet_place = {
	.name = "place",
	.arguments = "[OPTION...] KEY=VALUE... [+ KEY=VALUE...]...",
	.summary = "Reserve room for a pod in the fleet, or for a group of pods, all or none",
	.settings = place_settings,
	.max_words = SIZE_MAX,
	.places = true,
	.run = run_place,
};

const struct fleet_command fleet_release = {
	.name = "release",
	.arguments = "--cluster RESERVATION...",
	.summary = "Release reservations that no container uses",
	.settings = release_settings,
	.min_words = 1,
	.max_words = 256,
	.run = run_release,
};

const struct fleet_command fleet_explain = {
	.name = "explain",
	.reads = true,
	.arguments = "--cluster [OPTION...] KEY=VALUE... [+ KEY=VALUE...]...",
	.summary = "Show where the scheduler would place pods, with a reason for each machine",
	.settings = explain_settings,
	.max_words = SIZE_MAX,
	.run = run_explain,
};
