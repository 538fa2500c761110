/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The scheduler's shared state, and changes that go to several places at once: to the table, to the
 * store, and as a directive to the agent.
 *
 * One lock, the fleet's (fleet/lock.h), is held while a method reads or changes the table: usually
 * for microseconds, and with a bound for each message. Calls never wait with the lock held. They
 * are answered from the store's thread when a write is durable, when an agent has confirmed, or
 * from the clock's thread when a fence is clear.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "numastow/v1/scheduler.pb-c.h"
#include "rpc/audit.h"
#include "rpc/log.h"
#include "rpc/metrics.h"
#include "rpc/rpc.h"
#include "scheduler/config.h"
#include "scheduler/fleet/fleet.h"
#include "scheduler/store/store.h"

struct scheduler_drains;
struct scheduler_fence;
struct scheduler_delivery_queue;
struct scheduler_probe;
struct scheduler_admission;
struct scheduler_controllers;
struct scheduler_extender;
struct scheduler_explain_queue;
struct scheduler_watch;
struct stow_place_op;

struct scheduler {
	struct scheduler_config config;
	struct stow_fleet *fleet;
	struct stow_store *store;
	struct stow_rpc_loop *loop;
	struct stow_rpc_server *server;
	int port;	    /* on which it listens */
	atomic_bool active; /* otherwise a standby */
	atomic_bool stopping;
	atomic_bool loading; /* the store is being read, under the lock */
	struct scheduler_probe *probe;
	struct scheduler_admission *_Atomic admission;	   /* NULL: off */
	struct scheduler_controllers *_Atomic controllers; /* NULL: off */
	struct scheduler_extender *_Atomic extender;	   /* NULL: off */
	char name[300];					   /* machine and port */
	struct stow_now since;				   /* when it became active */

	/* The clock's thread (clock.c), and the one that notifies watchers (service/watch.c). */
	pthread_t clock, watch;
	bool clock_runs, watch_runs;
	struct stow_log_limit silent_log, removed_log; /* the clock's */
	/* Waiting calls; under the fleet's lock. */
	struct stow_place_op *placing;
	struct scheduler_fence *fences;
	size_t n_fences;

	struct scheduler_watch *watchers; /* service/watch.h */
	pthread_mutex_t news_lock;	  /* of `watchers` and `news`; within the fleet's lock */
	pthread_cond_t news_changed;	  /* the thread that notifies watchers has work */
	bool news; /* the table has changed since watchers were last served */

	struct scheduler_drains *drains;		 /* under the fleet's lock */
	struct scheduler_delivery_queue *delivery_queue; /* has a lock of its own */
	struct scheduler_explain_queue *explain_queue;	 /* has a lock of its own */

	struct stow_audit audit;
	struct stow_histogram place_times;
	atomic_ulong placed, refused, reports, directives, expired, revoked, held;
};

/* Wake the thread that notifies watchers. The cost does not depend on their number. */
static inline void scheduler_news(struct scheduler *s)
{
	pthread_mutex_lock(&s->news_lock);
	if (!s->news)
		pthread_cond_signal(&s->news_changed);
	s->news = true;
	pthread_mutex_unlock(&s->news_lock);
}

/* All functions below require the fleet's lock. */

/* --- directives (directive.c) --------------------------------------------- */

enum scheduler_order { SCHEDULER_ORDER_PLAN, SCHEDULER_ORDER_DO, SCHEDULER_ORDER_CANCEL };

/* A directive that the agent has not answered. */
struct stow_directive {
	struct stow_directive *next;
	uint64_t id;
	uint64_t reservation, drain; /* its subject, or 0 */
	enum scheduler_order order;  /* of the drain */
};

/* Send a directive, if the machine's agent is connected. `reservation` is the directive's
 * subject, or 0. */
void scheduler_directive_send(struct scheduler *s, struct stow_machine *machine,
			      PbDirective *directive, uint64_t reservation);
/* Do the same for a drain. */
void scheduler_directive_send_drain(struct scheduler *s, struct stow_machine *machine,
				    PbDirective *directive, uint64_t drain,
				    enum scheduler_order order);
/* Allow the agent to forget the drain. */
void scheduler_directive_forget_drain(struct scheduler *s, struct stow_machine *machine,
				      char *drain);
/* Remove and return the directive that the agent has answered; the caller frees it. NULL: there
 * is none of that id. */
struct stow_directive *scheduler_directive_take(struct stow_machine *machine, uint64_t id);
/* Drop all directives, because the agent has disconnected. */
void scheduler_directives_drop(struct stow_machine *machine);

/* --- reservations (reservations.c) ---------------------------------------- */

/* End a reservation, in the table, in the store and on its machine. */
void scheduler_reservation_end(struct scheduler *s, struct stow_reservation *reservation,
			       struct stow_now now);
/* End several reservations in one write. Sort them by machine, so that each machine is refreshed
 * only once. */
void scheduler_reservations_end(struct scheduler *s, struct stow_reservation *const *list, size_t n,
				struct stow_now now);
/* Do the same, and add the deletions to the caller's `writes` (NULL: they are stored already). If
 * there is no memory for a deletion, the row expires after a restart. */
void scheduler_reservations_end_with(struct scheduler *s, struct stow_reservation *const *list,
				     size_t n, struct stow_now now, struct stow_writes *writes);
/* Write several reservations in one write. */
void scheduler_reservations_save(struct scheduler *s, struct stow_reservation *const *list,
				 size_t n);
/* Count the reservations on these NUMA nodes that no container uses yet. */
size_t scheduler_reservations_unbound(const struct stow_machine *machine,
				      const struct stow_idset *numa);
/* End them. Return how many they were. */
uint32_t scheduler_reservations_revoke(struct scheduler *s, struct stow_machine *machine,
				       const struct stow_idset *numa);

/* --- fences (fences.c) ---------------------------------------------------- */

/* Send the machine all its fences, and notify watchers. */
void scheduler_fences_notify(struct scheduler *s, struct stow_machine *machine);
