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
 */

#include "agent/agent.h"
#include "drain/drain.h"

struct agent_drains;

/* What does the work: lib/drain, or a test's. */
struct agent_drain_ops {
	PbDrainProgress *(*plan)(const struct stow_grant_context *context, const char *id,
				 const struct stow_drain_spec *spec);
	int (*run)(const struct stow_grant_context *context, const char *id, bool ordered,
		   const struct stow_drain_spec *spec, const struct stow_drain_watch *watch,
		   enum stow_drain_step *ret_step, struct stow_err *err);
	bool (*orphans)(const struct stow_grant_context *context);
	int (*recover)(const struct stow_grant_context *context,
		       const struct stow_drain_watch *watch, struct stow_err *err);
	int (*rows)(struct stow_ledger *ledger, struct stow_drain_row **ret, size_t *ret_n,
		    struct stow_err *err);
	void (*rows_free)(struct stow_drain_row *rows, size_t n);
	int (*cancel)(struct stow_ledger *ledger, const char *id,
		      char ret_id[STOW_DRAIN_ID_LEN + 1], struct stow_err *err);
	int (*forget)(struct stow_ledger *ledger, const char *id, struct stow_err *err);
	/* Says it to the scheduler, if one listens. On the main thread. */
	void (*tell)(struct agent *agent, const PbDrainProgress *progress);
};

extern const struct agent_drain_ops agent_drain_ops;

/* `agent->drains`, with those that the ledger has. Main thread. */
int agent_drains_new(struct agent *agent, const struct agent_drain_ops *ops, struct stow_err *err);
/*
 * Stops what is at work and waits for it, for a minute: it is undone. Returns true when something
 * is still at work and the process must end without freeing what it uses: a drain that is to be
 * gone on with by the next agent, or one that cannot be undone in time, which the next agent does.
 */
bool agent_drains_stop(struct agent *agent);
void agent_drains_free(struct agent_drains *drains);

/* --- on the local socket ------------------------------------------------------------------------ */

/* Starts a drain, or a plan (`dry_run`), that reports on the stream; its end ends the stream. The
 * stream's end cancels it, unless `detach`. -EBUSY: another drain is at work. */
int agent_drain_start(struct agent *agent, struct stow_rpc_call *call,
		      const PbAgentDrainRequest *request, struct stow_err *err);
/* Answers ListDrains. */
int agent_drain_list(struct agent *agent, struct stow_rpc_call *call, struct stow_err *err);
/* By the id or its beginning, "" for the only one; whoever's it is. */
int agent_drain_cancel(struct agent *agent, const char *id, char ret_id[STOW_DRAIN_ID_LEN + 1],
		       struct stow_err *err);

/* --- a scheduler's, on the main thread ---------------------------------------------------------- */

int agent_drain_order(struct agent *agent, const PbOrderDrain *order, struct stow_err *err);
/* One that has ended is forgotten. -ENOENT: there is none. */
int agent_drain_cancel_order(struct agent *agent, const char *id, struct stow_err *err);
/* Which are under way, as the scheduler knows it: others are cancelled, and forgotten when they
 * have ended; of these it hears the last progress again. */
void agent_drains_welcome(struct agent *agent, char *const *ids, size_t n);
/* Adds the ids for NodeReport.drains. */
int agent_drains_report(struct agent *agent, PbNodeReport *report);
/* Undoes, or goes on with, drains whose worker was killed, on the drains' thread. */
void agent_drains_recover(struct agent *agent);

/* numastow_drains_total and others. */
void agent_drains_metrics(struct agent *agent, FILE *out);
