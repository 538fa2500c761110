// SPDX-License-Identifier: Apache-2.0
/* numastow nodes, node, containers, reservations. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "cli/fleet/fleet.h"

/* --- a machine in one line ------------------------------------------------ */

struct sums {
	uint64_t cpus_free, cpus;
	uint64_t memory_free, memory, pages_free, pages; /* bytes; `pages` are hugepages */
};

static void add(struct sums *sums, const PbNumaNode *numa)
{
	sums->cpus_free += numa->cpus_free;
	sums->cpus += numa->cpus_total;
	sums->memory_free += numa->memory_allocatable;
	sums->memory += numa->memory_total;
	for (size_t i = 0; i < numa->n_hugepages; i++) {
		const PbHugepagePool *pool = numa->hugepages[i];

		sums->pages_free += pool->allocatable * pool->page_size;
		sums->pages += pool->total * pool->page_size;
	}
}

/* Format "3/8". */
static const char *of(uint64_t part, uint64_t whole, char *buf, size_t size)
{
	snprintf(buf, size, "%" PRIu64 "/%" PRIu64, part, whole);
	return buf;
}

/* Format a time that has passed; `since`, a moment by the scheduler's clock, is for schedulers that
 * do not tell how long ago it was. */
static const char *passed(uint64_t ns, uint64_t since, char *buf, size_t size)
{
	if (!ns && !since)
		return "-";
	return cli_format_span(ns ? ns : stow_clock_elapsed(since, stow_clock_wall()), false, buf,
			       size);
}

const char *fleet_left(const PbReservation *r, char *buf, size_t size)
{
	uint64_t ns = r->lifetime;

	if (!ns && !r->expires)
		return "-";
	if (!ns) /* of an older scheduler, by its clock */
		ns = stow_clock_elapsed(stow_clock_wall(), r->expires);
	return cli_format_span(ns, true, buf, size);
}

static const char *bytes_of(const struct stow_grid_style *style, uint64_t part, uint64_t whole,
			    char *buf, size_t size)
{
	char a[32], b[32];

	if (!whole)
		snprintf(buf, size, "-");
	else
		snprintf(buf, size, "%s/%s", stow_grid_size(style, part, a, sizeof(a)),
			 stow_grid_size(style, whole, b, sizeof(b)));
	return buf;
}

static const char *or_dash(const char *text)
{
	return text && *text ? text : "-";
}

/* A machine on which nothing may be placed is not ready, even if its agent is healthy. */
static const char *state_of(const PbNode *node, char *buf, size_t size)
{
	PbMode mode = node->report->mode;

	if (node->state == PB_NODE_STATE_READY &&
	    (mode == PB_MODE_OBSERVE || mode == PB_MODE_DISABLED)) {
		snprintf(buf, size, "not-ready");
		return buf;
	}
	return cli_message_word(&pb_node_state__descriptor, (int)node->state, buf, size);
}

static const char *const node_columns[] = { "NODE",	   "STATE",	"MODE",	      ">NUMA",
					    ">CPUS",	   ">MEMORY",	">HUGEPAGES", "FENCED",
					    ">CONTAINERS", ">RESERVED", ">SEEN",      NULL };

int fleet_show_nodes(PbNode *const *nodes, size_t n, const struct stow_grid_style *style,
		     struct stow_err *err)
{
	struct cli_grid *table = cli_grid(node_columns);

