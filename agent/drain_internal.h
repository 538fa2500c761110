/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the files of the drains. */

#include <pthread.h>

#include "agent/drain.h"
#include "rpc/log.h"

#define AGENT_DRAINS_KEPT 64 /* ended drains that are kept */
#define AGENT_PLANS_MAX	  4  /* at a time */

/* A drain that is running, or has ended. */
struct agent_drain {
	struct agent_drain *next;
	struct agent_drain_table *table;
	char id[STOW_DRAIN_ID_LEN + 1];
	bool ordered, detached, dry_run;
	bool running;		    /* its thread is running: only the thread frees it */
	bool ended;		    /* `last` has the outcome */
	bool cancelled;		    /* it has to stop */
	bool acknowledged;	    /* the scheduler has its outcome, before its thread has ended */
	struct stow_rpc_call *call; /* the local call, a reference; or NULL */
	PbDrainSpec *spec;	    /* NULL: known from the ledger only */
	struct stow_drain_spec what; /* borrows from `spec` */
	PbDrainPlan *plan;
	PbDrainProgress *last;	   /* without the plan; NULL: no progress yet */
	bool unsent;		   /* `last` was not sent yet */
	uint64_t notified;	   /* when `last` was sent; monotonic */
	uint64_t created, updated; /* since the epoch */
};

struct agent_drain_table {
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_loop_handle *loop;
	struct agent_drains *drains; /* only for posted tasks, which run on the main thread */

	pthread_mutex_t lock; /* for all fields below */
	pthread_cond_t changed;
	struct agent_drain *list;   /* newest first */
	struct agent_drain *worker; /* the running one */
	bool recovering, undoing;
	bool stopping;
	size_t threads; /* running threads, including plans */
	size_t plans;
	struct agent_drain_eviction *evictions;
	size_t n_evictions;
	bool evicts;
	void (*follower)(void *ctx); /* of the evictions; may be NULL */
	void *follower_ctx;
	uint64_t ends[PB_DRAIN_STEP_CANCELLED + 1]; /* ended drains, by outcome */
	uint64_t bytes;				    /* taken offline so far */
};

struct agent_drains {
	struct agent_drain_table table;
	struct agent_machine *machine;
	void (*notify)(void *ctx, const PbDrainProgress *progress);
	void *ctx;
	struct stow_log_limit refused, ordered; /* main thread */
};

/* --- drain.c: starting a drain; any thread -------------------------------- */

/* Check a request against the agent's limits, and make a drain of it. */
int agent_drain_prepare(struct agent_drain_table *table, const char *id, bool ordered, bool dry_run,
			const PbDrainSpec *spec, struct agent_drain **ret, struct stow_err *err);
/* Start the drain's thread, or free the drain. */
int agent_drain_begin(struct agent_drain *drain, struct stow_err *err);

/* --- drain_progress.c: one drain, with the lock held ---------------------- */

struct agent_drain *agent_drain_find(struct agent_drain_table *table, const char *id);
struct agent_drain *agent_drain_alloc(struct agent_drain_table *table, const char *id, bool ordered,
				      const PbDrainSpec *spec);
void agent_drain_drop(struct agent_drain *drain);
/* Record a progress message, which it owns, and send it to the caller or the scheduler. */
void agent_drain_note(struct agent_drain *drain, PbDrainProgress *message);
/* Record an outcome that the engine did not report. */
void agent_drain_note_end(struct agent_drain *drain, enum stow_drain_step step,
			  const struct stow_err *why);
/* Send progress that was held back, when it is due. */
void agent_drain_note_held(struct agent_drain *drain);
/* Return the last progress with the plan. The caller frees it. */
PbDrainProgress *agent_drain_last(const struct agent_drain *drain);
/* Return a copy of progress that fits into a message; NULL: out of memory. */
PbDrainProgress *agent_drain_bounded(const PbDrainProgress *progress);
/* Post a task to the main thread that sends progress to the scheduler. Owns the message. */
void agent_drain_post(struct agent_drain_table *table, PbDrainProgress *message);

/* The scheduler has received the outcome: move the drain to the list to be freed. Return false
 * when its thread has not ended yet; the thread then posts this again. */
bool agent_drain_take_out(struct agent_drain **at, struct agent_drain **gone);
/* Post to the main thread that the scheduler has received the outcome. */
void agent_drain_post_acknowledged(struct agent_drain *drain);
/* Forget the drains of a list. Without the lock, because it may wait for the ledger. */
void agent_drain_forget(struct agent_drains *drains, struct agent_drain *gone);

/* --- drain_evict.c --------------------------------------------------------- */

/* Have the pods of these claims evicted, and of no others. Takes the lock. */
void agent_drain_evict(struct agent_drain_table *table, const struct stow_drain_claim *claims,
		       size_t n);

/* --- drain_work.c: threads, with the lock held ---------------------------- */

/* Start the thread of a drain. */
int agent_drain_work(struct agent_drain *drain, struct stow_err *err);
/* Start the thread of a plan, which owns `drain`; the drain is not in the table. */
int agent_drain_plan(struct agent_drain *drain, struct stow_err *err);
int agent_drain_thread(struct agent_drain_table *table, void *(*run)(void *), void *arg,
		       struct stow_err *err);
/* Called by each thread, as its last action. */
void agent_drain_thread_ends(struct agent_drain_table *table);
