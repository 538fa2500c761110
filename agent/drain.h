/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Drains on this machine: of local callers, of a scheduler, and those whose program was killed.
 *
 * One drain runs at a time, on a thread of its own with a ledger handle of its own. It reports
 * progress on the stream of the local call, or, when a scheduler has ordered it, on the stream to
 * the scheduler. The last progress is kept, so that it can be sent again when a scheduler was
 * disconnected. An ended drain of a scheduler is kept until the scheduler no longer lists it.
 *
 * struct agent_drains: for the main thread; orders, start and stop, recovery
 * struct agent_drain_table: for any thread, with a lock of its own; the drains
 */

#include <stdbool.h>
#include <stdio.h>

#include "agent/loop.h"
#include "agent/machine.h"
#include "agent/policy.h"
#include "agent/publisher.h"
#include "drain/drain.h"
#include "numastow/v1/agent.pb-c.h"
#include "numastow/v1/scheduler.pb-c.h"
#include "rpc/rpc.h"

struct agent_drains;
struct agent_drain_table;

/* --- the main thread ------------------------------------------------------ */

struct agent_drain_parts { /* all outlive the drains */
	struct agent_machine *machine;
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_loop_handle *loop;
	bool evicts; /* a module follows the evictions of claims */
	/* Send progress to the scheduler, if one is connected. Called on the main thread. */
	void (*notify)(void *ctx, const PbDrainProgress *progress);
	void *ctx;
};

/* Create the drains, and load those of the ledger. */
int agent_drain_new(const struct agent_drain_parts *parts, struct agent_drains **ret,
		    struct stow_err *err);
/*
 * Stop the running drain and wait, for a minute, until it is undone. Return true when a drain is
 * still running: one that the next agent will resume, or one that could not be undone in time and
 * that the next agent will undo. The process must then exit without freeing what the drain uses.
 */
bool agent_drain_stop(struct agent_drains *drains);
/* Free the drains. No drain may be running, and no posted task may be pending. */
void agent_drain_free(struct agent_drains *drains);
/* Return the table, which the drains own. */
struct agent_drain_table *agent_drain_table(struct agent_drains *drains);

/* Handle a scheduler's order to drain or to plan. */
int agent_drain_order(struct agent_drains *drains, const PbOrderDrain *order, struct stow_err *err);
/* Handle a scheduler's order to cancel a drain. An ended drain is forgotten. -ENOENT: there is
 * none of that id. */
int agent_drain_cancel_order(struct agent_drains *drains, const char *id, struct stow_err *err);
/* Handle the scheduler's list of running drains: send the last progress of each again; cancel
 * the scheduler's other drains, and forget those that have ended. */
void agent_drain_welcome(struct agent_drains *drains, char *const *ids, size_t n);

/* Add the ids of drains to NodeReport.drains. */
int agent_drain_report(struct agent_drains *drains, PbNodeReport *report);
/* Undo, or resume, drains whose program was killed; on a thread of the drains. */
void agent_drain_recover(struct agent_drains *drains);

/* --- any thread ----------------------------------------------------------- */

/* Start a drain, or a plan (`dry_run`), which reports on the stream, and closes it at the end.
 * If the caller closes the stream, the drain is cancelled, unless `detach` is set. -EBUSY:
 * another drain is running. */
int agent_drain_start(struct agent_drain_table *table, struct stow_rpc_call *call,
		      const PbAgentDrainRequest *request, struct stow_err *err);
/* Answer ListDrains. */
int agent_drain_list(struct agent_drain_table *table, struct stow_rpc_call *call,
		     struct stow_err *err);
/* Cancel a drain, of any caller, by its id or a prefix of it; "" for the only one. */
int agent_drain_cancel(struct agent_drain_table *table, const char *id,
		       char ret_id[STOW_DRAIN_ID_LEN + 1], struct stow_err *err);
/* A share of a claim that a drain waits for: its pods are to be evicted. */
struct agent_drain_eviction {
	char uid[40], share[40];
};
/* Return a copy of them, which the caller frees. -ENOMEM. */
int agent_drain_evictions(struct agent_drain_table *table, struct agent_drain_eviction **ret,
			  size_t *ret_n);
/* Call `changed` from now on whenever they have changed, with the table's lock held: it must not
 * wait, nor call the table. NULL: no more. */
void agent_drain_follow(struct agent_drain_table *table, void (*changed)(void *ctx), void *ctx);

/* Write the metrics of drains. */
void agent_drain_render(struct agent_drain_table *table, FILE *out);
