// SPDX-License-Identifier: Apache-2.0
/* ListNodes, and the message of a machine. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "rpc/copy.h"
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

/* Set the fields that the report does not have; they borrow `fenced`. */
static void set_state(const struct stow_machine *machine, struct stow_now now, PbNode *out,
		      char *fenced, size_t size)
{
	out->state = machine->n_numa == 0 ? PB_NODE_STATE_UNKNOWN
		     : machine->stale	  ? PB_NODE_STATE_STALE
					  : PB_NODE_STATE_READY;
	out->last_seen = machine->last_seen;
	if (machine->last_seen) /* 0: never */
		out->silent_for =
			STOW_MAX(stow_clock_elapsed(machine->seen, now.mono), UINT64_C(1));
	if (machine->fenced)
		out->fenced = (char *)(uintptr_t)stow_idset_format(machine->fenced, fenced, size);
}

PbNode *scheduler_nodes_show(const struct stow_machine *machine, bool containers)
{
	PbNode *out = malloc(sizeof(*out));
	struct stow_now now = stow_now();
	char fenced[STOW_IDSET_MAX];

	if (!out)
		return NULL;
	pb_node__init(out);
	out->report = report_of(machine, containers);
	set_state(machine, now, out, fenced, sizeof(fenced));
	if (machine->fenced)
		out->fenced = strdup(fenced);
	out->reservations = calloc(machine->n_reservations + 1, sizeof(*out->reservations));
	for (const struct stow_reservation *r = machine->reservations; out->reservations && r;
	     r = r->next) {
		PbReservation *copy = r->counted ? NULL : stow_rpc_message_copy(r->message);

		if (!copy)
			continue;
		copy->lifetime = stow_reservation_left(r, now);
		out->reservations[out->n_reservations++] = copy;
	}
	if (!out->report || !out->fenced || !out->reservations) {
		stow_rpc_message_free(out);
		return NULL;
	}
	return out;
}

/* --- a packed event ------------------------------------------------------- */

/* Fields that contain a message: number 1, length-delimited. */
#define FIELD_1	   ((1 << 3) | 2)
#define HEADER_MAX 11 /* bytes of such a field before the message */

static size_t put_header(uint8_t *at, size_t len)
{
	size_t n = 0;

	at[n++] = FIELD_1;
	for (; len >= 0x80; len >>= 7)
		at[n++] = (uint8_t)(len | 0x80);
	at[n++] = (uint8_t)len;
	return n;
}

/* Put NodeEvent.node around Node.report and the other fields of a node. */
static uint8_t *put_event(const uint8_t *report, size_t report_len, const PbNode *rest,
			  size_t *ret_len)
{
	size_t rest_len = pb_node__get_packed_size(rest), n;
	uint8_t *bytes = malloc(2 * HEADER_MAX + report_len + rest_len), header[HEADER_MAX];

	if (!bytes)
		return NULL;
	n = put_header(header, report_len);
	*ret_len = put_header(bytes, n + report_len + rest_len);
	memcpy(bytes + *ret_len, header, n);
	memcpy(bytes + *ret_len + n, report, report_len);
	pb_node__pack(rest, bytes + *ret_len + n + report_len);
	*ret_len += n + report_len + rest_len;
	return bytes;
}

/* The report of a machine that has not reported: its name. */
static uint8_t *pack_name(const struct stow_machine *machine, size_t *ret_len)
{
	PbNodeReport report = PB_NODE_REPORT__INIT;
	uint8_t *bytes;

	report.name = machine->name;
	*ret_len = pb_node_report__get_packed_size(&report);
	bytes = malloc(*ret_len + 1);
	if (bytes)
		pb_node_report__pack(&report, bytes);
	return bytes;
}

/* The table has reports in packed form; they are not unpacked. */
uint8_t *scheduler_nodes_event(const struct stow_machine *machine, bool containers, size_t *ret_len)
{
	_cleanup_free_ PbReservation **reservations =
		calloc(machine->n_reservations + 1, sizeof(PbReservation *));
	_cleanup_free_ uint8_t *report = NULL;
	struct stow_now now = stow_now();
	char fenced[STOW_IDSET_MAX];
	PbNode rest = PB_NODE__INIT;
	size_t len = 0;

	report = machine->n_numa
			 ? stow_machine_report(machine, containers ? CONTAINER_BYTES : 0, &len)
			 : pack_name(machine, &len);
	if (!report || !reservations)
		return NULL;
	set_state(machine, now, &rest, fenced, sizeof(fenced));
	rest.reservations = reservations;
	for (const struct stow_reservation *r = machine->reservations; r; r = r->next)
		if (!r->counted) {
			r->message->lifetime = stow_reservation_left(r, now);
			reservations[rest.n_reservations++] = r->message;
		}
	return put_event(report, len, &rest, ret_len);
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
	ret->since = s->since.wall;
	ret->active_for = STOW_MAX(stow_clock_elapsed(s->since.mono, stow_now().mono), UINT64_C(1));
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