	for (size_t i = 0; i < n; i++) {
		const PbNodeReport *report = nodes[i]->report;
		struct sums sums = { 0 };
		char state[32], mode[32], numa[16], cpus[48], memory[80], pages[80], containers[24],
			reserved[24], seen[24];

		for (size_t j = 0; j < report->n_numa_nodes; j++)
			add(&sums, report->numa_nodes[j]);
		snprintf(numa, sizeof(numa), "%zu", report->n_numa_nodes);
		snprintf(containers, sizeof(containers), "%zu", report->n_containers);
		snprintf(reserved, sizeof(reserved), "%zu", nodes[i]->n_reservations);
		cli_grid_row(table, (const char *const[]){
					    report->name, state_of(nodes[i], state, sizeof(state)),
					    cli_message_word(&pb_mode__descriptor,
							     (int)report->mode, mode, sizeof(mode)),
					    numa, of(sums.cpus_free, sums.cpus, cpus, sizeof(cpus)),
					    bytes_of(style, sums.memory_free, sums.memory, memory,
						     sizeof(memory)),
					    bytes_of(style, sums.pages_free, sums.pages, pages,
						     sizeof(pages)),
					    or_dash(nodes[i]->fenced), containers, reserved,
					    passed(nodes[i]->silent_for, nodes[i]->last_seen, seen,
						   sizeof(seen)) });
	}
	return cli_grid_print_as(table, style, stdout, err);
}

/* --- a machine as a whole ------------------------------------------------- */

static void show_numa_nodes(const PbNodeReport *report)
{
	static const char *const columns[] = { ">NUMA",	     "STATE",	   ">CPUS",
					       "SHARED",     ">EXCLUSIVE", ">MEMORY",
					       ">AVAILABLE", ">HUGEPAGES", NULL };
	struct cli_grid *table = cli_grid(columns);

	for (size_t i = 0; i < report->n_numa_nodes; i++) {
		const PbNumaNode *numa = report->numa_nodes[i];
		struct sums sums = { 0 };
		char id[16], state[32], cpus[48], exclusive[16], memory[80], available[32],
			pages[80];

		add(&sums, numa);
		snprintf(id, sizeof(id), "%" PRIu32, numa->id);
		snprintf(exclusive, sizeof(exclusive), "%" PRIu32, numa->cpus_exclusive);
		cli_grid_row(table,
			     (const char *const[]){
				     id,
				     cli_message_word(&pb_numa_node_state__descriptor,
						      (int)numa->state, state, sizeof(state)),
				     of(sums.cpus_free, sums.cpus, cpus, sizeof(cpus)),
				     or_dash(numa->cpus_shared), exclusive,
				     bytes_of(NULL, sums.memory_free, sums.memory, memory,
					      sizeof(memory)),
				     stow_format_size(numa->memory_available, available,
						      sizeof(available)),
				     bytes_of(NULL, sums.pages_free, sums.pages, pages,
					      sizeof(pages)) });
	}
	cli_grid_print(table, stdout);
}

/* What a container was promised on all its NUMA nodes, and what it uses there; bytes. */
struct container_sums {
	uint64_t promised, used, pages_promised;
};

static void sum_parts(const PbContainer *container, struct container_sums *sums)
{
	for (size_t i = 0; i < container->n_parts; i++) {
		const PbContainerPart *part = container->parts[i];

		sums->promised += part->memory_promised;
		sums->used += part->memory_actual;
		for (size_t j = 0; j < part->n_hugepages; j++)
			sums->pages_promised +=
				part->hugepages[j]->pages * part->hugepages[j]->page_size;
	}
}

static const char *const container_columns[] = { "CONTAINER",  "NAME",	"STATE",      "OWNER",
						 "CPUS",       "NUMA",	">MEMORY",    ">USED",
						 ">HUGEPAGES", "DRIFT", "+NAMESPACE", "+POD",
						 NULL };

