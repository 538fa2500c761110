/* SPDX-License-Identifier: Apache-2.0 */
/* The threads that drain, plan and recover, and what they say. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/drain_internal.h"
#include "agent/link.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/say.h"

#define MS	  UINT64_C(1000000)
#define TELL_EACH (100 * MS) /* between two messages of the same step */

static bool is_end(PbDrainStep step)
{
	return step >= PB_DRAIN_STEP_DONE;
}

/* --- one drain ---------------------------------------------------------------------------------- */

struct agent_drain *drain_find(struct agent_drains *drains, const char *id)
{
	for (struct agent_drain *drain = drains->list; drain; drain = drain->next)
		if (strcmp(drain->id, id) == 0)
			return drain;
	return NULL;
}

void drain_free(struct agent_drain *drain)
{
	if (!drain)
		return;
	if (drain->call)
		stow_rpc_unref(drain->call);
	stow_rpc_message_free(drain->spec);
	stow_rpc_message_free(drain->plan);
	stow_rpc_message_free(drain->last);
	free(drain);
}

struct agent_drain *drain_new(struct agent *agent, const char *id, bool ordered,
			      const PbDrainSpec *spec)
{
	struct agent_drain *drain = calloc(1, sizeof(*drain));

	if (!drain)
		return NULL;
	drain->agent = agent;
	drain->ordered = ordered;
	memcpy(drain->id, id, strnlen(id, STOW_DRAIN_ID_LEN));
	drain->created = drain->updated = stow_clock_wall();
	drain->spec = spec ? stow_drain_copy(spec) : NULL;
	if (spec && !drain->spec) {
		drain_free(drain);
		return NULL;
	}
	return drain;
}

/* --- saying how it goes ------------------------------------------------------------------------- */

static void on_tell(struct agent *agent, void *arg)
{
	PbDrainProgress *message = arg;

	agent->drains->ops->tell(agent, message);
	/* What is in hand is in the report, too. */
	if (is_end(message->step) || message->step == PB_DRAIN_STEP_FENCED)
		agent_look(agent, AGENT_LOOK_LEDGER);
	stow_rpc_message_free(message);
}

void drain_tell(struct agent *agent, PbDrainProgress *message)
{
	if (message)
		agent_post(agent, on_tell, message);
}

PbDrainProgress *drain_last(const struct agent_drain *drain)
{
	PbDrainProgress *out = drain->last ? stow_drain_copy(drain->last) : NULL;

	if (out && drain->plan)
		out->plan = stow_drain_copy(drain->plan);
	return out;
}

static void say(struct agent_drain *drain, const PbDrainProgress *message)
{
	drain->unsaid = false;
	drain->told = stow_clock_monotonic();
	if (drain->call)
		stow_rpc_send(drain->call, message);
	if (drain->ordered)
		drain_tell(drain->agent, stow_drain_copy(message));
}

/* Bytes and blocks go by fast; steps, ends and words are never left out. */
static bool may_wait(const struct agent_drain *drain, const PbDrainProgress *message)
{
	return drain->last && drain->last->step == message->step && !is_end(message->step) &&
	       !message->plan && stow_clock_monotonic() < drain->told + TELL_EACH &&
	       (!*message->message || strcmp(message->message, drain->last->message) == 0);
}

static void count_end(struct agent_drain *drain, const PbDrainProgress *message)
{
	struct agent_drains *drains = drain->agent->drains;

	drain->ended = true;
	if (drain->dry_run)
		return;
	drains->ends[message->step <= PB_DRAIN_STEP_CANCELLED ? message->step : 0]++;
	if (message->step != PB_DRAIN_STEP_DONE && message->step != PB_DRAIN_STEP_PARTIAL)
		return;
	drains->bytes += message->bytes_offline;
	pthread_mutex_lock(&drain->agent->lock);
	drain->agent->counters.drains++;
	pthread_mutex_unlock(&drain->agent->lock);
}

void drain_note(struct agent_drain *drain, PbDrainProgress *message)
{
	if (drain->ended) { /* nothing comes after an end */
		stow_rpc_message_free(message);
		return;
	}
	drain->unsaid = may_wait(drain, message);
	if (!drain->unsaid)
		say(drain, message);
	drain->updated = stow_clock_wall();
	if (is_end(message->step))
		count_end(drain, message);
	if (message->plan) {
		stow_rpc_message_free(drain->plan);
		drain->plan = STOW_TAKE_PTR(message->plan);
	}
	stow_rpc_message_free(drain->last);
	drain->last = message;
}

