/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Drains on this machine: a local caller's, a scheduler's, and those whose worker was killed.
 *
 * One works at a time, on a thread of its own with a ledger handle of its own. How it goes is said
 * on the stream of the call that asked for it, and, when a scheduler has ordered it, on the stream
 * to the scheduler. What was said last is kept, so that it can be said again: a scheduler may have
 * been away. An end that a scheduler has ordered stays until the scheduler no longer lists the
 * drain.
 *
 * struct agent_drains		belongs to the main thread: orders, start and end, recovery
 * struct agent_drain_table	what is in hand, under a lock of its own; for any thread
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

/* --- the main thread ---------------------------------------------------------------------------- */

struct agent_drain_parts { /* all outlive the drains */
	struct agent_machine *machine;
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_loop_handle *loop;
	/* Says it to the scheduler, if one listens. Called on the main thread. */
	void (*tell)(void *ctx, const PbDrainProgress *progress);
	void *ctx;
};

/* With those that the ledger has. */
int agent_drain_new(const struct agent_drain_parts *parts, struct agent_drains **ret,
		    struct stow_err *err);
/*
 * Stops what is at work and waits for it, for a minute: it is undone. Returns true when something
 * is still at work and the process must end without freeing what it uses: a drain that is to be
 * gone on with by the next agent, or one that cannot be undone in time, which the next agent does.
 */
bool agent_drain_stop(struct agent_drains *drains);
/* When nothing is at work, and nothing that was posted is still to be run. */
void agent_drain_free(struct agent_drains *drains);
/* Belongs to the drains, and ends with them. */
struct agent_drain_table *agent_drain_table(struct agent_drains *drains);

/* A scheduler's orders. */
int agent_drain_order(struct agent_drains *drains, const PbOrderDrain *order, struct stow_err *err);
/* One that has ended is forgotten. -ENOENT: there is none. */
int agent_drain_cancel_order(struct agent_drains *drains, const char *id, struct stow_err *err);
/* Which are under way, as the scheduler knows it: others are cancelled, and forgotten when they
 * have ended; of these it hears the last progress again. */
void agent_drain_welcome(struct agent_drains *drains, char *const *ids, size_t n);

/* Adds the ids for NodeReport.drains. */
int agent_drain_report(struct agent_drains *drains, PbNodeReport *report);
/* Undoes, or goes on with, drains whose worker was killed, on the drains' thread. */
void agent_drain_recover(struct agent_drains *drains);

/* --- any thread --------------------------------------------------------------------------------- */

/* Starts a drain, or a plan (`dry_run`), that reports on the stream; its end ends the stream. The
 * stream's end cancels it, unless `detach`. -EBUSY: another drain is at work. */
int agent_drain_start(struct agent_drain_table *table, struct stow_rpc_call *call,
		      const PbAgentDrainRequest *request, struct stow_err *err);
/* Answers ListDrains. */
int agent_drain_list(struct agent_drain_table *table, struct stow_rpc_call *call,
		     struct stow_err *err);
/* By the id or its beginning, "" for the only one; whoever's it is. */
int agent_drain_cancel(struct agent_drain_table *table, const char *id,
		       char ret_id[STOW_DRAIN_ID_LEN + 1], struct stow_err *err);
/* numastow_agent_drains_ended_total and others. */
void agent_drain_render(struct agent_drain_table *table, FILE *out);
