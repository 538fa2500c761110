/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A drain as the files of this folder know it. With the fleet's lock held. */

#include "scheduler/drain/drain.h"
#include "scheduler/drain/event.h"

#define SCHEDULER_DRAINS_MAX	10000 /* under way */
#define SCHEDULER_ENDED_MAX	1000  /* that are still listed */
#define SCHEDULER_ENDED_KEPT	(24 * 3600 * STOW_SECOND)
#define SCHEDULER_FOLLOWERS_MAX 64 /* calls that follow one drain */
#define SCHEDULER_TRIES_MAX	3 /* dry runs at a time on one machine: an agent makes four plans */
#define SCHEDULER_PLAN_WITHIN	(300 * STOW_SECOND)

/* What is stored beside the message. */
enum {
	SCHEDULER_DRAIN_REVOKE = 1 << 0, /* reservations, instead of waiting for them */
	SCHEDULER_DRAIN_FENCE = 1 << 1,	 /* the NUMA node of its plan is fenced by it */
	SCHEDULER_DRAIN_CANCEL = 1 << 2, /* has been asked for */
	SCHEDULER_DRAIN_TOLD =
		1 << 8, /* << enum scheduler_event: is in the delivery queue, or was */
};

struct scheduler_delivery;

/* A call of DrainMemory; the stream's own data. */
struct scheduler_follower {
	struct scheduler_follower *next;
	struct stow_rpc_call *call;    /* until its `closed` */
	struct scheduler_drain *drain; /* NULL: has ended, and the call is being closed */
};

struct scheduler_drain {
	struct stow_link link; /* in s->drains->ids */
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
	bool slot;	    /* has it: counts towards the limits */
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

static inline PbDrainStep scheduler_drain_step(const struct scheduler_drain *d)
{
	return d->message->progress->step;
}

static inline bool scheduler_step_is_end(PbDrainStep step)
{
	return step >= PB_DRAIN_STEP_DONE && step <= PB_DRAIN_STEP_CANCELLED;
}

static inline bool scheduler_drain_ended(const struct scheduler_drain *d)
{
	return scheduler_step_is_end(scheduler_drain_step(d));
}

/* --- the table (table.c) ------------------------------------------------------------------------ */

/* Enters a drain, which takes `message` over. -ENOMEM, and `message` is still the caller's. */
int scheduler_drain_add(struct scheduler *s, struct stow_machine *machine, uint64_t id,
			PbDrain *message, struct scheduler_drain **ret, struct stow_err *err);
void scheduler_drain_remove(struct scheduler *s, struct scheduler_drain *d);
/* From those under way to those that have ended. */
void scheduler_drain_retire(struct scheduler *s, struct scheduler_drain *d);
struct scheduler_drain *scheduler_drain_find(const struct scheduler *s, uint64_t id);
struct scheduler_drain *scheduler_drain_by_request(const struct scheduler *s,
						   const char *request_id);
uint64_t scheduler_drain_new_id(const struct scheduler *s);

/* --- who follows (followers.c) ------------------------------------------------------------------ */

void scheduler_drain_follow(struct scheduler_drain *d, struct scheduler_follower *f);
/* The call is closed. */
void scheduler_drain_unfollow(struct scheduler_drain *d, struct scheduler_follower *f);
/* Sends what it is at; `whole`: with the plan. Those of one that has ended are closed. */
void scheduler_drain_send(struct scheduler_drain *d, bool whole);
void scheduler_drain_send_one(const struct scheduler_drain *d, struct scheduler_follower *f,
			      bool whole);
/* One line, for those who look on, which followers are told when it is another than before. */
void scheduler_drain_status(struct scheduler_drain *d, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Closes all calls that follow, with an error or NULL. */
void scheduler_drain_hang_up(struct scheduler_drain *d, const struct stow_err *err);

/* --- its fence (fence.c) ------------------------------------------------------------------------ */

/* The fences of the drains of a machine, from their flags. -ENOMEM. */
int scheduler_drain_fences(struct scheduler *s, struct stow_machine *machine, struct stow_err *err);

/* --- what webhooks are told (notify.c) ---------------------------------------------------------- */

/* They are to be told, once, with the next writing. */
void scheduler_drain_notify(struct scheduler_drain *d, enum scheduler_event event);
/* It has ended: of what they have not heard by then. */
void scheduler_drain_notify_end(struct scheduler *s, struct scheduler_drain *d);
/* The machine's word that memory is offline, or the end of a drain, says that what may be removed
 * is still so: what was held goes out. */
void scheduler_drain_release(struct scheduler *s, const struct scheduler_drain *d,
			     enum scheduler_event event);
/* After a start nothing that says so goes out before the machine has said it again. */
void scheduler_drain_hold(struct scheduler *s, const struct scheduler_drain *d);
/* Adds to `writes` what is due, and takes away what must not be told any more. -ENOMEM. */
int scheduler_drain_write_events(struct scheduler *s, const struct scheduler_drain *d,
				 struct stow_writes *writes,
				 struct scheduler_delivery **deliveries);
/* These are durable. */
void scheduler_drain_post(struct scheduler *s, const struct scheduler_drain *d,
			  struct scheduler_delivery *deliveries);

/* --- the store (save.c) ------------------------------------------------------------------------- */

/* Writes it as it is now, with the events that are due. `call` (or NULL) is a CancelDrain that is
 * answered when it is durable. Then, or (with an error) when it cannot be, `then` is called with
 * the lock held; `first`: it was written for the first time. */
void scheduler_drain_write(struct scheduler *s, struct scheduler_drain *d,
			   struct stow_rpc_call *call,
			   void (*then)(struct scheduler *s, struct scheduler_drain *d, bool first,
					const struct stow_err *err));

/* --- orders to its machine (orders.c) ----------------------------------------------------------- */

void scheduler_drain_order(struct scheduler *s, struct scheduler_drain *d,
			   enum scheduler_order what);
/* The machine may forget it: its end is stored. */
void scheduler_drain_acknowledge(struct scheduler *s, struct scheduler_drain *d);

/* --- how it goes on (state.c) ------------------------------------------------------------------- */

/* What can be done now; after every change. */
void scheduler_drain_go_on(struct scheduler *s, struct scheduler_drain *d, struct stow_now now);
/* Writes it, and goes on from there; as scheduler_drain_write(). */
void scheduler_drain_save(struct scheduler *s, struct scheduler_drain *d,
			  struct stow_rpc_call *call);
/* Asked to end it: at once, or by its machine. `call`: a CancelDrain, or NULL. */
void scheduler_drain_cancel(struct scheduler *s, struct scheduler_drain *d,
			    struct stow_rpc_call *call);
