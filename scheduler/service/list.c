// SPDX-License-Identifier: Apache-2.0
/* ListNodes, ListReservations, and how a machine is shown. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "scheduler/fleet/message.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/scheduler.h"

/* What of a machine's containers is shown: a machine is never larger than a message. */
#define CONTAINER_BYTES (2U << 20)

static PbNodeReport *report_of(const struct stow_machine *machine, bool containers)
{
	PbNodeReport *report;
	uint8_t *bytes;
	size_t len;

	bytes = stow_machine_report(machine, containers ? CONTAINER_BYTES : 0, &len);
	report = bytes ? pb_node_report__unpack(NULL, len, bytes) : NULL;
	free(bytes);
	if (!report) { /* nothing yet, or no memory */
		report = malloc(sizeof(*report));
		if (!report)
			return NULL;
		pb_node_report__init(report);
	}
	if (!report->name[0])
		report->name = strdup(machine->name);
	return report;
}

PbNode *scheduler_show(const struct stow_machine *machine, bool containers)
{
	PbNode *out = malloc(sizeof(*out));
	char fenced[STOW_IDSET_MAX];

	if (!out)
		return NULL;
	pb_node__init(out);
	out->report = report_of(machine, containers);
	out->state = machine->n_numa == 0 ? PB_NODE_STATE_UNKNOWN
		     : machine->stale	  ? PB_NODE_STATE_STALE
					  : PB_NODE_STATE_READY;
	out->last_seen = machine->last_seen;
	if (machine->fenced)
		out->fenced = strdup(stow_idset_format(machine->fenced, fenced, sizeof(fenced)));
	out->reservations = calloc(machine->n_reservations + 1, sizeof(*out->reservations));
	for (const struct stow_reservation *r = machine->reservations; out->reservations && r;
	     r = r->next) {
		PbReservation *copy = r->counted ? NULL : stow_message_copy(&r->message->base);

		if (copy)
			out->reservations[out->n_reservations++] = copy;
	}
	if (!out->report || !out->fenced || !out->reservations) {
		stow_rpc_message_free(out);
		return NULL;
	}
	return out;
}

/* --- pages -------------------------------------------------------------------------------------- */

#define PAGE_BYTES (2U << 20) /* of an answer; a message has at most 4 MiB */
#define AT_ONCE	   64	      /* machines with one hold of the lock */
#define NAMES_MAX  1024

/* The machines in question, by name. They stay as long as the reader is counted, and so do their
 * names: they are sorted without the lock. */
struct machines {
	struct stow_machine **list;
	size_t n;
};

