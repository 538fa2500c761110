/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Drains: memory that leaves a machine, from the request to the end.
 *
 *	WAITING    for its turn; then the machine plans (still WAITING)
 *	PLANNED    fenced, and waiting for reservations on the NUMA node to be used or to run out
 *	FENCED     the machine is told to do it
 *	MOVING .. UNDOING	as the machine says
 *	DONE, PARTIAL, FAILED, CANCELLED
 *
 * Each step is stored before what follows from it is done, together with what webhooks are to be
 *told of it: whoever is started again goes on from there. All of this is under the fleet's lock.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numastow/v1/scheduler.pb-c.h"
#include "scheduler/drain/event.h"
#include "scheduler/fleet/fleet.h"

struct scheduler;
struct scheduler_letter;

#define SCHEDULER_DRAINS_MAX	10000 /* under way */
#define SCHEDULER_ENDED_MAX	1000  /* that are still listed */
#define SCHEDULER_ENDED_KEPT	(24 * 3600 * STOW_SECOND)
#define SCHEDULER_FOLLOWERS_MAX 64 /* calls that follow one drain */
#define SCHEDULER_TRIES_MAX	3 /* dry runs at a time on one machine: an agent makes four plans */
#define SCHEDULER_PLAN_WITHIN	(300 * STOW_SECOND)

#define SCHEDULER_ENDS 4 /* DONE to CANCELLED */

/* What is stored beside the message. */
enum {
	SCHEDULER_DRAIN_REVOKE = 1 << 0, /* reservations, instead of waiting for them */
	SCHEDULER_DRAIN_FENCE = 1 << 1,	 /* the NUMA node of its plan is fenced by it */
	SCHEDULER_DRAIN_CANCEL = 1 << 2, /* has been asked for */
	SCHEDULER_DRAIN_TOLD = 1 << 8,	 /* << enum scheduler_event: is in the outbox, or was */
};

/* A call of DrainMemory; the stream's own data. */
struct scheduler_follower {
	struct scheduler_follower *next;
	struct stow_rpc_call *call;    /* until its `closed` */
	struct scheduler_drain *drain; /* NULL: has ended, and the call is being closed */
};

struct scheduler_drain {
	struct stow_link link; /* in s->drains.ids */
	uint64_t id;
	struct stow_machine *machine; /* NULL when it has ended */
	PbDrain *message;	      /* as it is shown; its plan is there, not in the progress */
	char *request_id;	      /* or NULL */
	uint32_t flags;
	uint32_t events;    /* bits: to be stored with the next writing */
	PbDrainStep stored; /* the furthest step that was written */
	bool dry;	    /* plan only: not stored, not listed */
	bool owed;	    /* followers are to be told when it is durable */
	bool known;	    /* the first writing is durable, and followers are told */
	bool turn;	    /* has it: counts towards the limits */
	bool asked;	    /* on this stream, to plan or to do it */
	bool taken;	    /* the machine has said that it has it */
	bool lost;	    /* ... and does not have it any more: to be asked again */
	unsigned int writing;
	bool unsaved;	/* the store could not take it */
	uint64_t retry; /* monotonic, for that */
	uint64_t since; /* monotonic: asked to plan, or fenced */
	struct scheduler_follower *followers;
	size_t n_followers;
};

struct scheduler_drains {
	struct stow_hash ids;
	struct scheduler_drain **under_way, **ended; /* the oldest first */
	size_t n_under_way, n_ended, under_way_room, ended_room;
	uint64_t counts[SCHEDULER_ENDS]; /* that have ended so, since the start */
	bool look;			 /* somebody may have a turn now */
	uint64_t looked;
};

static inline bool scheduler_step_is_end(PbDrainStep step)
{
	return step >= PB_DRAIN_STEP_DONE && step <= PB_DRAIN_STEP_CANCELLED;
}

static inline bool scheduler_drain_ended(const struct scheduler_drain *d)
{
	return scheduler_step_is_end(d->message->progress->step);
}

