// SPDX-License-Identifier: Apache-2.0
/* ListNodes, ListReservations, and how a machine is shown. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "scheduler/scheduler.h"

static PbNodeReport *report_of(const struct stow_machine *machine, bool containers)
{
	PbNodeReport *report;
	uint8_t *bytes;
	size_t len;

	bytes = stow_machine_report(machine, containers, &len);
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
		PbReservation *copy = r->counted ? NULL : stow_reservation_copy(r->message);

		if (copy)
			out->reservations[out->n_reservations++] = copy;
	}
	if (!out->report || !out->fenced || !out->reservations) {
		stow_rpc_message_free(out);
		return NULL;
	}
	return out;
}

static int by_name(const void *a, const void *b)
{
	const PbNode *const *x = a, *const *y = b;

	return strcmp((*x)->report->name, (*y)->report->name);
}

static bool wanted(const PbListNodesRequest *in, const char *name)
{
	for (size_t i = 0; i < in->n_names; i++)
		if (strcmp(in->names[i], name) == 0)
			return true;
	return in->n_names == 0;
}

int scheduler_list_nodes(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
			 struct stow_err *err)
{
	const PbListNodesRequest *in = request;
	PbListNodesResponse out = PB_LIST_NODES_RESPONSE__INIT;
	struct scheduler *s = ctx;
	bool complete = true;

	for (size_t i = 0; i < in->n_names; i++)
		if (stow_machine_name_check(in->names[i], err) < 0)
			return stow_err_wrap(err, -EINVAL, "names");
	stow_lock_take(&s->fleet->lock);
	out.nodes = calloc(s->fleet->n_machines + 1, sizeof(*out.nodes));
	for (uint32_t m = 0; out.nodes && m < s->fleet->n_machines; m++) {
		if (!wanted(in, s->fleet->machines[m]->name))
			continue;
		out.nodes[out.n_nodes] = scheduler_show(s->fleet->machines[m], in->containers);
		if (out.nodes[out.n_nodes])
			out.n_nodes++;
		else
			complete = false;
	}
	stow_lock_give(&s->fleet->lock);
	complete = complete && out.nodes;
	if (complete)
		qsort(out.nodes, out.n_nodes, sizeof(*out.nodes), by_name);
	if (complete)
		stow_rpc_reply(call, &out, NULL);
	for (size_t i = 0; i < out.n_nodes; i++)
		stow_rpc_message_free(out.nodes[i]);
	free(out.nodes);
	return complete ? STOW_RPC_LATER : stow_err_set(err, ENOMEM, "out of memory");
}

static int by_expiry(const void *a, const void *b)
{
	const PbReservation *const *x = a, *const *y = b;

	if ((*x)->expires != (*y)->expires)
		return (*x)->expires < (*y)->expires ? -1 : 1;
	return strcmp((*x)->id, (*y)->id);
}

int scheduler_list_reservations(struct stow_rpc_call *call, void *ctx, const void *request,
				void *response, struct stow_err *err)
{
	const PbListReservationsRequest *in = request;
	PbListReservationsResponse out = PB_LIST_RESERVATIONS_RESPONSE__INIT;
	struct scheduler *s = ctx;
	struct stow_fleet *fleet = s->fleet;

	stow_lock_take(&fleet->lock);
	out.reservations = calloc(fleet->reservations.n + 1, sizeof(*out.reservations));
	if (out.reservations) {
		STOW_HASH_FOR(link, &fleet->reservations)
		{
			struct stow_reservation *r =
				stow_container_of(link, struct stow_reservation, link);

			if (!in->node[0] || strcmp(in->node, r->machine->name) == 0)
				out.reservations[out.n_reservations++] = r->message;
		}
		qsort(out.reservations, out.n_reservations, sizeof(*out.reservations), by_expiry);
		stow_rpc_reply(call, &out, NULL); /* packed while they are ours */
	}
	stow_lock_give(&fleet->lock);
	if (!out.reservations)
		return stow_err_set(err, ENOMEM, "out of memory");
	free(out.reservations);
	return STOW_RPC_LATER;
}