void drain_note_end(struct agent_drain *drain, enum stow_drain_step step,
		    const struct stow_err *why)
{
	PbDrainProgress *message;

	if (drain->ended)
		return;
	message = stow_drain_end_message(drain->id, step, why);
	if (!message)
		abort(); /* an end that is never told would be worse */
	if (drain->last) {
		message->bytes_total = drain->last->bytes_total;
		message->blocks_total = drain->last->blocks_total;
	}
	drain_note(drain, message);
}

/* --- what the engine asks ----------------------------------------------------------------------- */

/* What an engine tells, as it leaves the machine; NULL: no memory, and it is not told. */
static PbDrainProgress *bounded(const PbDrainProgress *p)
{
	PbDrainProgress *message = stow_drain_copy(p);

	if (message && stow_drain_bound(message) < 0)
		stow_rpc_message_free(STOW_TAKE_PTR(message));
	return message;
}

static int on_progress(void *ctx, const PbDrainProgress *p)
{
	struct agent_drain *drain = ctx;
	struct agent_drains *drains = drain->agent->drains;
	PbDrainProgress *message = bounded(p);

	if (!message)
		return 0;
	pthread_mutex_lock(&drains->lock);
	drain_note(drain, message);
	pthread_mutex_unlock(&drains->lock);
	return 0;
}

/* Comes ten times a second while a block is on its way: so it also says what was held back. */
static bool on_stop(void *ctx)
{
	struct agent_drain *drain = ctx;
	struct agent_drains *drains = drain->agent->drains;
	bool stop;

	pthread_mutex_lock(&drains->lock);
	if (drain->unsaid && stow_clock_monotonic() >= drain->told + TELL_EACH)
		say(drain, drain->last);
	stop = drain->cancelled || (drains->stopping && !drain->what.resume) ||
	       (drain->call && !drain->detached && stow_rpc_cancelled(drain->call));
	pthread_mutex_unlock(&drains->lock);
	return stop;
}

/* --- the threads -------------------------------------------------------------------------------- */

static int start_thread(struct agent_drains *drains, void *(*run)(void *), void *arg,
			struct stow_err *err)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, run, arg);

	if (r != 0)
		return stow_err_sys(err, r, "cannot start a thread");
	pthread_detach(thread);
	drains->threads++;
	return 0;
}

/* With the lock held. */
static void thread_ends(struct agent_drains *drains)
{
	drains->threads--;
	pthread_cond_broadcast(&drains->changed);
}

static enum stow_drain_step step_of(int r)
{
	return r >= 0		 ? STOW_DRAIN_DONE
	       : r == -ECANCELED ? STOW_DRAIN_CANCELLED
	       : r == -EREMOTEIO ? STOW_DRAIN_PARTIAL
				 : STOW_DRAIN_FAILED;
}

static int do_drain(struct agent_drain *drain, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct stow_drain_watch watch = { on_progress, on_stop, drain };
	struct stow_grant_context context = agent_context(drain->agent);
	enum stow_drain_step step;
	int r;

	if (on_stop(drain)) /* while it waited for a killed one to be undone */
		return stow_err_set(err, ECANCELED, "cancelled before it began");
	r = stow_ledger_open(context.root, true, &ledger, err);
	if (r < 0)
		return r;
	context.ledger = ledger;
	return drain->agent->drains->ops->run(&context, drain->id, drain->ordered, &drain->what,
					      &watch, &step, err);
}

