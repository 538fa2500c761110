/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the drains share. */

#include "agent/drain.h"

#define AGENT_DRAINS_KEPT 64 /* that have ended */
#define AGENT_PLANS_MAX	  4  /* at a time */

/* One that is in hand, or has ended. */
struct agent_drain {
	struct agent_drain *next;
	struct agent *agent;
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

struct agent_drains {
	const struct agent_drain_ops *ops;
	pthread_mutex_t lock;
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

/* All with the lock held. */
struct agent_drain *drain_find(struct agent_drains *drains, const char *id);
struct agent_drain *drain_new(struct agent *agent, const char *id, bool ordered,
			      const PbDrainSpec *spec);
void drain_free(struct agent_drain *drain);
/* Takes note of a message, which it owns, and says it where it is to be said. */
void drain_note(struct agent_drain *drain, PbDrainProgress *message);
/* An end that the engine has not said. */
void drain_note_end(struct agent_drain *drain, enum stow_drain_step step,
		    const struct stow_err *why);
/* The last progress with the plan, to be freed. */
PbDrainProgress *drain_last(const struct agent_drain *drain);
/* Posts to the main thread that the scheduler has heard of its end. */
void drain_post_heard(struct agent_drain *drain);
/* Posts to the main thread to say it to the scheduler. Owns the message. */
void drain_tell(struct agent *agent, PbDrainProgress *message);

/* Starts the thread of a drain; with the lock held. */
int drain_work(struct agent_drain *drain, struct stow_err *err);
/* The thread of a plan, which owns `drain`; nobody else knows it. */
int drain_plan(struct agent_drain *drain, struct stow_err *err);