static int by_name(const void *a, const void *b)
{
	const struct stow_machine *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static bool named(char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return n == 0;
}

/* Those from `first` on. Takes the lock; machines_done() in any case. */
static int machines_find(struct scheduler *s, char *const *names, size_t n_names, const char *first,
			 struct machines *ret, struct stow_err *err)
{
	struct stow_fleet *fleet = s->fleet;

	ret->n = 0;
	stow_lock_take(&fleet->lock);
	fleet->readers++;
	ret->list = calloc(fleet->n_machines + 1, sizeof(*ret->list));
	if (n_names) {
		for (size_t i = 0; ret->list && i < n_names && ret->n < fleet->n_machines; i++) {
			struct stow_machine *m = stow_fleet_find(fleet, names[i]);

			bool again = i && named(names, i, names[i]);

			if (m && !again && strcmp(m->name, first) >= 0)
				ret->list[ret->n++] = m;
		}
	} else {
		for (uint32_t m = 0; ret->list && m < fleet->n_machines; m++)
			if (strcmp(fleet->machines[m]->name, first) >= 0)
				ret->list[ret->n++] = fleet->machines[m];
	}
	stow_lock_give(&fleet->lock);
	if (!ret->list)
		return stow_err_set(err, ENOMEM, "out of memory");
	qsort(ret->list, ret->n, sizeof(*ret->list), by_name);
	return 0;
}

static void machines_done(struct scheduler *s, struct machines *m)
{
	stow_lock_take(&s->fleet->lock);
	s->fleet->readers--;
	stow_lock_give(&s->fleet->lock);
	free(m->list);
}

static int check_names(char *const *names, size_t n, struct stow_err *err)
{
	if (n > NAMES_MAX)
		return stow_err_set(err, EINVAL, "names: %zu; at most %d", n, NAMES_MAX);
	for (size_t i = 0; i < n; i++)
		if (stow_machine_name_check(names[i], err) < 0)
			return stow_err_wrap(err, -EINVAL, "names");
	return 0;
}

static void show_leader(struct scheduler *s, PbLeader *ret, char *store, size_t size)
{
	if (s->config.store)
		snprintf(store, size, "%s", s->config.store);
	else
		snprintf(store, size, "sqlite:%s", s->config.data);
	ret->name = s->name;
	ret->since = s->since;
	ret->store = store;
}

int scheduler_list_nodes(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
			 struct stow_err *err)
{
	const PbListNodesRequest *in = request;
	PbListNodesResponse out = PB_LIST_NODES_RESPONSE__INIT;
	PbLeader leader = PB_LEADER__INIT;
	char store[4200];
	size_t most = in->page_size ? in->page_size : SIZE_MAX, bytes = 0;
	struct machines machines;
	struct scheduler *s = ctx;
	int r;

	r = check_names(in->names, in->n_names, err);
	if (r == 0 && in->page_token[0] && stow_machine_name_check(in->page_token, err) < 0)
		r = stow_err_wrap(err, -EINVAL, "page_token");
	if (r < 0)
		return r;
	r = machines_find(s, in->names, in->n_names, in->page_token, &machines, err);
	out.nodes = r == 0 ? calloc(machines.n + 1, sizeof(*out.nodes)) : NULL;
	if (r == 0 && !out.nodes)
		r = stow_err_set(err, ENOMEM, "out of memory");
	stow_lock_take(&s->fleet->lock);
	for (size_t i = 0; r == 0 && i < machines.n; i++) {
		PbNode *node = NULL;

		if (i % AT_ONCE == AT_ONCE - 1)
			stow_lock_yield(&s->fleet->lock);
		if (out.n_nodes < most)
			node = scheduler_show(machines.list[i], in->containers);
		if (out.n_nodes < most && !node) {
			r = stow_err_set(err, ENOMEM, "out of memory");
			break;
		}
		bytes += node ? pb_node__get_packed_size(node) : 0;
		if (!node || (out.n_nodes && bytes > PAGE_BYTES)) {
			stow_rpc_message_free(node);
			out.next_page_token = machines.list[i]->name;
			break;
		}
		out.nodes[out.n_nodes++] = node;
	}
	stow_lock_give(&s->fleet->lock);
	show_leader(s, &leader, store, sizeof(store));
	out.leader = &leader;
	if (r == 0)
		stow_rpc_reply(call, &out, NULL);
	machines_done(s, &machines);
	for (size_t i = 0; i < out.n_nodes; i++)
		stow_rpc_message_free(out.nodes[i]);
	free(out.nodes);
	return r < 0 ? r : STOW_RPC_LATER;
}

/* --- reservations ------------------------------------------------------------------------------- */

struct page {
	PbListReservationsResponse out;
	size_t most, bytes, room;
	char token[300]; /* "NODE/ID": the first of the next page */
};

static int by_id(const void *a, const void *b)
{
	const struct stow_reservation *const *x = a, *const *y = b;

	return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

static int add(struct page *page, const struct stow_reservation *r)
{
	PbReservation *copy;

	if (page->out.n_reservations == page->room) {
		size_t room = page->room ? page->room * 2 : 64;
		PbReservation **more = reallocarray(page->out.reservations, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		page->out.reservations = more;
		page->room = room;
	}
	copy = stow_message_copy(&r->message->base);
	if (!copy)
		return -ENOMEM;
	page->out.reservations[page->out.n_reservations++] = copy;
	return 0;
}

/* Those of one machine, from an id on. 1: the page is full. */
static int add_machine(struct page *page, const struct stow_machine *machine, uint64_t from)
{
	_cleanup_free_ const struct stow_reservation **list =
		calloc(machine->n_reservations + 1, sizeof(*list));
	size_t n = 0;
	char id[17];
	int r = 0;

	if (!list)
		return -ENOMEM;
	for (const struct stow_reservation *at = machine->reservations; at; at = at->next)
		if (at->id >= from)
			list[n++] = at;
	if (n)
		qsort(list, n, sizeof(*list), by_id);
	for (size_t i = 0; i < n && r == 0; i++) {
		page->bytes += list[i]->bytes + 8;
		if (page->out.n_reservations == page->most ||
		    (page->out.n_reservations && page->bytes > PAGE_BYTES)) {
			snprintf(page->token, sizeof(page->token), "%s/%s", machine->name,
				 stow_id_format(list[i]->id, id));
			return 1;
		}
		r = add(page, list[i]);
	}
	return r;
}

static int parse_token(const char *token, char first[256], uint64_t *ret_id, struct stow_err *err)
{
	const char *slash = strchr(token, '/');

	*ret_id = 0;
	first[0] = '\0';
	if (!token[0])
		return 0;
	if (!slash || slash - token > 253 || stow_id_parse(slash + 1, ret_id, NULL) < 0)
		return stow_err_set(err, EINVAL,
				    "page_token: \"%.64s\" is no next_page_token of an answer",
				    token);
	snprintf(first, 256, "%.*s", (int)(slash - token), token);
	return 0;
}

int scheduler_list_reservations(struct stow_rpc_call *call, void *ctx, const void *request,
				void *response, struct stow_err *err)
{
	const PbListReservationsRequest *in = request;
	struct page page = { .out = PB_LIST_RESERVATIONS_RESPONSE__INIT,
			     .most = in->page_size ? in->page_size : SIZE_MAX };
	struct machines machines;
	struct scheduler *s = ctx;
	char first[256];
	uint64_t from;
	int r;

	r = parse_token(in->page_token, first, &from, err);
	if (r < 0)
		return r;
	r = machines_find(s, (char *const *)&in->node, in->node[0] != '\0', first, &machines, err);
	stow_lock_take(&s->fleet->lock);
	for (size_t i = 0; r == 0 && i < machines.n; i++) {
		bool same = strcmp(machines.list[i]->name, first) == 0;

		if (i % AT_ONCE == AT_ONCE - 1)
			stow_lock_yield(&s->fleet->lock);
		r = add_machine(&page, machines.list[i], same ? from : 0);
	}
	stow_lock_give(&s->fleet->lock);
	machines_done(s, &machines);
	if (r >= 0) {
		page.out.next_page_token = page.token;
		stow_rpc_reply(call, &page.out, NULL);
	}
	for (size_t i = 0; i < page.out.n_reservations; i++)
		stow_rpc_message_free(page.out.reservations[i]);
	free(page.out.reservations);
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : STOW_RPC_LATER;
}
