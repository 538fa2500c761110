/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of drains and plans. */
#include <errno.h>
#include <stdlib.h>

#include "agent/drain_internal.h"
#include "base/cleanup.h"
#include "rpc/log.h"

/* --- callbacks of the engine ---------------------------------------------- */

static int on_progress(void *ctx, const PbDrainProgress *p)
{
	struct agent_drain *drain = ctx;
	struct agent_drain_table *table = drain->table;
	PbDrainProgress *message = agent_drain_bounded(p);

	if (!message)
		return 0;
	pthread_mutex_lock(&table->lock);
	agent_drain_note(drain, message);
	pthread_mutex_unlock(&table->lock);
	return 0;
}

/* Called ten times a second while a block goes offline, so it also sends progress that was held
 * back. */
static bool on_stop(void *ctx)
{
	struct agent_drain *drain = ctx;
	struct agent_drain_table *table = drain->table;
	bool stop;

	pthread_mutex_lock(&table->lock);
	agent_drain_note_held(drain);
	stop = drain->cancelled || (table->stopping && !drain->what.resume) ||
	       (drain->call && !drain->detached && stow_rpc_cancelled(drain->call));
	pthread_mutex_unlock(&table->lock);
	return stop;
}

static void on_evict(void *ctx, const struct stow_drain_claim *claims, size_t n)
{
	struct agent_drain *drain = ctx;

	agent_drain_evict(drain->table, claims, n);
}

/* --- the threads ---------------------------------------------------------- */

int agent_drain_thread(struct agent_drain_table *table, void *(*run)(void *), void *arg,
		       struct stow_err *err)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, run, arg);

	if (r != 0)
		return stow_err_sys(err, r, "cannot start a thread");
	pthread_detach(thread);
	table->threads++;
	return 0;
}

void agent_drain_thread_ends(struct agent_drain_table *table)
{
	table->threads--;
	pthread_cond_broadcast(&table->changed);
}

static enum stow_drain_step step_of(int r)
{
	return r >= 0		 ? STOW_DRAIN_STEP_DONE
	       : r == -ECANCELED ? STOW_DRAIN_STEP_CANCELLED
	       : r == -EREMOTEIO ? STOW_DRAIN_STEP_PARTIAL
				 : STOW_DRAIN_STEP_FAILED;
}

static int do_drain(struct agent_drain *drain, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct stow_drain_watch watch = { .progress = on_progress,
					  .stop = on_stop,
					  .evict = drain->table->evicts ? on_evict : NULL,
					  .ctx = drain };
	struct stow_grant_context context = agent_policy_context(drain->table->policy);
	enum stow_drain_step step;
	int r;

	if (on_stop(drain)) /* cancelled while another drain was being undone */
		return stow_err_set(err, ECANCELED, "cancelled before it began");
	r = stow_ledger_open(context.root, true, &ledger, err);
	if (r < 0)
		return r;
	context.ledger = ledger;
	return stow_drain_run(&context, drain->id, drain->ordered, &drain->what, &watch, &step,
			      err);
}

static void *work(void *arg)
{
	struct agent_drain *drain = arg;
	struct agent_drain_table *table = drain->table;
	struct stow_rpc_call *call;
	struct stow_err err = { 0 };
	int r;

	pthread_mutex_lock(&table->lock);
	while (table->recovering && !table->stopping)
		pthread_cond_wait(&table->changed, &table->lock);
	pthread_mutex_unlock(&table->lock);
	r = do_drain(drain, &err);
	stow_log(r < 0 ? STOW_LOG_WARNING : STOW_LOG_NOTICE,
		 r >= 0		   ? "drained"
		 : r == -EREMOTEIO ? "drained in part, as requested"
				   : "a drain failed, and was undone",
		 stow_text("drain", drain->id), stow_text("error", r < 0 ? err.msg : ""));
	pthread_mutex_lock(&table->lock);
	agent_drain_note_end(drain, step_of(r), r < 0 ? &err : NULL);
	call = STOW_TAKE_PTR(drain->call);
	drain->running = false;
	table->worker = NULL;
	if (drain->acknowledged)
		agent_drain_post_acknowledged(drain);
	if (call) {
		stow_rpc_close(call, NULL); /* the last message has the outcome */
		stow_rpc_unref(call);
	}
	agent_drain_thread_ends(table);
	pthread_mutex_unlock(&table->lock);
	return NULL;
}

int agent_drain_work(struct agent_drain *drain, struct stow_err *err)
{
	struct agent_drain_table *table = drain->table;
	int r;

	if (table->worker)
		return stow_err_set(err, EBUSY,
				    "drain %s is running on this machine: one at a time",
				    table->worker->id);
	if (table->stopping)
		return stow_err_set(err, EBUSY, "the agent is stopping");
	r = agent_drain_thread(table, work, drain, err);
	if (r < 0)
		return r;
	drain->running = true;
	drain->next = table->list;
	table->list = table->worker = drain;
	return 0;
}

/* Make the message of a plan; a plan that may not be carried out is shown, too. */
static PbDrainProgress *plan_message(struct agent_drain *drain, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct stow_grant_context context = agent_policy_context(drain->table->policy);
	PbDrainProgress *message;

	if (stow_ledger_open(context.root, true, &ledger, err) < 0) {
		message = stow_drain_end_message(drain->id, STOW_DRAIN_STEP_FAILED, err);
	} else {
		context.ledger = ledger;
		message = stow_drain_preview(&context, drain->id, &drain->what);
	}
	if (message && stow_drain_bound(message) < 0)
		stow_rpc_message_free(STOW_TAKE_PTR(message));
	if (!message)
		stow_err_set(err, ENOMEM, "out of memory");
	return message;
}

static void *plan(void *arg)
{
	struct agent_drain *drain = arg;
	struct agent_drain_table *table = drain->table;
	struct stow_err err = { 0 };
	PbDrainProgress *message = plan_message(drain, &err);

	pthread_mutex_lock(&table->lock);
	/* A scheduler that reconnected has ordered the plan twice, and may have started the
	 * drain after the first plan. Then the second plan's failure must not pass for the
	 * drain's outcome. */
	if (message && drain->ordered && agent_drain_find(table, drain->id))
		stow_rpc_message_free(STOW_TAKE_PTR(message));
	else if (message)
		agent_drain_note(drain, message);
	if (drain->call)
		stow_rpc_close(drain->call, message ? NULL : &err);
	agent_drain_drop(drain);
	table->plans--;
	agent_drain_thread_ends(table);
	pthread_mutex_unlock(&table->lock);
	return NULL;
}

int agent_drain_plan(struct agent_drain *drain, struct stow_err *err)
{
	struct agent_drain_table *table = drain->table;
	int r;

	if (table->plans >= AGENT_PLANS_MAX || table->stopping)
		return stow_err_set(err, EBUSY, "%d plans at a time", AGENT_PLANS_MAX);
	r = agent_drain_thread(table, plan, drain, err);
	if (r == 0)
		table->plans++;
	return r;
}