static void *work(void *arg)
{
	struct agent_drain *drain = arg;
	struct agent_drains *drains = drain->agent->drains;
	struct stow_rpc_call *call;
	struct stow_err err = { 0 };
	int r;

	pthread_mutex_lock(&drains->lock);
	while (drains->recovering && !drains->stopping)
		pthread_cond_wait(&drains->changed, &drains->lock);
	pthread_mutex_unlock(&drains->lock);
	r = do_drain(drain, &err);
	stow_say(r < 0 ? STOW_LOG_WARNING : STOW_LOG_NOTICE,
		 r >= 0		   ? "drained"
		 : r == -EREMOTEIO ? "drained in part, which is kept"
				   : "a drain failed, and was taken back",
		 stow_text("drain", drain->id), stow_text("error", r < 0 ? err.msg : ""));
	pthread_mutex_lock(&drains->lock);
	drain_note_end(drain, step_of(r), r < 0 ? &err : NULL);
	call = STOW_TAKE_PTR(drain->call);
	drain->running = false;
	drains->worker = NULL;
	if (drain->heard)
		drain_post_heard(drain);
	if (call) {
		stow_rpc_close(call, NULL); /* the end has said it all */
		stow_rpc_unref(call);
	}
	thread_ends(drains);
	pthread_mutex_unlock(&drains->lock);
	return NULL;
}

int drain_work(struct agent_drain *drain, struct stow_err *err)
{
	struct agent_drains *drains = drain->agent->drains;
	int r;

	if (drains->worker)
		return stow_err_set(err, EBUSY,
				    "drain %s is at work on this machine: one at a time",
				    drains->worker->id);
	if (drains->stopping)
		return stow_err_set(err, EBUSY, "the agent is stopping");
	r = start_thread(drains, work, drain, err);
	if (r < 0)
		return r;
	drain->running = true;
	drain->next = drains->list;
	drains->list = drains->worker = drain;
	return 0;
}

