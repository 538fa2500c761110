// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/reservation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "scheduler/fleet/fleet_internal.h"

/* How long an ended id is remembered: longer than a report may be delayed. */
#define ENDED_KEPT (120 * STOW_SECOND)

struct stow_ended {
	struct stow_link link; /* by id */
	struct stow_ended *newer;
	uint64_t at; /* monotonic */
};

/* --- what runs out first -------------------------------------------------- */

static uint64_t expires(const struct stow_fleet *fleet, size_t i)
{
	return fleet->expiring[i]->until;
}

static void put(struct stow_fleet *fleet, size_t i, struct stow_reservation *r)
{
	fleet->expiring[i] = r;
	r->heap = i;
}

/* Restore the heap order after entry i has changed. */
static void settle(struct stow_fleet *fleet, size_t i)
{
	struct stow_reservation *r = fleet->expiring[i];
	uint64_t at = r->until;

	for (; i > 1 && expires(fleet, i / 2) > at; i /= 2)
		put(fleet, i, fleet->expiring[i / 2]);
	for (size_t child = 2 * i; child <= fleet->n_expiring; child = 2 * i) {
		if (child < fleet->n_expiring && expires(fleet, child + 1) < expires(fleet, child))
			child++;
		if (expires(fleet, child) >= at)
			break;
		put(fleet, i, fleet->expiring[child]);
		i = child;
	}
	put(fleet, i, r);
}

static int heap_add(struct stow_fleet *fleet, struct stow_reservation *r)
{
	if (fleet->n_expiring + 2 > fleet->expiring_room) {
		size_t room = fleet->expiring_room ? fleet->expiring_room * 2 : 256;
		void *more = reallocarray(fleet->expiring, room, sizeof(*fleet->expiring));

		if (!more)
			return -ENOMEM;
		fleet->expiring = more;
		fleet->expiring_room = room;
	}
	put(fleet, ++fleet->n_expiring, r);
	settle(fleet, fleet->n_expiring);
	return 0;
}

void stow_reservation_expires_no_more(struct stow_fleet *fleet, struct stow_reservation *r)
{
	size_t at = r->heap;
	struct stow_reservation *last;

	if (!at)
		return;
	r->heap = 0;
	last = fleet->expiring[fleet->n_expiring--];
	if (last == r)
		return;
	put(fleet, at, last);
	settle(fleet, at);
}

void stow_reservation_expires_at(struct stow_fleet *fleet, struct stow_reservation *r,
				 uint64_t until)
{
	r->until = until;
	if (r->heap)
		settle(fleet, r->heap);
}

uint64_t stow_reservation_left(const struct stow_reservation *r, struct stow_now now)
{
	if (!r->heap)
		return 0;
	return r->until > now.mono ? r->until - now.mono : 1;
}

/* Return when a reservation expires, by stow_now().mono. The lifetime in its message bounds the
 * time that is left when the wall clock was set since the message was made. */
static uint64_t deadline(const PbReservation *message, struct stow_now now)
{
	uint64_t left = stow_clock_elapsed(now.wall, message->expires);

	if (message->lifetime)
		left = STOW_MIN(left, message->lifetime);
	return stow_saturating_add(now.mono, left);
}

/* --- reservations --------------------------------------------------------- */

struct stow_reservation *stow_reservation_find(const struct stow_fleet *fleet, uint64_t id)
{
	struct stow_link *link = stow_hash_find(&fleet->reservations, id);

	return link ? stow_container_of(link, struct stow_reservation, link) : NULL;
}

bool stow_reservation_ended(const struct stow_fleet *fleet, uint64_t id)
{
	return stow_hash_find(&fleet->ended, id) != NULL;
}

uint64_t stow_reservation_new_id(const struct stow_fleet *fleet)
{
	uint64_t id = 0;

	/* The id is random, because any client that knows it may use the reservation. */
	while (!id || stow_reservation_find(fleet, id) || stow_reservation_ended(fleet, id))
		id = stow_random();
	return id;
}

char *stow_reservation_annotation(uint64_t id, const char *numa_nodes, const char *machine)
{
	char *text = NULL;

	return asprintf(&text, "%016" PRIx64 ":%s@%s", id, numa_nodes, machine) < 0 ? NULL : text;
}

