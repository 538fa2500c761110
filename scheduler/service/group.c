// SPDX-License-Identifier: Apache-2.0
#include "scheduler/service/group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/copy.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/search/search.h"

#define AT_ONCE 16 /* pods placed per hold of the lock */

static int add_part(const struct stow_share *share, const struct stow_request *req,
		    PbReservation *out)
{
	PbContainerPart *part = malloc(sizeof(*part));

	if (!part)
		return -ENOMEM;
	pb_container_part__init(part);
	out->parts[out->n_parts++] = part;
	part->numa_node = (uint32_t)share->node;
	part->cpus = share->cpus;
	part->memory_promised = share->memory;
	part->hugepages = calloc(req->n_pages + 1, sizeof(*part->hugepages));
	if (!part->hugepages)
		return -ENOMEM;
	for (size_t p = 0; p < req->n_pages; p++) {
		PbHugepages *pages;

		if (!share->pages[p])
			continue;
		pages = malloc(sizeof(*pages));
		if (!pages)
			return -ENOMEM;
		pb_hugepages__init(pages);
		pages->page_size = req->pages[p].size;
		pages->pages = share->pages[p];
		part->hugepages[part->n_hugepages++] = pages;
	}
	return 0;
}

/* Make a reservation's message, allocated like an unpacked one. */
static PbReservation *make_message(uint64_t id, const struct stow_found *found,
				   const PbPodRequest *pod, const struct stow_request *req,
				   uint64_t lifetime)
{
	PbReservation *out = malloc(sizeof(*out));
	struct stow_idset nodes = { 0 };
	char text[1024], hex[17];
	int r = 0;

	if (!out)
		return NULL;
	pb_reservation__init(out);
	for (size_t i = 0; i < found->n_shares; i++)
		stow_idset_add(&nodes, found->shares[i].node);
	stow_idset_format(&nodes, text, sizeof(text));
	out->id = strdup(stow_id_format(id, hex));
	out->node = strdup(found->machine->name);
	out->numa_nodes = strdup(text);
	out->pod = stow_rpc_message_copy(pod);
	out->annotation = stow_reservation_annotation(id, text, found->machine->name);
	out->reason = strdup(found->reason);
	out->expires = stow_now().wall + lifetime;
	out->lifetime = lifetime;
	out->state = PB_RESERVATION_STATE_RESERVED;
	out->parts = calloc(found->n_shares + 1, sizeof(*out->parts));
	for (size_t i = 0; out->parts && i < found->n_shares && r == 0; i++)
		r = add_part(&found->shares[i], req, out);
	if (!out->id || !out->node || !out->numa_nodes || !out->pod || !out->annotation ||
	    !out->reason || !out->parts || r < 0) {
		stow_rpc_message_free(out);
		return NULL;
	}
	return out;
}

/* Let other threads have the lock while a large group is placed. */
static int yield_lock(struct scheduler *s, size_t done, struct stow_err *err)
{
	if (done && done % AT_ONCE == 0)
		stow_lock_yield(&s->fleet->lock);
	return atomic_load(&s->stopping) ? stow_err_set(err, ESHUTDOWN, "the scheduler is stopping")
					 : 0;
}

static int place_pod(struct scheduler *s, const PbPodRequest *pod, PbStrategy strategy,
		     uint64_t lifetime, struct stow_reservation **ret, struct stow_err *err)
{
	struct stow_found found = { 0 };
	struct stow_want want;
	PbReservation *message;
	uint64_t id;
	int r;

	r = stow_want_parse(pod, strategy, &want, err);
	if (r == 0)
		r = stow_search_fleet(s->fleet, &want, &found, err);
	if (r < 0)
		return r;
	id = stow_reservation_new_id(s->fleet);
	message = make_message(id, &found, pod, &want.request, lifetime);
	free(found.shares);
	if (!message)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = stow_reservation_add(s->fleet, found.machine, id, message, ret, err);
	if (r < 0)
		stow_rpc_message_free(message);
	return r;
}

void scheduler_group_undo(struct scheduler *s, const struct scheduler_group *group)
{
	struct stow_machine *machine = NULL;

	for (size_t i = 0; i < group->n; i++) {
		struct stow_reservation *r = stow_reservation_find(s->fleet, group->ids[i]);

		if (!r)
			continue;
		if (machine && r->machine != machine)
			stow_fleet_refresh(s->fleet, machine);
		machine = r->machine;
		stow_reservation_take_out(s->fleet, r, true, stow_now());
	}
	if (machine)
		stow_fleet_refresh(s->fleet, machine);
}

int scheduler_group_place(struct scheduler *s, const PbPlaceRequest *in,
			  struct scheduler_group *group, struct stow_err *err)
{
	uint64_t lifetime = in->lifetime ? in->lifetime : s->config.lifetime;
	PbStrategy strategy = in->strategy != PB_STRATEGY_UNSPECIFIED ? in->strategy
			      : s->config.strategy		      ? PB_STRATEGY_SPREAD
								      : PB_STRATEGY_TIGHT;
	int r = 0;

	group->response = malloc(sizeof(*group->response));
	if (!group->response)
		return stow_err_set(err, ENOMEM, "out of memory");
	pb_place_response__init(group->response);
	group->response->reservations =
		calloc(in->n_pods + 1, sizeof(*group->response->reservations));
	if (!group->response->reservations)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < in->n_pods && r == 0; i++) {
		struct stow_reservation *reservation;
		PbReservation *copy;

		r = yield_lock(s, i, err);
		if (r == 0)
			r = place_pod(s, in->pods[i], strategy, lifetime, &reservation, err);
		if (r < 0) {
			if (in->n_pods > 1)
				r = stow_err_wrap(err, r, "pod %zu of %zu%s%.64s", i + 1,
						  in->n_pods, *in->pods[i]->name ? ", " : "",
						  in->pods[i]->name);
			break;
		}
		group->ids[group->n++] = reservation->id;
		copy = stow_rpc_message_copy(reservation->message);
		if (!copy)
			r = stow_err_set(err, ENOMEM, "out of memory");
		else
			group->response->reservations[group->response->n_reservations++] = copy;
	}
	if (r < 0)
		scheduler_group_undo(s, group);
	return r;
}

void scheduler_group_done(struct scheduler_group *group)
{
	stow_rpc_message_free(group->response);
}
