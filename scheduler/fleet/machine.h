/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A machine of the fleet's table (fleet.h), its reservations, and what can still be placed on it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/idset.h"
#include "numastow/v1/scheduler.pb-c.h"
#include "place/request.h"
#include "scheduler/fleet/report.h"

struct stow_rpc_call;
struct stow_directive;
struct stow_reservation;

/* Bytes of a machine's reservations; beyond it nothing is placed there. */
#define STOW_RESERVATION_BYTES_MAX (2U << 20)

/* Links a reservation to the container, or lease, that has it. */
struct stow_has {
	uint64_t reservation;
	uint32_t container; /* index in `containers` of its machine */
	bool lease;
};

struct stow_machine {
	struct stow_link link; /* in fleet->names, by the name's hash */
	char *name;
	uint32_t index; /* in the columns */

	/* From the machine's reports; n_numa is 0 until the first one. */
	uint32_t n_numa;
	struct stow_numa *numa;
	uint8_t *distance;
	struct stow_container *containers; /* by ascending id */
	size_t n_containers;
	struct stow_has *has; /* by ascending reservation, a lease after a container */
	size_t n_has;
	struct stow_wire constant, variable;
	uint8_t near; /* the smallest distance between two of its NUMA nodes */
	bool enforces;
	bool over_limit; /* lists more reservations than the scheduler handles */
	bool stale;	 /* silent for too long, or has never reported */

	uint32_t n_drains; /* running */
	char *domain;	   /* its failure domain; "" or NULL for none */

	/* Set by this scheduler; NULL: none. Fenced by operators, by drains, and by either. */
	struct stow_idset *fences, *draining, *fenced;
	struct stow_reservation *reservations;
	size_t n_reservations;	  /* at most STOW_RESERVATIONS_MAX */
	size_t reservation_bytes; /* of their messages, because a Welcome contains them all */
	uint64_t refilled;	  /* monotonic: when `adoptions` was last refilled */
	uint32_t adoptions;	  /* unknown reservation ids that may be handled now */

	/* Its agent. */
	uint32_t streams;	      /* this one, and older ones that are still closing */
	struct stow_rpc_call *stream; /* NULL: not connected */
	bool rival;		      /* another agent was refused since this one connected */
	uint64_t sequence;
	uint64_t directive;		    /* id of the last directive */
	struct stow_directive *outstanding; /* directives without a result */
	uint64_t seen;			    /* monotonic */
	uint64_t last_seen;		    /* wall */
	uint32_t n_outstanding;

	/* For watchers. */
	uint64_t changed;		    /* fleet->clock at its last change */
	struct stow_machine *older, *newer; /* by time of change */
};

/* A call of Place that waits for agents to confirm reservations. */
struct stow_waiter {
	uint64_t until; /* monotonic */
	struct stow_err
		err; /* why its reservations are withdrawn, when not because of the deadline */
};

struct stow_reservation {
	struct stow_link link; /* in fleet->reservations, by id */
	uint64_t id;
	struct stow_machine *machine;
	struct stow_reservation *next, **at; /* of the same machine; the pointer to this one */
	size_t bytes;			     /* size of its packed message when it was added */
	PbReservation *message;		     /* as callers see it, with its state */
	struct stow_idset *numa;	     /* the NUMA nodes of its parts */
	bool exclusive;
	bool counted;		     /* the machine's report includes it */
	bool reported;		     /* added from a report: the machine decides when it expires */
	uint64_t until;		     /* when it expires, by stow_now().mono */
	bool until_guessed;	     /* by another scheduler's clock; its machine knows better */
	size_t heap;		     /* index in fleet->expiring, from 1; 0: it does not expire */
	char *request_id;	     /* of the answer that contains it, or NULL */
	bool releasing;		     /* its deletion is being stored */
	struct stow_waiter *waiting; /* the call that waits until the machine holds it, or NULL */
};

/* What can still be placed on one NUMA node. */
struct stow_room {
	bool gives; /* not fenced, and the machine is not stale and enforces placements */
	uint16_t cpus, takeable;
	uint64_t memory;
	uint64_t pages[STOW_POOLS_MAX]; /* indices as in numa->pools */
};

/* Compute that for each of the machine's NUMA nodes. */
void stow_machine_rooms(const struct stow_machine *machine, struct stow_room *ret);
/* Return whether the machine has as many reservations as are allowed. Nothing is placed there
 * then. */
bool stow_machine_full(const struct stow_machine *machine);
/* Return the index of a NUMA node, or -1. */
int64_t stow_machine_numa(const struct stow_machine *machine, uint32_t id);
/* Return the number of CPUs that are not exclusive, on all its NUMA nodes. */
uint32_t stow_machine_nonexclusive(const struct stow_machine *machine);

/* Return the machine's last report in full, packed, with containers up to `containers` bytes.
 * The caller frees it. NULL: out of memory. */
uint8_t *stow_machine_report(const struct stow_machine *machine, size_t containers,
			     size_t *ret_len);
