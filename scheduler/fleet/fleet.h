/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The fleet: what every machine has, and what of it was promised here and is not yet in the
 * machine's own numbers. All in memory, under one lock; what must survive a crash is in the store
 * (store/store.h).
 *
 * Placing reads a few numbers of the NUMA nodes of a machine. They lie in columns, one array for
 * each number; each machine has the largest and the sum of its numbers in other columns. Which
 * machines are worth looking at says an index over them (index.h).
 *
 * A promise is counted once. As long as a machine's report does not list a reservation, what it
 * takes is subtracted here from the numbers of the report; from the report on that lists it, the
 * report's own numbers have it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/idset.h"
#include "numastow/v1/scheduler.pb-c.h"
#include "place/request.h"
#include "scheduler/fleet/ids.h"
#include "scheduler/fleet/index.h"
#include "scheduler/fleet/lock.h"
#include "scheduler/fleet/now.h"
#include "scheduler/fleet/report.h"

struct stow_rpc_call;
struct stow_directive;
struct stow_reservation;
struct stow_answer;

/* Which container has a reservation, or holds it as a lease. */
struct stow_has {
	uint64_t reservation;
	uint32_t container; /* its index */
	bool lease;
};

struct stow_machine {
	struct stow_link link; /* in fleet->names, by the name's hash */
	char *name;
	uint32_t index; /* in the columns */

	/* As reported; n_numa is 0 as long as nothing was. */
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
	bool overdone; /* lists more reservations than are looked into */
	bool stale;    /* or never seen */

	uint32_t n_drains; /* under way */
	char *domain;	   /* its failure domain; "" or NULL for none */

	/* By us; NULL: none. What operators have fenced, what a drain has, and both. */
	struct stow_idset *fences, *draining, *fenced;
	struct stow_reservation *reservations;
	size_t n_reservations;	  /* at most STOW_RESERVATIONS_MAX */
	size_t reservation_bytes; /* of their messages: a Welcome has them all */
	uint64_t refilled;	  /* monotonic: since when */
	uint32_t adoptions;	  /* unknown ids may still be looked into */

	/* Its agent. */
	uint32_t streams;	      /* this one, and those that it took over from */
	struct stow_rpc_call *stream; /* NULL: not connected */
	uint64_t sequence;
	uint64_t directive;		    /* the last id that was given */
	struct stow_directive *outstanding; /* without a result yet */
	uint64_t heard;			    /* monotonic */
	uint64_t last_seen;		    /* wall */
	uint32_t n_outstanding;

	/* For those who watch. */
	uint64_t changed;		    /* fleet->clock at that time */
	struct stow_machine *older, *newer; /* by time of change */
};

/* A machine that was forgotten, for those who watch. */
struct stow_gone {
	uint64_t at; /* fleet->clock */
	char *name;
};

#define STOW_GONE_KEPT 1024

/* Bounds of what is done under the lock for one machine, or for one message. */
#define STOW_RESERVATION_BYTES_MAX (2U << 20) /* a machine that has so much gets no more */
#define STOW_LEARN_MAX		   256	/* unknown ids of one machine a second; the rest, later */
#define STOW_FORGET_MOST	   1024 /* ended ids, or answers, at a time */
#define STOW_ENDED_MAX		   (1U << 17) /* ids that are remembered after their end */
#define STOW_ANSWERS_MAX	   (1U << 20)
#define STOW_ANSWER_BYTES_MAX	   (UINT64_C(256) << 20)

/* Per machine; what is not open for anything new counts as nothing. */
struct stow_machine_columns {
	uint32_t *first;     /* its first NUMA node in the other columns */
	uint16_t *n;	     /* NUMA nodes */
	uint16_t *open;	     /* NUMA nodes that give something */
	uint16_t *most_cpus; /* free CPUs of the NUMA node that has most */
	uint16_t *most_takeable;
	uint64_t *most_memory;
	uint32_t *cpus; /* sums */
	uint32_t *takeable;
	uint64_t *memory;
	uint32_t *unowned; /* CPUs that are no container's own */
	uint64_t *rank;	   /* how full it is; STOW_RANK_* */
	uint8_t *near;	   /* the smallest distance between two of its NUMA nodes */
};

/* A rank sorts machines from full to empty: the CPUs that are free; where these are the same, how
 * far the memory that is really available (GiB) is below what anybody has. */
#define STOW_RANK_CPUS_SHIFT 16
#define STOW_RANK_GIB_MAX    0xffff

/* A machine's place in the index: the distance first, for those that need several NUMA nodes. */
#define STOW_NEAR_SHIFT 48

static inline uint64_t stow_fleet_key(const struct stow_machine_columns *c, uint32_t m)
{
	return (uint64_t)c->near[m] << STOW_NEAR_SHIFT | c->rank[m];
}

