// SPDX-License-Identifier: Apache-2.0
/* Update a machine's reservations from its report. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/idlist.h"
#include "rpc/copy.h"
#include "scheduler/fleet/fleet_internal.h"
#include "scheduler/fleet/message.h"
#include "scheduler/fleet/reservation.h"

/* Return the first of several, because a container sorts before the lease that it adopted. */
static const struct stow_container *container_with(const struct stow_machine *m, uint64_t id)
{
	size_t low = 0, high = m->n_has;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (m->has[middle].reservation < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < m->n_has && m->has[low].reservation == id
		       ? &m->containers[m->has[low].container]
		       : NULL;
}

/* The machine knows how long its lease lasts. `lease`: NULL when the report has none. */
static void correct_deadline(struct stow_fleet *fleet, struct stow_reservation *r,
			     const struct stow_container *lease)
{
	if (!r->until_guessed || !lease || !lease->lease || !lease->until)
		return;
	r->until_guessed = false;
	stow_reservation_expires_at(fleet, r, lease->until);
}

/* Set state and container from the report. Return whether they have changed. */
static bool observe(struct stow_fleet *fleet, struct stow_reservation *r, bool listed)
{
	const struct stow_container *c = listed ? container_with(r->machine, r->id) : NULL;
	PbReservationState state = !listed	    ? PB_RESERVATION_STATE_RESERVED
				   : c && !c->lease ? PB_RESERVATION_STATE_BOUND
						    : PB_RESERVATION_STATE_HELD;
	const char *container = state == PB_RESERVATION_STATE_BOUND ? c->id : "";

	r->counted = listed;
	correct_deadline(fleet, r, c);
	if (r->message->state == state && strcmp(r->message->container, container) == 0)
		return false;
	r->message->state = state;
	stow_message_set_text(&r->message->container, container);
	if (state == PB_RESERVATION_STATE_BOUND)
		stow_reservation_expires_no_more(fleet, r);
	return true;
}

/* Add an unknown reservation, made by a scheduler with another store. The report's numbers
 * already include it. */
static int add_unknown(struct stow_fleet *fleet, struct stow_machine *m, uint64_t id,
		       struct stow_now now, struct stow_reservation **ret, struct stow_err *err)
{
	const struct stow_container *c = container_with(m, id);
	_cleanup_free_ char *annotation = NULL;
	char *numa = (char *)protobuf_c_empty_string, text[17];
	PbReservation message = PB_RESERVATION__INIT, *copy;
	PbPodRequest pod = PB_POD_REQUEST__INIT;
	PbNodeReport *report = NULL;
	int r = -ENOMEM;

	if (c)
		report = pb_node_report__unpack(NULL, c->wire.len, c->wire.bytes);
	if (report && report->n_containers) {
		PbContainer *from = report->containers[0];

		pod.name = from->pod[0] ? from->pod : from->name;
		pod.namespace_ = from->namespace_;
		pod.cpu_mode = from->exclusive ? PB_CPU_MODE_EXCLUSIVE : PB_CPU_MODE_SHARED;
		message.parts = from->parts;
		message.n_parts = from->n_parts;
		if (c->until) {
			message.lifetime = stow_clock_elapsed(now.mono, c->until);
			message.expires = now.wall + message.lifetime;
		}
		message.reason = from->reason;
		numa = from->numa_nodes;
	}
	annotation = stow_reservation_annotation(id, numa, m->name);
	message.id = (char *)stow_id_format(id, text);
	message.node = m->name;
	message.numa_nodes = numa;
	message.pod = &pod;
	message.annotation = annotation;
	copy = annotation ? stow_rpc_message_copy(&message) : NULL;
	if (copy) {
		r = stow_reservation_enter(fleet, m, id, copy, ret, err);
		if (r < 0)
			pb_reservation__free_unpacked(copy, NULL);
		else
			(*ret)->reported = true;
	}
	pb_node_report__free_unpacked(report, NULL);
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : 0;
}

/* Update how many unknown ids may be handled now. */
static void refill(struct stow_machine *m, struct stow_now now)
{
	uint64_t more = stow_clock_elapsed(m->refilled, now.mono) / (STOW_SECOND / STOW_LEARN_MAX);

	if (!more)
		return;
	m->refilled = now.mono;
	m->adoptions = more < STOW_LEARN_MAX - m->adoptions ? m->adoptions + (uint32_t)more
							    : STOW_LEARN_MAX;
}

static int take_unknown(struct stow_fleet *fleet, struct stow_machine *m, uint64_t id,
			struct stow_now now, struct stow_reconciled *ret, struct stow_err *err)
{
	const struct stow_container *c = container_with(m, id);
	bool lease = !c || c->lease;
	struct stow_reservation *r;
	int ret_code;

	if (!m->adoptions) {
		ret->n_left++;
		return 0;
	}
	m->adoptions--;

	/* The cancellation may have been lost: it is sent again. A container that adopted the
	 * lease in time keeps it. */
	if (lease &&
	    (stow_reservation_ended(fleet, id) || (c && c->until && c->until <= now.mono))) {
		ret->cancel[ret->n_cancel++] = id;
		return 0;
	}
	if (stow_machine_full(m)) {
		ret->n_left++;
		return 0;
	}
	ret_code = add_unknown(fleet, m, id, now, &r, err);
	if (ret_code < 0)
		return ret_code;
	observe(fleet, r, true);
	ret->changed[ret->n_changed++] = r;
	return 0;
}

int stow_fleet_reconcile(struct stow_fleet *fleet, struct stow_machine *machine,
			 const uint64_t *listed, size_t n_listed, struct stow_now now,
			 struct stow_reconciled *ret, struct stow_err *err)
{
	size_t most = machine->n_reservations + n_listed + 1;
	int r = 0;

	*ret = (struct stow_reconciled){
		.changed = calloc(most, sizeof(*ret->changed)),
		.over = calloc(most, sizeof(*ret->over)),
		.cancel = calloc(most, sizeof(*ret->cancel)),
	};
	if (!ret->changed || !ret->over || !ret->cancel) {
		stow_reconciled_done(ret);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	for (struct stow_reservation *at = machine->reservations; at; at = at->next) {
		bool is_listed = stow_idlist_has(listed, n_listed, at->id);
		bool was_bound = at->message->state == PB_RESERVATION_STATE_BOUND;

		if (!is_listed && (was_bound || at->reported))
			ret->over[ret->n_over++] = at;
		else if (observe(fleet, at, is_listed))
			ret->changed[ret->n_changed++] = at;
	}
	refill(machine, now);
	for (size_t i = 0; i < n_listed && r == 0; i++)
		if (!stow_reservation_find(fleet, listed[i]))
			r = take_unknown(fleet, machine, listed[i], now, ret, err);
	stow_fleet_refresh(fleet, machine);
	if (r < 0)
		stow_reconciled_done(ret);
	return r;
}

void stow_reconciled_done(struct stow_reconciled *r)
{
	free(r->changed);
	free(r->over);
	free(r->cancel);
	*r = (struct stow_reconciled){ 0 };
}
