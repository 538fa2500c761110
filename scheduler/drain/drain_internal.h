/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Drains, for the files of this folder. All functions require the fleet's lock. */

#include "scheduler/drain/drain.h"
#include "scheduler/drain/event.h"

#define SCHEDULER_DRAINS_MAX	10000 /* running */
#define SCHEDULER_ENDED_MAX	1000  /* ended drains in lists */
#define SCHEDULER_ENDED_KEPT	(24 * 3600 * STOW_SECOND)
#define SCHEDULER_FOLLOWERS_MAX 64 /* calls of DrainMemory per drain */
#define SCHEDULER_TRIES_MAX	3  /* dry runs per machine; an agent makes 4 plans at a time */
#define SCHEDULER_PLAN_WITHIN	(300 * STOW_SECOND)

/* Flags that are stored with the message. */
enum {
	SCHEDULER_DRAIN_REVOKE = 1 << 0, /* revoke reservations instead of waiting for them */
	SCHEDULER_DRAIN_FENCE = 1 << 1,	 /* it fences the NUMA node of its plan */
	SCHEDULER_DRAIN_CANCEL = 1 << 2, /* its cancellation was requested */
	SCHEDULER_DRAIN_TOLD =
		1 << 8, /* << enum scheduler_event: the event is or was in the queue */
};

struct scheduler_delivery;

/* A call of DrainMemory; the data of its stream. */
struct scheduler_follower {
	struct scheduler_follower *next;
	struct stow_rpc_call *call;    /* until its `closed` */
	struct scheduler_drain *drain; /* NULL: the drain has ended, and the call is being closed */
};

struct scheduler_drain {
	struct stow_link link; /* in s->drains->ids */
	uint64_t id;
	struct stow_machine *machine; /* NULL after the end */
	PbDrain *message;	      /* as in lists; the plan is here, not in `progress` */
	char *request_id;	      /* or NULL */
	uint32_t flags;
	uint32_t events;    /* bits: events to store with the next write */
	PbDrainStep stored; /* the furthest step that was stored */
	bool dry;	    /* plan only: not stored, not listed */
	bool notify_due;    /* notify followers when the write is durable */
	bool known;	    /* the first write is durable, and followers are notified */
	bool slot;	    /* it has a slot: it counts towards the limits */
	bool asked;	    /* ordered on this stream, to plan or to drain */
	bool taken;	    /* the agent has confirmed that it has the drain */
	bool lost;	    /* ... and no longer has it: order it again */
	unsigned int writing;
	bool unsaved;	/* the last write failed */
	uint64_t retry; /* monotonic: when to write again */
	uint64_t since; /* monotonic: when a plan was ordered, or when it was fenced */
	struct scheduler_follower *followers;
	size_t n_followers;
};

struct scheduler_drains {
	struct stow_hash ids;
	struct scheduler_drain **under_way, **ended; /* oldest first */
	size_t n_under_way, n_ended, under_way_room, ended_room;
	uint64_t counts[SCHEDULER_ENDS]; /* ended since the start, by outcome */
	bool look;			 /* a waiting drain may be able to get a slot */
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

/* --- the table (table.c) -------------------------------------------------- */

/* Add a drain. Takes ownership of `message`, except on -ENOMEM. */
int scheduler_drain_add(struct scheduler *s, struct stow_machine *machine, uint64_t id,
			PbDrain *message, struct scheduler_drain **ret, struct stow_err *err);
void scheduler_drain_remove(struct scheduler *s, struct scheduler_drain *d);
/* Move a drain from the running to the ended ones. */
void scheduler_drain_retire(struct scheduler *s, struct scheduler_drain *d);
struct scheduler_drain *scheduler_drain_find(const struct scheduler *s, uint64_t id);
struct scheduler_drain *scheduler_drain_by_request(const struct scheduler *s,
						   const char *request_id);
uint64_t scheduler_drain_new_id(const struct scheduler *s);

/* --- followers (followers.c) ---------------------------------------------- */

void scheduler_drain_follow(struct scheduler_drain *d, struct scheduler_follower *f);
/* Remove a follower whose call is closed. */
void scheduler_drain_unfollow(struct scheduler_drain *d, struct scheduler_follower *f);
/* Send the progress to all followers (or one), with `whole` including the plan. Closes the calls
 * when the drain has ended. */
void scheduler_drain_send(struct scheduler_drain *d, bool whole);
void scheduler_drain_send_one(const struct scheduler_drain *d, struct scheduler_follower *f,
			      bool whole);
/* Set the status line, and send it to followers if it has changed. */
void scheduler_drain_status(struct scheduler_drain *d, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Close all followers' calls, with an error or NULL. */
void scheduler_drain_hang_up(struct scheduler_drain *d, const struct stow_err *err);

/* --- fences (fence.c) ----------------------------------------------------- */

/* Update a machine's drain fences from the flags of its drains. -ENOMEM. */
int scheduler_drain_fences(struct scheduler *s, struct stow_machine *machine, struct stow_err *err);

/* --- webhook events (notify.c) -------------------------------------------- */

/* Store the event with the next write, unless it was stored before. */
void scheduler_drain_notify(struct scheduler_drain *d, enum scheduler_event event);
/* The drain has ended: store the events of steps that were missed. */
void scheduler_drain_notify_end(struct scheduler *s, struct scheduler_drain *d);
/* Release a held event: the agent reported that the memory is offline, or the drain has ended,
 * so that the memory may still be removed. */
void scheduler_drain_release(struct scheduler *s, const struct scheduler_drain *d,
			     enum scheduler_event event);
/* After a start, hold the events that allow removal until the agent reports the memory offline
 * again. */
void scheduler_drain_hold(struct scheduler *s, const struct scheduler_drain *d);
/* Add the due events to `writes`, and withdraw those that are no longer true. -ENOMEM. */
int scheduler_drain_write_events(struct scheduler *s, const struct scheduler_drain *d,
				 struct stow_writes *writes,
				 struct scheduler_delivery **deliveries);
/* Queue deliveries that are durable. */
void scheduler_drain_post(struct scheduler *s, const struct scheduler_drain *d,
			  struct scheduler_delivery *deliveries);

/* --- the store (save.c) --------------------------------------------------- */

/* Write the drain to the store, with its due events. When the write is durable, or (with an
 * error) has failed, `call` (a CancelDrain, or NULL) is answered, and `then` is called with the
 * lock held; `first`: it was the drain's first write. */
void scheduler_drain_write(struct scheduler *s, struct scheduler_drain *d,
			   struct stow_rpc_call *call,
			   void (*then)(struct scheduler *s, struct scheduler_drain *d, bool first,
					const struct stow_err *err));

/* --- orders to the agent (orders.c) --------------------------------------- */

void scheduler_drain_order(struct scheduler *s, struct scheduler_drain *d,
			   enum scheduler_order what);
/* Allow the agent to forget the drain, because its end is stored. */
void scheduler_drain_acknowledge(struct scheduler *s, struct scheduler_drain *d);

/* --- the state machine (state.c) ------------------------------------------ */

/* Take the next possible action; called after every change. */
void scheduler_drain_go_on(struct scheduler *s, struct scheduler_drain *d, struct stow_now now);
/* Write the drain as scheduler_drain_write() does, then continue. */
void scheduler_drain_save(struct scheduler *s, struct scheduler_drain *d,
			  struct stow_rpc_call *call);
/* Cancel a drain: at once, or through its agent. `call`: the CancelDrain, or NULL. */
void scheduler_drain_cancel(struct scheduler *s, struct scheduler_drain *d,
			    struct stow_rpc_call *call);