/* Per NUMA node. */
struct stow_numa_columns {
	uint16_t *cpus;	    /* free */
	uint16_t *takeable; /* ... that may become exclusive */
	uint64_t *memory;   /* bytes that may be promised */
	uint8_t *flags;	    /* enum stow_numa_flags */
};

enum stow_numa_flags {
	STOW_NUMA_OPEN = 1 << 0,  /* gives, to those who do not name NUMA nodes */
	STOW_NUMA_GIVES = 1 << 1, /* gives, to those who name it: without CPUs, maybe */
};

struct stow_fleet {
	struct stow_lock lock;
	struct stow_machine **machines;
	uint32_t n_machines, room;
	struct stow_machine_columns of_machine;
	struct stow_numa_columns of_numa;
	struct stow_index index;	       /* of those that are open */
	uint32_t n_numa, numa_room, numa_dead; /* dead: left behind by machines that changed */
	uint32_t n_fresh;		       /* machines that are not stale */

	struct stow_hash names, reservations, answers, ended;
	struct stow_ended *first_ended, *last_ended;
	struct stow_answer *oldest_answer, *newest_answer;
	uint64_t answer_bytes;
	struct stow_room *rooms; /* of one machine's NUMA nodes, while it is computed */
	uint32_t rooms_room;
	uint32_t readers; /* who go on after they gave the lock up: no machine is forgotten */
	struct stow_reservation **expiring; /* a heap, the first to run out on top; from 1 */
	size_t n_expiring, expiring_room;

	uint64_t clock; /* counts changes */
	struct stow_machine *oldest, *newest;
	struct stow_gone gone[STOW_GONE_KEPT];
	size_t n_gone; /* ever; a ring */
};

int stow_fleet_new(struct stow_fleet **ret_fleet, struct stow_err *err);
void stow_fleet_free(struct stow_fleet *fleet);

static inline void stow_fleet_free_ptr(struct stow_fleet **f)
{
	if (*f)
		stow_fleet_free(*f);
}

/* All that follows wants the lock held. */

/* The machine of that name, or NULL; with stow_fleet_get() it is made (-ENOMEM). */
struct stow_machine *stow_fleet_find(const struct stow_fleet *fleet, const char *name);
int stow_fleet_get(struct stow_fleet *fleet, const char *name, struct stow_machine **ret_machine,
		   struct stow_err *err);
/* A machine without reservations, fences and streams; watchers are told. */
void stow_fleet_forget(struct stow_fleet *fleet, struct stow_machine *machine);

/* Takes the report over, all of it or (with an error) nothing. -EPROTO: changes of NUMA nodes that
 * the machine has not, or that make more of it than there can be. What became of reservations is
 * stow_fleet_reconcile()'s business. */
int stow_fleet_apply(struct stow_fleet *fleet, struct stow_machine *machine,
		     struct stow_report *report, struct stow_err *err);

/* A sign of life; `stale`: silent for too long. */
void stow_fleet_heard(struct stow_fleet *fleet, struct stow_machine *machine, struct stow_now now);
void stow_fleet_stale(struct stow_fleet *fleet, struct stow_machine *machine);

/* The operators' fences of a machine, all of them; the drains'. */
int stow_fleet_fence(struct stow_fleet *fleet, struct stow_machine *machine,
		     const struct stow_idset *numa, struct stow_err *err);
int stow_fleet_drain(struct stow_fleet *fleet, struct stow_machine *machine,
		     const struct stow_idset *numa, struct stow_err *err);

/* Computes a machine's part of the columns after anything of it has changed, and lets watchers
 * know. */
void stow_fleet_refresh(struct stow_fleet *fleet, struct stow_machine *machine);

/* What NUMA node i of a machine can still give. */
struct stow_room {
	bool gives; /* not fenced, machine heard of lately and obedient */
	uint16_t cpus, takeable;
	uint64_t memory;
	uint64_t pages[STOW_POOLS_MAX]; /* index as in numa->pools */
};

void stow_machine_room(const struct stow_machine *machine, uint32_t i, struct stow_room *ret);
/* The same for all its NUMA nodes, with one look at each reservation. */
void stow_machine_rooms(const struct stow_machine *machine, struct stow_room *ret);
/* It has as many reservations as one machine can have: it gives nothing. */
bool stow_machine_full(const struct stow_machine *machine);
/* The index of a NUMA node, or -1. */
int64_t stow_machine_numa(const struct stow_machine *machine, uint32_t id);
/* CPUs that are no container's own, on all its NUMA nodes. */
uint32_t stow_machine_unowned(const struct stow_machine *machine);

/* The machine's last report in full, packed, with containers up to `containers` bytes. To be freed
 * by the caller; NULL: no memory. */
uint8_t *stow_machine_report(const struct stow_machine *machine, size_t containers,
			     size_t *ret_len);
