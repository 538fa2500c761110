/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reservations in memory: what was promised, by id and by machine, with the first to run out on top
 * of a heap; and the ids of those that have ended, for a while. With the fleet's lock.
 */

#include "scheduler/fleet/fleet.h"

/* A caller who waits for the word of agents. */
struct stow_waiter {
	uint64_t until;	     /* monotonic */
	struct stow_err err; /* why what it got is taken back, when not for the time */
};

struct stow_reservation {
	struct stow_link link; /* in fleet->reservations, by id */
	uint64_t id;
	struct stow_machine *machine;
	struct stow_reservation *next, **at; /* of the same machine; what points to it */
	size_t bytes;			     /* of its message, packed, when it was entered */
	PbReservation *message;		     /* as it is shown, with its state */
	struct stow_idset *numa;	     /* the NUMA nodes of its parts */
	bool exclusive;
	bool counted;	  /* in the machine's report */
	bool reported;	  /* from a report: the machine knows best when it ends */
	size_t heap;	  /* its place in fleet->expiring, from 1; 0: it does not run out */
	char *request_id; /* whose answer it is part of, or NULL */
	bool releasing;	  /* its deletion is being stored */
	struct stow_waiter *waiting; /* a caller who wants to know that the machine holds it */
};

/* Enters a reservation, which takes `message` over; nothing is checked against what is free. The
 * machine's columns are refreshed. -ENOMEM, and `message` is still the caller's. */
int stow_reservation_add(struct stow_fleet *fleet, struct stow_machine *machine, uint64_t id,
			 PbReservation *message, struct stow_reservation **ret_reservation,
			 struct stow_err *err);
/* Takes it out, frees it, and remembers its id for a while. Refreshes the machine. */
void stow_reservation_end(struct stow_fleet *fleet, struct stow_reservation *reservation,
			  struct stow_now now);
/* The same without a refresh: for many at once, after which the caller refreshes. `known`: somebody
 * was told its id, which is remembered. */
void stow_reservation_take_out(struct stow_fleet *fleet, struct stow_reservation *reservation,
			       bool known, struct stow_now now);
/* It is about to be ended: takes it off the list of those that run out. */
void stow_reservation_expires_no_more(struct stow_fleet *fleet, struct stow_reservation *r);
struct stow_reservation *stow_reservation_find(const struct stow_fleet *fleet, uint64_t id);
/* A new id that nobody has. */
uint64_t stow_reservation_new_id(const struct stow_fleet *fleet);
/* Ended within the last minutes. */
bool stow_reservation_ended(const struct stow_fleet *fleet, uint64_t id);
/* Forgets those that ended long ago, STOW_FORGET_MOST at a time. */
void stow_reservation_forget_ended(struct stow_fleet *fleet, struct stow_now now);
/* "ID:NUMA_NODES@NODE" */
char *stow_reservation_annotation(uint64_t id, const char *numa_nodes, const char *machine);

/* What a report did to reservations; arrays of `n_*`. */
struct stow_reconciled {
	struct stow_reservation **changed; /* held, bound, learnt: to be stored again */
	size_t n_changed;
	struct stow_reservation **over; /* had a container, which is gone: to be ended */
	size_t n_over;
	uint64_t *cancel; /* leases of reservations that have ended: the agent should drop them */
	size_t n_cancel;
	size_t n_left; /* ids that were not looked into: too many at once, or for one machine */
};

/* Compares the reservations of the machine with those its report lists (`listed`, ascending), and
 * updates their states. What a report can make of work is bounded: it lists STOW_RESERVATIONS_MAX
 * at most, of ids that are not known here STOW_LEARN_MAX a second are looked into (the next report
 * lists the others again), and the machine is computed once. -ENOMEM. */
int stow_fleet_reconcile(struct stow_fleet *fleet, struct stow_machine *machine,
			 const uint64_t *listed, size_t n_listed, struct stow_now now,
			 struct stow_reconciled *ret, struct stow_err *err);
void stow_reconciled_done(struct stow_reconciled *r);