static int show_containers(PbContainer *const *containers, size_t n,
			   const struct stow_grid_style *style, struct stow_err *err)
{
	struct cli_grid *table = cli_grid(container_columns);

	for (size_t i = 0; i < n; i++) {
		const PbContainer *c = containers[i];
		struct container_sums sums = { 0 };
		char id[72], state[32], owner[32], cpus[80], memory[32], used[32], pages[32],
			drift[32];

		sum_parts(c, &sums);
		snprintf(cpus, sizeof(cpus), "%.70s%s", or_dash(c->cpus), c->exclusive ? "!" : "");
		cli_grid_row(
			table,
			(const char *const[]){
				cli_short_id(c->id, id, sizeof(id)), or_dash(c->name),
				cli_message_word(&pb_container_state__descriptor, (int)c->state,
						 state, sizeof(state)),
				cli_message_word(&pb_container_owner__descriptor, (int)c->owner,
						 owner, sizeof(owner)),
				cpus, or_dash(c->numa_nodes),
				stow_grid_size(style, sums.promised, memory, sizeof(memory)),
				stow_grid_size(style, sums.used, used, sizeof(used)),
				stow_grid_size(style, sums.pages_promised, pages, sizeof(pages)),
				cli_message_word(&pb_drift__descriptor, (int)c->drift, drift,
						 sizeof(drift)),
				or_dash(c->namespace_), or_dash(c->pod) });
	}
	return cli_grid_print_as(table, style, stdout, err);
}

static const char *const reservation_columns[] = { "RESERVATION", "NODE",	"NUMA",
						   "STATE",	  "POD",	"CONTAINER",
						   ">LEFT",	  "+NAMESPACE", NULL };

static int show_reservations(PbReservation *const *reservations, size_t n,
			     const struct stow_grid_style *style, struct stow_err *err)
{
	struct cli_grid *table = cli_grid(reservation_columns);

	for (size_t i = 0; i < n; i++) {
		const PbReservation *r = reservations[i];
		char state[32], left[24], id[72];

		cli_grid_row(table, (const char *const[]){
					    r->id, r->node, or_dash(r->numa_nodes),
					    cli_message_word(&pb_reservation_state__descriptor,
							     (int)r->state, state, sizeof(state)),
					    or_dash(r->pod ? r->pod->name : NULL),
					    or_dash(cli_short_id(r->container, id, sizeof(id))),
					    fleet_left(r, left, sizeof(left)),
					    or_dash(r->pod ? r->pod->namespace_ : NULL) });
	}
	return cli_grid_print_as(table, style, stdout, err);
}

static void show_report(const PbNodeReport *report)
{
	char mode[32];

	printf("node     %s\nversion  %s\nmode     %s\n", report->name, or_dash(report->version),
	       cli_message_word(&pb_mode__descriptor, (int)report->mode, mode, sizeof(mode)));
	if (*report->failure_domain)
		printf("domain   %s\n", report->failure_domain);
	putchar('\n');
	show_numa_nodes(report);
	if (report->n_containers) {
		putchar('\n');
		(void)show_containers(report->containers, report->n_containers, NULL, NULL);
		printf("(! exclusive CPUs)\n");
	}
}

static void show_node(const PbNode *node)
{
	char state[32], seen[24];

	printf("state    %s", state_of(node, state, sizeof(state)));
	if (node->last_seen)
		printf(", seen %s ago",
		       passed(node->silent_for, node->last_seen, seen, sizeof(seen)));
	putchar('\n');
	if (*node->fenced)
		printf("fenced   NUMA nodes %s\n", node->fenced);
	show_report(node->report);
	if (node->n_reservations) {
		printf("\nReservations:\n");
		(void)show_reservations(node->reservations, node->n_reservations, NULL, NULL);
	}
}

/* --- the commands --------------------------------------------------------- */

static void show_leader(const PbLeader *leader)
{
	char since[24];

	printf("\nleader %s, for %s, store %s", leader->name,
	       passed(leader->active_for, leader->since, since, sizeof(since)), leader->store);
	if (strncmp(leader->store, "etcd:", 5) == 0 && !leader->n_standbys)
		printf(", no standby");
	for (size_t i = 0; i < leader->n_standbys; i++) {
		const PbStandby *standby = leader->standbys[i];

		printf("%s %s", i ? "," : ", standby", standby->name);
		if (standby->lag >= STOW_SECOND)
			printf(" (%" PRIu64 " s behind)", standby->lag / STOW_SECOND);
	}
	putchar('\n');
}

static int list_nodes(const PbListNodesResponse *response, const struct stow_grid_style *style,
		      struct stow_err *err)
{
	int r = fleet_show_nodes(response->nodes, response->n_nodes, style, err);