/* What was found is said also when it may not be done. */
static PbDrainProgress *plan_message(struct agent_drain *drain, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	const struct agent_drain_ops *ops = drain->agent->drains->ops;
	struct stow_grant_context context = agent_context(drain->agent);
	PbDrainProgress *message;

	if (stow_ledger_open(context.root, true, &ledger, err) < 0) {
		message = stow_drain_end_message(drain->id, STOW_DRAIN_FAILED, err);
	} else {
		context.ledger = ledger;
		message = ops->plan(&context, drain->id, &drain->what);
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
	struct agent_drains *drains = drain->agent->drains;
	struct stow_err err = { 0 };
	PbDrainProgress *message = plan_message(drain, &err);

	pthread_mutex_lock(&drains->lock);
	/* A scheduler that has connected again has asked twice, and may have had the first plan
	 * done meanwhile: then what became of the second would pass for the end of that. */
	if (message && drain->ordered && drain_find(drains, drain->id))
		stow_rpc_message_free(STOW_TAKE_PTR(message));
	else if (message)
		drain_note(drain, message);
	if (drain->call)
		stow_rpc_close(drain->call, message ? NULL : &err);
	drain_free(drain);
	drains->plans--;
	thread_ends(drains);
	pthread_mutex_unlock(&drains->lock);
	return NULL;
}

int drain_plan(struct agent_drain *drain, struct stow_err *err)
{
	struct agent_drains *drains = drain->agent->drains;
	int r;

	if (drains->plans >= AGENT_PLANS_MAX || drains->stopping)
		return stow_err_set(err, EBUSY, "%d plans at a time", AGENT_PLANS_MAX);
	r = start_thread(drains, plan, drain, err);
	if (r == 0)
		drains->plans++;
	return r;
}

/* --- drains whose worker was killed ------------------------------------------------------------- */

static int on_recovered(void *ctx, const PbDrainProgress *p)
{
	struct agent *agent = ctx;
	struct agent_drains *drains = agent->drains;
	PbDrainProgress *message = bounded(p);
	struct agent_drain *drain;

	if (!message)
		return 0;
	pthread_mutex_lock(&drains->lock);
	drains->undoing = p->step == PB_DRAIN_STEP_UNDOING;
	drain = drain_find(drains, p->id);
	if (!drain) { /* by the command, which has nobody to tell */
		drain = drain_new(agent, p->id, false, NULL);
		if (drain) {
			drain->next = drains->list;
			drains->list = drain;
		}
	}
	if (drain)
		drain_note(drain, message);
	else
		stow_rpc_message_free(message);
	pthread_mutex_unlock(&drains->lock);
	return 0;
}

static bool on_recover_stop(void *ctx)
{
	struct agent *agent = ctx;
	bool stop = false;

	/* When the agent stops, the next one goes on. */
	pthread_mutex_lock(&agent->drains->lock);
	for (const struct agent_drain *drain = agent->drains->list; drain; drain = drain->next)
		stop |= drain->cancelled && !drain->running && !drain->ended;
	pthread_mutex_unlock(&agent->drains->lock);
	return stop;
}

/* Those that the ledger has no more, or as ended, and of whose end nothing was said. With the lock
 * held. */
static void settle(struct agent_drains *drains, const struct stow_drain_row *rows, size_t n)
{
	struct stow_err why;

	stow_err_set(&why, ECANCELED, "the program that did it was killed; all is as it was");
	for (struct agent_drain *drain = drains->list; drain; drain = drain->next) {
		const struct stow_drain_row *row = NULL;

		if (drain->running || drain->ended)
			continue;
		for (size_t i = 0; i < n; i++)
			if (strcmp(rows[i].id, drain->id) == 0)
				row = &rows[i];
		if (!row)
			drain_note_end(drain, STOW_DRAIN_FAILED, &why);
		else if (stow_drain_step_is_end(row->step)) {
			stow_err_set(&why, abs(row->code), "%s", row->message);
			drain_note_end(drain, row->step, row->code ? &why : NULL);
		}
	}
}

/* *ret_read: whether the rows, as they are after that, could be read. */
static int do_recover(struct agent *agent, struct stow_drain_row **rows, size_t *n, bool *ret_read,
		      struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	const struct agent_drain_ops *ops = agent->drains->ops;
	struct stow_drain_watch watch = { on_recovered, on_recover_stop, agent };
	struct stow_grant_context context = agent_context(agent);
	int r;

	*ret_read = false;
	r = stow_ledger_open(context.root, true, &ledger, err);
	if (r < 0)
		return r;
	context.ledger = ledger;
	r = ops->recover(&context, &watch, err);
	*ret_read = ops->rows(ledger, rows, n, NULL) >= 0;
	return r;
}

static void *recover(void *arg)
{
	struct agent *agent = arg;
	struct agent_drains *drains = agent->drains;
	struct stow_drain_row *rows = NULL;
	struct stow_err err = { 0 };
	size_t n = 0;
	bool read;
	int r = do_recover(agent, &rows, &n, &read, &err);

	stow_say(r < 0 ? STOW_LOG_WARNING : STOW_LOG_NOTICE,
		 r < 0 ? "cannot undo a drain whose worker was killed"
		       : "looked after drains whose worker was killed",
		 stow_number("drains", r > 0 ? (uint64_t)r : 0),
		 stow_text("error", r < 0 ? err.msg : ""));
	pthread_mutex_lock(&drains->lock);
	if (r >= 0 && read)
		settle(drains, rows, n);
	if (read)
		drains->ops->rows_free(rows, n);
	drains->recovering = drains->undoing = false;
	thread_ends(drains); /* from here on the agent may be gone */
	pthread_mutex_unlock(&drains->lock);
	return NULL;
}

/* Another program may have looked after them: `numastow gc`, or one that drains by itself. */
static void settle_others(struct agent *agent)
{
	struct agent_drains *drains = agent->drains;
	struct stow_drain_row *rows = NULL;
	bool open = false;
	size_t n = 0;

	pthread_mutex_lock(&drains->lock);
	for (const struct agent_drain *drain = drains->list; drain; drain = drain->next)
		open |= !drain->running && !drain->ended && !drains->recovering;
	if (open && drains->ops->rows(agent->ledger, &rows, &n, NULL) >= 0) {
		settle(drains, rows, n);
		drains->ops->rows_free(rows, n);
	}
	pthread_mutex_unlock(&drains->lock);
}

void agent_drains_recover(struct agent *agent)
{
	struct agent_drains *drains = agent->drains;
	struct stow_err err = { 0 };
	int r = 0;

	if (!drains->ops->orphans(&agent->context)) {
		settle_others(agent);
		return;
	}
	pthread_mutex_lock(&drains->lock);
	if (!drains->worker && !drains->recovering && !drains->stopping) {
		r = start_thread(drains, recover, agent, &err);
		drains->recovering = r == 0;
	}
	pthread_mutex_unlock(&drains->lock);
	if (r < 0)
		stow_say(STOW_LOG_ERR, "cannot undo a drain", stow_why(&err));
}
