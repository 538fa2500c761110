// SPDX-License-Identifier: Apache-2.0
/* ListNodes, and the message of a machine. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "scheduler/fleet/message.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/service/pages.h"
#include "scheduler/service/service.h"

/* Limit for a machine's containers, so that a machine always fits into a message. */
#define CONTAINER_BYTES (2U << 20)
#define NAMES_MAX	1024

static PbNodeReport *report_of(const struct stow_machine *machine, bool containers)
{
	PbNodeReport *report;
	uint8_t *bytes;
	size_t len;

	bytes = stow_machine_report(machine, containers ? CONTAINER_BYTES : 0, &len);
	report = bytes ? pb_node_report__unpack(NULL, len, bytes) : NULL;
	free(bytes);
	if (!report) { /* no report yet, or out of memory */
		report = malloc(sizeof(*report));
		if (!report)
			return NULL;
		pb_node_report__init(report);
	}
	if (!report->name[0])
		report->name = strdup(machine->name);
	return report;
}

PbNode *scheduler_nodes_show(const struct stow_machine *machine, bool containers)
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

static int check_names(char *const *names, size_t n, struct stow_err *err)
{
	if (n > NAMES_MAX)
		return stow_err_set(err, EINVAL, "names: %zu; at most %d", n, NAMES_MAX);
	for (size_t i = 0; i < n; i++)
		if (stow_machine_name_check(names[i], err) < 0)
			return stow_err_wrap(err, -EINVAL, "names");
	return 0;
}

/* Memory that the message points to. */
struct shown_standbys {
	struct stow_store_standbys known;
	PbStandby standby[STOW_STANDBYS_MAX], *list[STOW_STANDBYS_MAX];
};

static void show_leader(struct scheduler *s, PbLeader *ret, char *store, size_t size,
			struct shown_standbys *shown)
{
	struct stow_store_standbys *standbys = &shown->known;

	if (s->config.store)
		snprintf(store, size, "%s", s->config.store);
	else
		snprintf(store, size, "sqlite:%s", s->config.data);
	ret->name = s->name;
	ret->since = s->since;
	ret->store = store;
	stow_store_standbys(s->store, standbys);
	for (size_t i = 0; i < standbys->n; i++) {
		pb_standby__init(&shown->standby[i]);
		shown->standby[i].name = standbys->list[i].name;
		shown->standby[i].lag = standbys->list[i].lag;
		shown->list[i] = &shown->standby[i];
	}
	ret->standbys = shown->list;
	ret->n_standbys = standbys->n;
}

int scheduler_list_nodes(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
			 struct stow_err *err)
{
	const PbListNodesRequest *in = request;
	PbListNodesResponse out = PB_LIST_NODES_RESPONSE__INIT;
	PbLeader leader = PB_LEADER__INIT;
	struct shown_standbys standbys;
	char store[4200];
	size_t most = in->page_size ? in->page_size : SIZE_MAX, bytes = 0;
	struct scheduler_machines machines;
	struct scheduler *s = ctx;
	int r;

	r = check_names(in->names, in->n_names, err);
	if (r == 0 && in->page_token[0] && stow_machine_name_check(in->page_token, err) < 0)
		r = stow_err_wrap(err, -EINVAL, "page_token");
	if (r < 0)
		return r;
	r = scheduler_machines_find(s, in->names, in->n_names, in->page_token, &machines, err);
	out.nodes = r == 0 ? calloc(machines.n + 1, sizeof(*out.nodes)) : NULL;
	if (r == 0 && !out.nodes)
		r = stow_err_set(err, ENOMEM, "out of memory");
	stow_lock_take(&s->fleet->lock);
	for (size_t i = 0; r == 0 && i < machines.n; i++) {
		PbNode *node = NULL;

		if (i % SCHEDULER_PAGE_AT_ONCE == SCHEDULER_PAGE_AT_ONCE - 1)
			stow_lock_yield(&s->fleet->lock);
		if (out.n_nodes < most)
			node = scheduler_nodes_show(machines.list[i], in->containers);
		if (out.n_nodes < most && !node) {
			r = stow_err_set(err, ENOMEM, "out of memory");
			break;
		}
		bytes += node ? pb_node__get_packed_size(node) : 0;
		if (!node || (out.n_nodes && bytes > SCHEDULER_PAGE_BYTES)) {
			stow_rpc_message_free(node);
			out.next_page_token = machines.list[i]->name;
			break;
		}
		out.nodes[out.n_nodes++] = node;
	}
	stow_lock_give(&s->fleet->lock);
	show_leader(s, &leader, store, sizeof(store), &standbys);
	out.leader = &leader;
	if (r == 0)
		stow_rpc_reply(call, &out, NULL);
	scheduler_machines_done(s, &machines);
	for (size_t i = 0; i < out.n_nodes; i++)
		stow_rpc_message_free(out.nodes[i]);
	free(out.nodes);
	return r < 0 ? r : STOW_RPC_LATER;
}