	if (r < 0 || stow_grid_for_programs(style))
		return r;
	if (!response->n_nodes)
		printf("No machine reports to this scheduler.\n");
	if (response->leader)
		show_leader(response->leader);
	return 0;
}

/* Print an error for each machine that was asked for and is not in the answer. Return the exit
 * code. */
static int print_missing(const PbListNodesRequest *asked, const PbListNodesResponse *response)
{
	int code = CLI_OK;

	for (size_t i = 0; i < asked->n_names; i++) {
		struct stow_err err;
		size_t j = 0;

		while (j < response->n_nodes &&
		       strcmp(response->nodes[j]->report->name, asked->names[i]) != 0)
			j++;
		if (j < response->n_nodes)
			continue;
		stow_err_set(&err, ENOENT, "no node \"%.128s\" reports to this scheduler",
			     asked->names[i]);
		(void)cli_fail(&err);
		code = response->n_nodes ? CLI_PARTIAL : CLI_FAILED;
	}
	return code;
}

static int run_nodes(struct fleet *fleet, struct stow_err *err)
{
	PbListNodesRequest request = PB_LIST_NODES_REQUEST__INIT;
	PbListNodesResponse *response = NULL;
	int r;

	request.names = (char **)fleet->options->words;
	request.n_names = fleet->options->n_words;
	request.containers = true;
	r = fleet_call_pages(fleet, "ListNodes", &request, &request.page_token, &response, err);
	if (r < 0)
		return r;
	if (fleet->options->json)
		cli_message_print(response);
	else if (response->n_nodes || !request.n_names)
		r = list_nodes(response, &fleet->options->style, err);
	r = r < 0 ? cli_table_printed("nodes", r, err) : print_missing(&request, response);
	stow_rpc_message_free(response);
	return r;
}

/* Show this machine, by its agent. */
static int run_here(struct fleet *fleet, struct stow_err *err)
{
	PbGetNodeRequest request = PB_GET_NODE_REQUEST__INIT;
	PbNode node = PB_NODE__INIT; /* what only a scheduler knows is unknown */
	PbNodeReport *report = NULL;
	int r = fleet_call(fleet, "GetNode", &request, &report, err);

	if (r < 0)
		return r;
	node.report = report;
	if (fleet->options->json)
		cli_message_print(&node);
	else
		show_report(report);
	stow_rpc_message_free(report);
	return CLI_OK;
}

static int run_node(struct fleet *fleet, struct stow_err *err)
{
	PbListNodesRequest request = PB_LIST_NODES_REQUEST__INIT;
	PbListNodesResponse *response = NULL;
	int r;

	if (!fleet->options->n_words)
		return run_here(fleet, err);
	request.names = (char **)fleet->options->words;
	request.n_names = 1;
	request.containers = true;
	r = fleet_call_pages(fleet, "ListNodes", &request, &request.page_token, &response, err);
	if (r < 0)
		return r;
	if (!response->n_nodes)
		r = print_missing(&request, response);
	else if (fleet->options->json)
		cli_message_print(response->nodes[0]);
	else
		show_node(response->nodes[0]);
	stow_rpc_message_free(response);
	return r;
}

static enum fleet_peer peer_of_node(const struct fleet_options *options)
{
	return options->n_words ? FLEET_SCHEDULER : FLEET_AGENT;
}

static int list_containers(struct fleet *fleet, PbListContainersRequest *request,
			   struct stow_err *err)
{
	const struct stow_grid_style *style = &fleet->options->style;
	PbListContainersResponse *response = NULL;
	int r = fleet_call_pages(fleet, "ListContainers", request, &request->page_token, &response,
				 err);