int stow_reservation_enter(struct stow_fleet *fleet, struct stow_machine *machine, uint64_t id,
			   PbReservation *message, struct stow_reservation **ret_reservation,
			   struct stow_err *err)
{
	struct stow_reservation *r = calloc(1, sizeof(*r));

	if (r)
		r->numa = calloc(1, sizeof(*r->numa));
	if (!r || !r->numa || stow_hash_add(&fleet->reservations, &r->link, id) < 0) {
		if (r)
			free(r->numa);
		free(r);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	r->message = message;
	r->until = deadline(message, stow_now());
	/* A bound reservation stays until its container ends. */
	if (message->expires && message->state != PB_RESERVATION_STATE_BOUND &&
	    heap_add(fleet, r) < 0) {
		stow_hash_remove(&fleet->reservations, &r->link);
		free(r->numa);
		free(r);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	r->id = id;
	r->machine = machine;
	r->exclusive = message->pod && message->pod->cpu_mode == PB_CPU_MODE_EXCLUSIVE;
	for (size_t i = 0; i < message->n_parts; i++)
		stow_idset_add(r->numa, (int)message->parts[i]->numa_node);
	r->bytes = pb_reservation__get_packed_size(message);
	r->next = machine->reservations;
	if (r->next)
		r->next->at = &r->next;
	r->at = &machine->reservations;
	machine->reservations = r;
	machine->n_reservations++;
	machine->reservation_bytes += r->bytes;
	*ret_reservation = r;
	return 0;
}

int stow_reservation_add(struct stow_fleet *fleet, struct stow_machine *machine, uint64_t id,
			 PbReservation *message, struct stow_reservation **ret_reservation,
			 struct stow_err *err)
{
	int r = stow_reservation_enter(fleet, machine, id, message, ret_reservation, err);

	if (r == 0)
		stow_fleet_refresh(fleet, machine);
	return r;
}

static void unlink_reservation(struct stow_reservation *r)
{
	*r->at = r->next;
	if (r->next)
		r->next->at = r->at;
	r->machine->n_reservations--;
	r->machine->reservation_bytes -= r->bytes;
}

static void forget_one(struct stow_fleet *fleet)
{
	struct stow_ended *ended = fleet->first_ended;

	fleet->first_ended = ended->newer;
	if (!ended->newer)
		fleet->last_ended = NULL;
	stow_hash_remove(&fleet->ended, &ended->link);
	free(ended);
}

/* Out of memory the id is forgotten at once: at worst a report adds the reservation again for
 * some time. */
static void remember(struct stow_fleet *fleet, uint64_t id, struct stow_now now)
{
	struct stow_ended *ended = calloc(1, sizeof(*ended));

	if (!ended)
		return;
	ended->at = now.mono;
	if (stow_hash_add(&fleet->ended, &ended->link, id) < 0) {
		free(ended);
		return;
	}
	if (fleet->last_ended)
		fleet->last_ended->newer = ended;
	else
		fleet->first_ended = ended;
	fleet->last_ended = ended;
	if (fleet->ended.n > STOW_ENDED_MAX)
		forget_one(fleet);
}

void stow_reservation_take_out(struct stow_fleet *fleet, struct stow_reservation *reservation,
			       bool known, struct stow_now now)
{
	stow_hash_remove(&fleet->reservations, &reservation->link);
	stow_reservation_expires_no_more(fleet, reservation);
	unlink_reservation(reservation);
	if (known)
		remember(fleet, reservation->id, now);
	pb_reservation__free_unpacked(reservation->message, NULL);
	free(reservation->request_id);
	free(reservation->numa);
	free(reservation);
}

void stow_reservation_end(struct stow_fleet *fleet, struct stow_reservation *reservation,
			  struct stow_now now)
{
	struct stow_machine *machine = reservation->machine;

	stow_reservation_take_out(fleet, reservation, true, now);
	stow_fleet_refresh(fleet, machine);
}

void stow_reservation_forget_ended(struct stow_fleet *fleet, struct stow_now now)
{
	for (int i = 0; i < STOW_FORGET_MOST && fleet->first_ended; i++) {
		if (stow_clock_elapsed(fleet->first_ended->at, now.mono) < ENDED_KEPT)
			return;
		forget_one(fleet);
	}
}
