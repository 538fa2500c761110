/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the drains share. */

#include <pthread.h>

#include "agent/drain.h"

#define AGENT_DRAINS_KEPT 64 /* that have ended */
#define AGENT_PLANS_MAX	  4  /* at a time */

/* One that is in hand, or has ended. */
struct agent_drain {
	struct agent_drain *next;
	struct agent_drain_table *table;
	char id[STOW_DRAIN_ID_LEN + 1];
	bool ordered, detached, dry_run;
	bool running;		     /* a thread is at work on it: only that frees it */
	bool ended;		     /* `last` is an end */
	bool cancelled;		     /* is to stop */
	bool heard;		     /* the scheduler knows of its end, before its thread is done */
	struct stow_rpc_call *call;  /* a local caller's, a reference; NULL */
	PbDrainSpec *spec;	     /* NULL: only the ledger has it */
	struct stow_drain_spec what; /* borrows from `spec` */
	PbDrainPlan *plan;
	PbDrainProgress *last;	   /* without its plan; NULL: nothing was said */
	bool unsaid;		   /* `last` was held back */
	uint64_t told;		   /* when, monotonic */
	uint64_t created, updated; /* since the epoch */
};

struct agent_drain_table {
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_loop_handle *loop;
	struct agent_drains *drains; /* for what is posted, and nobody else */

	pthread_mutex_t lock; /* over all that follows */
	pthread_cond_t changed;
	struct agent_drain *list;   /* the newest first */
	struct agent_drain *worker; /* the one that runs */
	bool recovering, undoing;
	bool stopping;
	size_t threads; /* at work, plans too */
	size_t plans;
	uint64_t ends[PB_DRAIN_STEP_CANCELLED + 1]; /* how many ended so */
	uint64_t bytes;				    /* that went offline */
};

struct agent_drains {
	struct agent_drain_table table;
	struct agent_machine *machine;
	void (*tell)(void *ctx, const PbDrainProgress *progress);
	void *ctx;
};

/* --- drain.c: what starting one takes; any thread ----------------------------------------------- */

/* What is asked for, and what of it is allowed. */
int agent_drain_prepare(struct agent_drain_table *table, const char *id, bool ordered, bool dry_run,
			const PbDrainSpec *spec, struct agent_drain **ret, struct stow_err *err);
/* Hands it to its thread, or frees it. */
int agent_drain_begin(struct agent_drain *drain, struct stow_err *err);

/* --- drain_progress.c: one drain, with the lock held -------------------------------------------- */

struct agent_drain *agent_drain_find(struct agent_drain_table *table, const char *id);
struct agent_drain *agent_drain_alloc(struct agent_drain_table *table, const char *id, bool ordered,
				      const PbDrainSpec *spec);
void agent_drain_drop(struct agent_drain *drain);
/* Takes note of a message, which it owns, and says it where it is to be said. */
void agent_drain_note(struct agent_drain *drain, PbDrainProgress *message);
/* An end that the engine has not said. */
void agent_drain_note_end(struct agent_drain *drain, enum stow_drain_step step,
			  const struct stow_err *why);
/* Says what was held back, when it is time to. */
void agent_drain_note_held(struct agent_drain *drain);
/* The last progress with the plan, to be freed. */
PbDrainProgress *agent_drain_last(const struct agent_drain *drain);
/* What an engine tells, as it leaves the machine; NULL: no memory, and it is not told. */
PbDrainProgress *agent_drain_bounded(const PbDrainProgress *progress);
/* Posts to the main thread to say it to the scheduler. Owns the message. */
void agent_drain_post(struct agent_drain_table *table, PbDrainProgress *message);

/* --- drain_orders.c ----------------------------------------------------------------------------- */

/* Posts to the main thread that the scheduler has heard of its end. */
void agent_drain_post_heard(struct agent_drain *drain);

/* --- drain_work.c: threads, with the lock held -------------------------------------------------- */

/* Starts the thread of a drain. */
int agent_drain_work(struct agent_drain *drain, struct stow_err *err);
/* Starts the thread of a plan, which owns `drain`; nobody else knows it. */
int agent_drain_plan(struct agent_drain *drain, struct stow_err *err);
int agent_drain_thread(struct agent_drain_table *table, void *(*run)(void *), void *arg,
		       struct stow_err *err);
/* The last thing that a thread does. */
void agent_drain_thread_ends(struct agent_drain_table *table);
