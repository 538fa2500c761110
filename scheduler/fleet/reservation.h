/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reservations in memory, by id and by machine, and in a heap with the earliest expiry on top. Ids
 * of ended reservations are remembered for some minutes. All functions require the fleet's lock.
 */

#include "scheduler/fleet/machine.h"
#include "scheduler/fleet/now.h"

struct stow_fleet;

/* Add a reservation, and refresh the machine's columns. Does not check that there is room. Takes
 * ownership of `message`, except on -ENOMEM. */
int stow_reservation_add(struct stow_fleet *fleet, struct stow_machine *machine, uint64_t id,
			 PbReservation *message, struct stow_reservation **ret_reservation,
			 struct stow_err *err);
/* Remove and free a reservation, and remember its id for some minutes. Refreshes the machine. */
void stow_reservation_end(struct stow_fleet *fleet, struct stow_reservation *reservation,
			  struct stow_now now);
/* Do the same without a refresh, for several reservations; the caller refreshes the machine
 * after the last one. `known`: a client knows the id, so it is remembered. */
void stow_reservation_take_out(struct stow_fleet *fleet, struct stow_reservation *reservation,
			       bool known, struct stow_now now);
/* Remove a reservation that is about to end from the expiry heap. */
void stow_reservation_expires_no_more(struct stow_fleet *fleet, struct stow_reservation *r);
/* Let a reservation that expires do so at `until`, by stow_now().mono. */
void stow_reservation_expires_at(struct stow_fleet *fleet, struct stow_reservation *r,
				 uint64_t until);
/* Return the ns until it expires, at least 1; 0: it does not expire. */
uint64_t stow_reservation_left(const struct stow_reservation *r, struct stow_now now);
struct stow_reservation *stow_reservation_find(const struct stow_fleet *fleet, uint64_t id);
/* Return an unused id. */
uint64_t stow_reservation_new_id(const struct stow_fleet *fleet);
/* Return whether a reservation of that id ended within the last minutes. */
bool stow_reservation_ended(const struct stow_fleet *fleet, uint64_t id);
/* Forget the ids that ended some minutes ago, at most STOW_FORGET_MOST per call. */
void stow_reservation_forget_ended(struct stow_fleet *fleet, struct stow_now now);
/* Return "ID:NUMA_NODES@NODE", allocated, or NULL. */
char *stow_reservation_annotation(uint64_t id, const char *numa_nodes, const char *machine);

/* What a report changed in reservations. */
struct stow_reconciled {
	struct stow_reservation **changed; /* held, bound or new: to be stored */
	size_t n_changed;
	struct stow_reservation **over; /* the container has ended: to be released */
	size_t n_over;
	uint64_t *cancel; /* leases of ended reservations, which the agent should drop */
	size_t n_cancel;
	size_t n_left; /* ids that were skipped: too many at once, or for one machine */
};

/* Compare the machine's reservations with those that its report lists (`listed`, ascending), and
 * update their states. The work for a report is bounded: it lists at most STOW_RESERVATIONS_MAX
 * ids, at most STOW_LEARN_MAX unknown ids per second are handled (the next report lists the
 * others again), and the machine's columns are computed once. -ENOMEM. */
int stow_fleet_reconcile(struct stow_fleet *fleet, struct stow_machine *machine,
			 const uint64_t *listed, size_t n_listed, struct stow_now now,
			 struct stow_reconciled *ret, struct stow_err *err);
void stow_reconciled_done(struct stow_reconciled *r);
