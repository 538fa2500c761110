// SPDX-License-Identifier: Apache-2.0
/* Writing, ending and revoking reservations. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "scheduler/control/control.h"
#include "scheduler/fleet/reservation.h"

static int write_one(struct stow_writes *writes, const struct stow_reservation *reservation)
{
	size_t len = pb_reservation__get_packed_size(reservation->message);
	_cleanup_free_ uint8_t *bytes = malloc(len + 1);

	if (!bytes)
		return -ENOMEM;
	pb_reservation__pack(reservation->message, bytes);
	return stow_writes_reservation(writes, reservation->id, bytes, len,
				       reservation->request_id);
}

void scheduler_reservations_save(struct scheduler *s, struct stow_reservation *const *list,
				 size_t n)
{
	struct stow_writes *writes = n ? stow_writes_new() : NULL;

	for (size_t i = 0; writes && i < n; i++)
		/* A row that is being deleted must not be written again. */
		if (!list[i]->releasing && write_one(writes, list[i]) < 0) {
			stow_writes_free(writes); /* the next report leads to another write */
			return;
		}
	if (writes)
		stow_store_commit(s->store, writes, NULL, NULL);
}

/* The caller refreshes the machine. */
static void end(struct scheduler *s, struct stow_reservation *reservation, struct stow_now now,
		struct stow_writes *writes)
{
	struct stow_machine *machine = reservation->machine;
	bool bound = reservation->message->state == PB_RESERVATION_STATE_BOUND;
	PbCancelReservation cancel = PB_CANCEL_RESERVATION__INIT;
	PbDirective directive = PB_DIRECTIVE__INIT;
	uint64_t id = reservation->id;
	char text[17];

	/* The call that waits for it fails now, and does not wait for its deadline. */
	if (reservation->waiting) {
		stow_err_set(&reservation->waiting->err, EAGAIN,
			     "a reservation on node %s was ended before it was confirmed",
			     machine->name);
		reservation->waiting->until = 0;
	}
	if (writes)
		(void)stow_writes_no_reservation(writes, id);
	stow_reservation_take_out(s->fleet, reservation, true, now);
	if (!bound) {
		cancel.id = (char *)(uintptr_t)stow_id_format(id, text);
		directive.kind_case = PB_DIRECTIVE__KIND_CANCEL;
		directive.cancel = &cancel;
		scheduler_directive_send(s, machine, &directive, 0);
	}
}

void scheduler_reservations_end_with(struct scheduler *s, struct stow_reservation *const *list,
				     size_t n, struct stow_now now, struct stow_writes *writes)
{
	struct stow_machine *machine = NULL;

	for (size_t i = 0; i < n; i++) {
		if (machine && list[i]->machine != machine)
			stow_fleet_refresh(s->fleet, machine);
		machine = list[i]->machine;
		end(s, list[i], now, writes);
	}
	if (machine)
		stow_fleet_refresh(s->fleet, machine);
	scheduler_news(s);
}

void scheduler_reservations_end(struct scheduler *s, struct stow_reservation *const *list, size_t n,
				struct stow_now now)
{
	struct stow_writes *writes = n ? stow_writes_new() : NULL;

	if (!n)
		return;
	scheduler_reservations_end_with(s, list, n, now, writes);
	if (writes)
		stow_store_commit(s->store, writes, NULL, NULL);
}

void scheduler_reservation_end(struct scheduler *s, struct stow_reservation *reservation,
			       struct stow_now now)
{
	scheduler_reservations_end(s, &reservation, 1, now);
}

static bool is_unbound(const struct stow_reservation *r, const struct stow_idset *numa)
{
	return r->message->state != PB_RESERVATION_STATE_BOUND &&
	       stow_idset_intersects(r->numa, numa);
}

size_t scheduler_reservations_unbound(const struct stow_machine *machine,
				      const struct stow_idset *numa)
{
	size_t n = 0;

	for (const struct stow_reservation *r = machine->reservations; r; r = r->next)
		n += is_unbound(r, numa);
	return n;
}

uint32_t scheduler_reservations_revoke(struct scheduler *s, struct stow_machine *machine,
				       const struct stow_idset *numa)
{
	_cleanup_free_ struct stow_reservation **list =
		calloc(machine->n_reservations + 1, sizeof(struct stow_reservation *));
	uint32_t n = 0;

	if (!list)
		return 0; /* then the call waits for them */
	for (struct stow_reservation *r = machine->reservations; r; r = r->next)
		if (is_unbound(r, numa))
			list[n++] = r;
	scheduler_reservations_end(s, list, n, stow_now());
	atomic_fetch_add(&s->revoked, n);
	return n;
}
