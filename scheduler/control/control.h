/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the rooms above the fleet's table share, and changes that are made everywhere at once: in
 * the table, in the store, and by a directive to the machine.
 *
 * One lock, the fleet's (fleet/lock.h), is held for as long as a method reads or changes the table:
 * microseconds mostly, and what one message can make of it has a bound. What waits does so without
 * it: for the store (a caller is answered from the store's thread), for an agent's word, for a
 * fence to be clear (from the clock's thread).
 */

#include <pthread.h>
#include <stdatomic.h>

#include "numastow/v1/scheduler.pb-c.h"
#include "rpc/audit.h"
#include "rpc/metrics.h"
#include "rpc/rpc.h"
#include "scheduler/config.h"
#include "scheduler/fleet/fleet.h"
#include "scheduler/store/store.h"

struct scheduler_drains;
struct scheduler_fence;
struct scheduler_delivery_queue;
struct scheduler_probe;
struct scheduler_explain_queue;
struct scheduler_watcher;
struct stow_place_op;

struct scheduler {
	struct scheduler_config config;
	struct stow_fleet *fleet;
	struct stow_store *store;
	struct stow_rpc_loop *loop;
	struct stow_rpc_server *server;
	int port;	    /* where it listens */
	atomic_bool active; /* else a standby */
	atomic_bool stopping;
	atomic_bool loading; /* the store is being read, under the lock */
	struct scheduler_probe *probe;
	char name[300]; /* its machine and port */
	uint64_t since; /* active since: wall time, ns */

	/* The clock's thread: what runs out, who is silent, who waits. */
	pthread_t clock, teller;
	bool clock_runs, teller_runs;
	/* Calls that wait, and who watches; the fleet's lock. */
	struct stow_place_op *placing;
	struct scheduler_fence *fences;
	size_t n_fences;
	struct scheduler_watcher *watchers, *last_watcher;
	uint64_t watch_round;	/* in which all of them are told what is new */
	bool watch_again;	/* somebody came since the round began */
	pthread_cond_t changed; /* with the fleet's lock: news for watchers */

	struct scheduler_drains *drains;		 /* the fleet's lock */
	struct scheduler_delivery_queue *delivery_queue; /* has its own */
	struct scheduler_explain_queue *explain_queue;	 /* the same */

	struct stow_audit audit;
	struct stow_histogram place_times;
	atomic_ulong placed, refused, reports, directives, expired, revoked, held;
};

/* News for those who watch. */
static inline void scheduler_news(struct scheduler *s)
{
	pthread_cond_signal(&s->changed);
}

/* All that follows wants the fleet's lock held. */

/* --- directives (directive.c) ------------------------------------------------------------------- */

enum scheduler_order { SCHEDULER_ORDER_PLAN, SCHEDULER_ORDER_DO, SCHEDULER_ORDER_CANCEL };

/* A directive that the agent has not answered. */
struct stow_directive {
	struct stow_directive *next;
	uint64_t id;
	uint64_t reservation, drain; /* that it is about, or 0 */
	enum scheduler_order order;  /* about the drain */
};

/* Sends a directive, when the machine's agent is connected. `reservation` is the one that it is
 * about, or 0. */
void scheduler_directive_send(struct scheduler *s, struct stow_machine *machine,
			      PbDirective *directive, uint64_t reservation);
/* The same about a drain. */
void scheduler_directive_send_drain(struct scheduler *s, struct stow_machine *machine,
				    PbDirective *directive, uint64_t drain,
				    enum scheduler_order order);
/* The machine need not do, or say, anything about that drain any more. */
void scheduler_directive_let_go(struct scheduler *s, struct stow_machine *machine, char *drain);
/* The agent has answered it: to be freed. NULL: none of that id was given. */
struct stow_directive *scheduler_directive_take(struct stow_machine *machine, uint64_t id);
/* The agent is gone: no answer will come. */
void scheduler_directives_drop(struct stow_machine *machine);

/* --- reservations (reservations.c) -------------------------------------------------------------- */

/* Ends a reservation, here, in the store and on its machine. */
void scheduler_reservation_end(struct scheduler *s, struct stow_reservation *reservation,
			       struct stow_now now);
/* The same with many of them, as one write; each machine is computed once when those of one machine
 * come one after the other. */
void scheduler_reservations_end(struct scheduler *s, struct stow_reservation *const *list, size_t n,
				struct stow_now now);
/* The same; the deletions become part of `writes` (NULL: they are stored already), which are the
 * caller's. Without memory they run out by themselves after a restart. */
void scheduler_reservations_end_with(struct scheduler *s, struct stow_reservation *const *list,
				     size_t n, struct stow_now now, struct stow_writes *writes);
/* Writes reservations as they are now, all of them at once. */
void scheduler_reservations_save(struct scheduler *s, struct stow_reservation *const *list,
				 size_t n);
/* Those on these NUMA nodes that are no container yet: how many; ends all of them. */
size_t scheduler_reservations_unbound(const struct stow_machine *machine,
				      const struct stow_idset *numa);
uint32_t scheduler_reservations_revoke(struct scheduler *s, struct stow_machine *machine,
				       const struct stow_idset *numa);

/* --- fences (fences.c) -------------------------------------------------------------------------- */

/* The machine is told of all its fences, and whoever watches. */
void scheduler_fences_notify(struct scheduler *s, struct stow_machine *machine);