/* --- the table (table.c) ------------------------------------------------------------------------ */

/* Enters a drain, which takes `message` over. -ENOMEM, and `message` is still the caller's. */
int scheduler_drain_add(struct scheduler *s, struct stow_machine *machine, uint64_t id,
			PbDrain *message, struct scheduler_drain **ret, struct stow_err *err);
void scheduler_drain_remove(struct scheduler *s, struct scheduler_drain *d);
struct scheduler_drain *scheduler_drain_find(const struct scheduler *s, uint64_t id);
struct scheduler_drain *scheduler_drain_by_request(const struct scheduler *s,
						   const char *request_id);
uint64_t scheduler_drain_new_id(const struct scheduler *s);

/* Writes it as it is now, with the events that are due. `call` (or NULL) is a CancelDrain that is
 * answered when it is durable. */
void scheduler_drain_save(struct scheduler *s, struct scheduler_drain *d,
			  struct stow_rpc_call *call);
/* Webhooks are to be told, once. */
void scheduler_drain_event(struct scheduler_drain *d, enum scheduler_event event);

/* Sends what it is at to those who follow; `whole`: with the plan. Those of one that has ended are
 * closed. */
void scheduler_drain_tell(struct scheduler_drain *d, bool whole);
void scheduler_drain_tell_one(const struct scheduler_drain *d, struct scheduler_follower *f,
			      bool whole);
/* One line, for those who look on. Returns whether it is another one than before. */
bool scheduler_drain_say(struct scheduler_drain *d, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Closes all calls that follow, with an error. */
void scheduler_drain_hang_up(struct scheduler_drain *d, const struct stow_err *err);

/* A step of its own, not the machine's. */
void scheduler_drain_step(struct scheduler_drain *d, PbDrainStep step);
/* The end: the fence is lifted, webhooks and followers are told. `code`: a gRPC status. */
void scheduler_drain_end(struct scheduler *s, struct scheduler_drain *d, PbDrainStep step,
			 uint32_t code, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The fences of the drains of a machine, from their flags. */
int scheduler_drain_fences(struct scheduler *s, struct stow_machine *machine, struct stow_err *err);

/* What the store has; after the last one. */
int scheduler_drain_load(void *ctx, uint64_t id, uint64_t flags, const void *message, size_t len,
			 const char *request_id, struct stow_err *err);
void scheduler_drains_loaded(struct scheduler *s);
/* Those that ended long ago. */
void scheduler_drains_forget(struct scheduler *s, struct stow_now now);
void scheduler_drains_stop(struct scheduler *s);
void scheduler_drains_free(struct scheduler *s);

/* --- how it goes on (state.c) ------------------------------------------------------------------- */

/* What can be done now for one drain; after every change. */
void scheduler_drain_go_on(struct scheduler *s, struct scheduler_drain *d, struct stow_now now);
void scheduler_drains_tick(struct scheduler *s, struct stow_now now);
/* Asked to end it: at once, or by its machine. `call`: a CancelDrain, or NULL. */
void scheduler_drain_cancel(struct scheduler *s, struct scheduler_drain *d,
			    struct stow_rpc_call *call);

enum scheduler_order { SCHEDULER_ORDER_PLAN, SCHEDULER_ORDER_DO, SCHEDULER_ORDER_CANCEL };

/* What the machine says: takes `progress` over; ids of others are passed over. */
void scheduler_drain_progress(struct scheduler *s, struct stow_machine *machine,
			      PbDrainProgress *progress);
void scheduler_drain_result(struct scheduler *s, struct stow_machine *machine, uint64_t id,
			    enum scheduler_order what, const PbDirectiveResult *result);
/* The first report of a stream, after its Welcome: what the machine has, ascending. */
void scheduler_drains_reported(struct scheduler *s, struct stow_machine *machine,
			       const uint64_t *ids, size_t n);
/* -EBUSY: which one keeps the fences of this machine. */
int scheduler_drain_in_the_way(const struct scheduler *s, const struct stow_machine *machine,
			       struct stow_err *err);
