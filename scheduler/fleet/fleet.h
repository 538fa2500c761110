/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The fleet's table: what every machine has, and the promises of this scheduler that the machine's
 * report does not include yet. All in memory, under one lock; what must survive a crash is in the
 * store (store/store.h).
 *
 * Placing reads a few numbers of each NUMA node. They are stored in columns, one array for each
 * number. Other columns have the maximum and the sum of each number per machine. An index over the
 * machines (index.h) finds those that may fit.
 *
 * A promise is counted once. The table subtracts a reservation from the numbers of a machine's
 * report until a report lists the reservation. From then on the report's numbers include it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "place/request.h"
#include "scheduler/fleet/ids.h"
#include "scheduler/fleet/index.h"
#include "scheduler/fleet/lock.h"
#include "scheduler/fleet/machine.h"
#include "scheduler/fleet/now.h"

struct stow_answer;

/* A machine that was removed from the table, for watchers. */
struct stow_gone {
	uint64_t at; /* fleet->clock */
	char *name;
};

#define STOW_GONE_KEPT 1024
/* Changes that can be found by their time: at least so many, and four for each machine. */
#define STOW_RECENT_MIN (1U << 16)

/* Bounds of the work under the lock for one machine or one message. */
#define STOW_LEARN_MAX	      256	 /* unknown ids per machine and second; later more */
#define STOW_FORGET_MOST      1024	 /* ended ids, or answers, per call */
#define STOW_ENDED_MAX	      (1U << 17) /* ids that are remembered after they ended */
#define STOW_ANSWERS_MAX      (1U << 20)
#define STOW_ANSWER_BYTES_MAX (UINT64_C(256) << 20)

/* Per machine. NUMA nodes on which nothing may be placed count as 0. */
struct stow_machine_columns {
	uint32_t *first;     /* its first NUMA node in the other columns */
	uint16_t *n;	     /* NUMA nodes */
	uint16_t *open;	     /* NUMA nodes on which something may be placed */
	uint16_t *most_cpus; /* the most free CPUs of one NUMA node */
	uint16_t *most_takeable;
	uint64_t *most_memory;
	uint32_t *cpus; /* sums */
	uint32_t *takeable;
	uint64_t *memory;
	uint32_t *nonexclusive; /* CPUs that are not exclusive */
	uint64_t *rank;		/* fullness; STOW_RANK_* */
	uint8_t *near;		/* the smallest distance between two of its NUMA nodes */
};

/* A rank sorts machines from full to empty: first by free CPUs, then by available memory (GiB). */
#define STOW_RANK_CPUS_SHIFT 16
#define STOW_RANK_GIB_MAX    0xffff

/* A machine's key in the index: first the distance, for requests that need several NUMA nodes. */
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
	STOW_NUMA_OPEN = 1 << 0,  /* open to requests that do not name NUMA nodes */
	STOW_NUMA_GIVES = 1 << 1, /* open to requests that name it; may have no CPUs */
};

struct stow_fleet {
	struct stow_lock lock;
	struct stow_machine **machines;
	uint32_t n_machines, room;
	struct stow_machine_columns of_machine;
	struct stow_numa_columns of_numa;
	struct stow_index index; /* of machines that are open to placements */
	uint32_t n_numa, numa_room;
	uint32_t numa_dead; /* unused columns of machines that have moved */

	struct stow_hash names, reservations, answers, ended;
	struct stow_ended *first_ended, *last_ended;
	struct stow_answer *oldest_answer, *newest_answer;
	uint64_t answer_bytes;
	struct stow_room *rooms; /* scratch space for the NUMA nodes of one machine */
	uint32_t rooms_room;
	uint32_t readers; /* threads that gave up the lock for a moment: no machine is removed */
	struct stow_reservation **expiring; /* a heap from index 1, the earliest expiry on top */
	size_t n_expiring, expiring_room;

	uint64_t clock; /* counts changes */
	struct stow_machine *oldest, *newest;
	/* The last `n_recent` changes, a ring by `changed`; NULL: the machine has changed again, or
	 * was removed. n_recent is a power of two. */
	struct stow_machine **recent;
	uint64_t *recent_bits; /* which of them are not NULL */
	size_t n_recent;
	struct stow_gone gone[STOW_GONE_KEPT];
	size_t n_gone; /* all so far; `gone` is a ring */
};

int stow_fleet_new(struct stow_fleet **ret_fleet, struct stow_err *err);
void stow_fleet_free(struct stow_fleet *fleet);

/* All functions below require the lock. */

/* Return the machine of that name, or NULL. stow_fleet_get() adds it when it is missing
 * (-ENOMEM). */
struct stow_machine *stow_fleet_find(const struct stow_fleet *fleet, const char *name);
int stow_fleet_get(struct stow_fleet *fleet, const char *name, struct stow_machine **ret_machine,
		   struct stow_err *err);
/* Remove a machine that has no reservations, fences and streams, and notify watchers. */
void stow_fleet_forget(struct stow_fleet *fleet, struct stow_machine *machine);

/* Apply the report, completely or (with an error) not at all. -EPROTO: it changes NUMA nodes
 * that the machine does not have, or exceeds a limit. stow_fleet_reconcile() updates the
 * reservations. */
int stow_fleet_apply(struct stow_fleet *fleet, struct stow_machine *machine,
		     struct stow_report *report, struct stow_err *err);

/* Note that a message of the machine's agent has come. */
void stow_fleet_seen(struct stow_fleet *fleet, struct stow_machine *machine, struct stow_now now);
/* Mark a machine as stale. */
void stow_fleet_stale(struct stow_fleet *fleet, struct stow_machine *machine);

/* Replace the operators' fences of a machine; replace the drains' fences. */
int stow_fleet_fence(struct stow_fleet *fleet, struct stow_machine *machine,
		     const struct stow_idset *numa, struct stow_err *err);
int stow_fleet_drain(struct stow_fleet *fleet, struct stow_machine *machine,
		     const struct stow_idset *numa, struct stow_err *err);

/* Return the machine with the first change after *seen, and set *seen to just before that change.
 * Look at most *looks times, at 64 changes each, and subtract the looks that were taken. NULL: none
 * was found so far; or `too_old`: the changes after *seen are no longer known by their time. */
struct stow_machine *stow_fleet_next(const struct stow_fleet *fleet, uint64_t *seen,
				     unsigned int *looks, bool *too_old);
/* Compute a machine's columns after any change of it, and notify watchers. */
void stow_fleet_refresh(struct stow_fleet *fleet, struct stow_machine *machine);
