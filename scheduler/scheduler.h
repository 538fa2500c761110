/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The scheduler: the fleet's table, the store behind it, and the service in front of them.
 *
 * One lock, the fleet's (fleet/lock.h), is held for as long as a method reads or changes the table:
 * microseconds mostly, and what one message can make of it has a bound.
 * What waits does so without it: for the store (a caller is answered from the store's thread), for
 * an agent's word, for a fence to be clear (from the clock's thread).
 */

#include <pthread.h>
#include <stdatomic.h>

#include "numastow/v1/scheduler.pb-c.h"
#include "rpc/audit.h"
#include "rpc/metrics.h"
#include "rpc/rpc.h"
#include "scheduler/config.h"
#include "scheduler/drain/drain.h"
#include "scheduler/drain/outbox.h"
#include "scheduler/fleet/fleet.h"
#include "scheduler/probe.h"
#include "scheduler/store/store.h"

struct scheduler_watcher;
struct scheduler_fence;

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
	struct scheduler_fence *fences; /* calls that wait; the fleet's lock */
	size_t n_fences;
	struct scheduler_watcher *watchers; /* the fleet's lock */
	pthread_cond_t changed;		    /* with the fleet's lock: news for watchers */

	struct scheduler_drains drains;	 /* the fleet's lock */
	struct scheduler_outbox *outbox; /* has its own */

	struct stow_audit audit;
	struct stow_histogram place_times;
	atomic_ulong placed, refused, reports, directives, expired, revoked;
};

/* The service's methods, by file. */
int scheduler_place(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		    struct stow_err *err); /* service/place.c */
int scheduler_release(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err);
extern const struct stow_rpc_stream_ops scheduler_report_ops; /* service/report.c */
extern const struct stow_rpc_stream_ops scheduler_watch_ops;  /* service/watch.c */
int scheduler_explain(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err); /* service/explain.c */
int scheduler_list_nodes(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
			 struct stow_err *err); /* service/list.c */
int scheduler_list_reservations(struct stow_rpc_call *call, void *ctx, const void *request,
				void *response, struct stow_err *err);
int scheduler_fence(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		    struct stow_err *err); /* service/fence.c */
int scheduler_unfence(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err);

extern const struct stow_rpc_stream_ops scheduler_drain_ops; /* drain/calls.c */
int scheduler_list_drains(struct stow_rpc_call *call, void *ctx, const void *request,
			  void *response, struct stow_err *err);
int scheduler_cancel_drain(struct stow_rpc_call *call, void *ctx, const void *request,
			   void *response, struct stow_err *err);

/* --- between the files; all with the fleet's lock held ------------------------------------------ */

/* Sends a directive, when the machine's agent is connected; its result comes back to
 * scheduler_on_result(). `reservation` is the one it is about, or 0. */
void scheduler_direct(struct scheduler *s, struct stow_machine *machine, PbDirective *directive,
		      uint64_t reservation);
/* The same about a drain; its result comes back to scheduler_drain_result(). */
void scheduler_direct_drain(struct scheduler *s, struct stow_machine *machine,
			    PbDirective *directive, uint64_t drain, enum scheduler_order order);
/* The machine need not do, or say, anything about that drain any more. */
void scheduler_let_go(struct scheduler *s, struct stow_machine *machine, char *drain);
/* What became of a directive about a reservation. */
void scheduler_on_result(struct scheduler *s, struct stow_machine *machine, uint64_t reservation,
			 const PbDirectiveResult *result);
/* Ends a reservation, here, in the store and on its machine. */
void scheduler_end(struct scheduler *s, struct stow_reservation *reservation, struct stow_now now);
/* The same with many of them, as one write; each machine is computed once when those of one machine
 * come one after the other. */
void scheduler_end_all(struct scheduler *s, struct stow_reservation *const *list, size_t n,
		       struct stow_now now);
/* Writes reservations as they are now, all of them at once. */
void scheduler_save_all(struct scheduler *s, struct stow_reservation *const *list, size_t n);
/* Callers who waited too long for agents' words; those who wait for a fence. */
void scheduler_place_tick(struct scheduler *s, struct stow_now now);
void scheduler_fence_tick(struct scheduler *s, struct stow_now now);
/* Reservations that are over and whom nobody told. */
void scheduler_drop_outstanding(struct stow_machine *machine);

/* A reservation on these NUMA nodes that is no container yet, or NULL; ends all of them. */
struct stow_reservation *scheduler_unbound(const struct stow_machine *machine,
					   const struct stow_idset *numa);
uint32_t scheduler_revoke(struct scheduler *s, struct stow_machine *machine,
			  const struct stow_idset *numa);
/* The machine is told of all its fences, and whoever watches. */
void scheduler_tell_fences(struct scheduler *s, struct stow_machine *machine);

/* A machine as it is shown; to be freed with stow_rpc_message_free(). */
PbNode *scheduler_show(const struct stow_machine *machine, bool containers);

/* News for those who watch. */
static inline void scheduler_news(struct scheduler *s)
{
	pthread_cond_signal(&s->changed);
}

/* Ends all waiting calls: at the end. */
void scheduler_place_stop(struct scheduler *s);
void scheduler_fence_stop(struct scheduler *s);

/* --- life (life.c) ------------------------------------------------------------------------------ */

/* Listens, as a standby. */
int scheduler_start(struct scheduler *s, struct stow_err *err);
/* Opens the store and enters what it has into the fleet's table. */
int scheduler_load(struct scheduler *s, struct stow_err *err);
/* Reads the store and serves. The data directory's lock is the caller's. */
int scheduler_activate(struct scheduler *s, struct stow_err *err);
void scheduler_stop(struct scheduler *s);

void scheduler_render_metrics(FILE *out, void *ctx);
bool scheduler_is_healthy(void *ctx, char *why, size_t size);