	if (r < 0)
		return r;
	if (request->n_ids && !response->n_containers)
		r = stow_err_set(err, ENOENT, "no container \"%.128s\" has a grant on this machine",
				 request->ids[0]);
	else if (fleet->options->json)
		cli_message_print(response);
	else
		r = show_containers(response->containers, response->n_containers, style, err);
	if (r == 0 && !fleet->options->json && !response->n_containers &&
	    !stow_grid_for_programs(style))
		printf("No container has a grant on this machine.\n");
	stow_rpc_message_free(response);
	return cli_table_printed("containers", r, err);
}

static int run_containers(struct fleet *fleet, struct stow_err *err)
{
	PbListContainersRequest request = PB_LIST_CONTAINERS_REQUEST__INIT;
	const char **ids = fleet->options->words;
	int r = 0;

	/* With --last, words[0] is NULL, for which fleet_container_id() finds the last container. */
	request.n_ids = fleet->options->last ? 1 : fleet->options->n_words;
	request.ids = calloc(request.n_ids + 1, sizeof(*request.ids));
	if (!request.ids)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < request.n_ids; i++)
		r = fleet_container_id(fleet, ids[i], &request.ids[i], err);
	if (r == 0)
		r = list_containers(fleet, &request, err);
	for (size_t i = 0; i < request.n_ids; i++)
		free(request.ids[i]);
	free(request.ids);
	return r;
}

static int by_expiry(const void *a, const void *b)
{
	const PbReservation *const *x = a, *const *y = b;

	if ((*x)->expires != (*y)->expires)
		return (*x)->expires < (*y)->expires ? -1 : 1;
	return strcmp((*x)->id, (*y)->id);
}

static int run_reservations(struct fleet *fleet, struct stow_err *err)
{
	const struct stow_grid_style *style = &fleet->options->style;
	PbListReservationsRequest request = PB_LIST_RESERVATIONS_REQUEST__INIT;
	PbListReservationsResponse *response = NULL;
	int r;

	if (fleet->options->n_words)
		request.node = (char *)fleet->options->words[0];
	r = fleet_call_pages(fleet, "ListReservations", &request, &request.page_token, &response,
			     err);
	if (r < 0)
		return r;
	if (response->n_reservations)
		qsort(response->reservations, response->n_reservations,
		      sizeof(*response->reservations), by_expiry);
	if (fleet->options->json)
		cli_message_print(response);
	else
		r = show_reservations(response->reservations, response->n_reservations, style, err);
	if (r == 0 && !fleet->options->json && !response->n_reservations &&
	    !stow_grid_for_programs(style))
		printf("There are no reservations.\n");
	stow_rpc_message_free(response);
	return cli_table_printed("reservations", r, err);
}

static const struct stow_setting containers_settings[] = {
	{ "last", STOW_SETTING_SWITCH, offsetof(struct fleet_options, last), 0, 0, NULL, NULL,
	  "only the container that got its grant last" },
	{ 0 },
};

const struct fleet_command fleet_nodes = {
	.name = "nodes",
	.table = true,
	.reads = true,
	.columns = node_columns,
	.arguments = "[NODE...]",
	.summary = "Show what the fleet's machines have, and what is available",
	.max_words = SIZE_MAX,
	.run = run_nodes,
};

const struct fleet_command fleet_node = {
	.name = "node",
	.reads = true,
	.arguments = "[NODE]",
	.summary = "Show one machine of the fleet, or this machine as its agent knows it",
	.max_words = 1,
	.run = run_node,
	.choose_peer = peer_of_node,
};

const struct fleet_command fleet_containers = {
	.name = "containers",
	.table = true,
	.reads = true,
	.columns = container_columns,
	.arguments = "[--last | ID...]",
	.summary = "Show this machine's containers: what is promised to them, and what they use",
	.settings = containers_settings,
	.max_words = SIZE_MAX,
	.peer = FLEET_AGENT,
	.run = run_containers,
};

const struct fleet_command fleet_reservations = {
	.name = "reservations",
	.table = true,
	.reads = true,
	.columns = reservation_columns,
	.arguments = "[NODE]",
	.summary = "Show reservations, and their containers",
	.max_words = 1,
	.run = run_reservations,
};
