// SPDX-License-Identifier: Apache-2.0
/* The state machine: the next action after a message from an agent, or after a write to the
 * store. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/status.h"
#include "base/text.h"
#include "rpc/log.h"
#include "scheduler/drain/drain_internal.h"
#include "scheduler/drain/progress.h"
#include "scheduler/fleet/message.h"

/* --- steps, ends, and the store ------------------------------------------- */

/* Set a step that the scheduler decides, not the agent. */
static void set_step(struct scheduler_drain *d, PbDrainStep step)
{
	PbDrainProgress *p = d->message->progress;
	struct stow_now now = stow_now();

	p->step = step;
	d->message->updated = now.wall;
	p->elapsed = stow_clock_elapsed(d->message->created, now.wall);
	d->notify_due = true;
}

/* End a drain: lift the fence, notify webhooks and followers. `code`: a status. */
__attribute__((format(printf, 5, 6))) static void end(struct scheduler *s,
						      struct scheduler_drain *d, PbDrainStep step,
						      uint32_t code, const char *fmt, ...)
{
	bool fenced = d->flags & SCHEDULER_DRAIN_FENCE;
	struct stow_machine *machine = d->machine;
	char text[SCHEDULER_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* An agent's text may have been cut within a character. */
	stow_text_clean(text, sizeof(text));
	stow_message_set_text(&d->message->progress->message, text);
	set_step(d, step);
	d->message->progress->code = code;
	if (d->dry) {
		scheduler_drain_send(d, false);
		scheduler_drain_remove(s, d);
		return;
	}
	stow_log(step == PB_DRAIN_STEP_DONE ? STOW_LOG_NOTICE : STOW_LOG_WARNING,
		 "a drain has ended", stow_text("drain", d->message->id),
		 stow_text("node", d->message->node), stow_text("step", scheduler_step_name(step)),
		 stow_text("reason", text));
	s->drains->counts[step - PB_DRAIN_STEP_DONE]++;
	scheduler_drain_notify_end(s, d);
	scheduler_drain_retire(s, d);
	d->flags &= ~(uint32_t)SCHEDULER_DRAIN_FENCE;
	if (fenced)
		(void)scheduler_drain_fences(s, machine, NULL); /* cannot fail */
	scheduler_drain_save(s, d, NULL);
}

/* --- planning ------------------------------------------------------------- */

static void plan(struct scheduler *s, struct scheduler_drain *d, struct stow_now now)
{
	struct stow_machine *machine = d->machine;

	if (!machine->enforces && !d->dry) {
		end(s, d, PB_DRAIN_STEP_FAILED, STOW_STATUS_FAILED_PRECONDITION,
		    "node %s is in mode observe or disabled: it would not drain", machine->name);
	} else if (!machine->stream && d->dry) {
		end(s, d, PB_DRAIN_STEP_FAILED, STOW_STATUS_UNAVAILABLE, "node %s is not connected",
		    machine->name);
	} else if (!machine->stream) {
		/* Nothing was done yet: free the slot for other drains. */
		d->asked = false;
		if (machine->stale) {
			d->slot = false;
			s->drains->look = true;
		}
	} else if (!d->asked) {
		d->asked = true;
		d->since = now.mono;
		scheduler_drain_order(s, d, SCHEDULER_ORDER_PLAN);
	} else if (stow_clock_elapsed(d->since, now.mono) >= SCHEDULER_PLAN_WITHIN) {
		scheduler_directive_forget_drain(s, machine, d->message->id);
		end(s, d, PB_DRAIN_STEP_FAILED, STOW_STATUS_DEADLINE_EXCEEDED,
		    "node %s sent no plan within %d s", machine->name,
		    (int)(SCHEDULER_PLAN_WITHIN / STOW_SECOND));
	}
}

/* Return why the plan is invalid, or NULL. */
static const char *wrong_plan(const struct scheduler_drain *d, const PbDrainPlan *plan)
{
	const PbDrainSpec *spec = d->message->spec;

	if (!plan)
		return "is missing";
	if (plan->numa_node < 0 || plan->numa_node >= STOW_NUMA_MAX ||
	    stow_machine_numa(d->machine, (uint32_t)plan->numa_node) < 0)
		return "is for a NUMA node that it does not have";
	if (spec->what_case == PB_DRAIN_SPEC__WHAT_NUMA_NODE &&
	    (uint32_t)plan->numa_node != spec->numa_node)
		return "is for another NUMA node";
	return NULL;
}

static void planned(struct scheduler *s, struct scheduler_drain *d, PbDrainProgress *progress)
{
	const char *wrong = wrong_plan(d, progress->plan);
	PbDrainProgress *p = d->message->progress;

	if (wrong) {
		end(s, d, PB_DRAIN_STEP_FAILED, STOW_STATUS_INTERNAL, "node %s: the plan %s",
		    d->machine->name, wrong);
		return;
	}
	d->asked = false; /* next: the order to drain */
	d->message->plan = STOW_TAKE_PTR(progress->plan);
	p->bytes_total = progress->bytes_total ? progress->bytes_total : d->message->plan->bytes;
	p->blocks_total = progress->blocks_total ? progress->blocks_total
						 : (uint32_t)d->message->plan->n_blocks;
	stow_message_set_text(&p->message, progress->message);
	set_step(d, PB_DRAIN_STEP_PLANNED);
	if (d->dry) {
		for (struct scheduler_follower *f = d->followers; f; f = f->next)
			scheduler_drain_send_one(d, f, true);
		scheduler_drain_hang_up(d, NULL);
		scheduler_drain_remove(s, d);
		return;
	}
	stow_log(STOW_LOG_NOTICE, "a drain is planned", stow_text("drain", d->message->id),
		 stow_text("node", d->message->node),
		 stow_number("bytes", d->message->plan->bytes));
	scheduler_drain_notify(d, SCHEDULER_EVENT_PLANNED);
	scheduler_drain_save(s, d, NULL);
}

/* --- the fence ------------------------------------------------------------ */

static void fence(struct scheduler *s, struct scheduler_drain *d, struct stow_now now)
{
	struct stow_err err;

	d->flags |= SCHEDULER_DRAIN_FENCE;
	if (scheduler_drain_fences(s, d->machine, &err) < 0) {
		d->flags &= ~(uint32_t)SCHEDULER_DRAIN_FENCE;
		return; /* the next tick retries */
	}
	d->since = now.mono;
	scheduler_drain_save(s, d, NULL);
}

/* Wait for unused reservations on the NUMA node. */
static void wait_out(struct scheduler *s, struct scheduler_drain *d, struct stow_now now)
{
	struct stow_idset numa = { 0 };
	size_t n;

	stow_idset_add(&numa, d->message->plan->numa_node);
	if (d->flags & SCHEDULER_DRAIN_REVOKE)
		scheduler_reservations_revoke(s, d->machine, &numa);
	n = scheduler_reservations_unbound(d->machine, &numa);
	if (!n) {
		stow_message_set_text(&d->message->progress->message, "");
		set_step(d, PB_DRAIN_STEP_FENCED);
		scheduler_drain_save(s, d, NULL);
	} else if (stow_clock_elapsed(d->since, now.mono) >= s->config.drain_wait) {
		end(s, d, PB_DRAIN_STEP_FAILED, STOW_STATUS_FAILED_PRECONDITION,
		    "%zu reservations on NUMA node %d of node %s were neither used "
		    "nor ended within %" PRIu64 " s (drain-wait)",
		    n, d->message->plan->numa_node, d->machine->name,
		    s->config.drain_wait / STOW_SECOND);
	} else {
		scheduler_drain_status(d, "fenced; waits for %zu reservations on NUMA node %d", n,
				       d->message->plan->numa_node);
	}
}

/* --- draining ------------------------------------------------------------- */

static void begin(struct scheduler *s, struct scheduler_drain *d)
{
	if (d->asked || !d->machine->stream || d->flags & SCHEDULER_DRAIN_CANCEL)
		return;
	d->asked = true;
	d->lost = false;
	scheduler_drain_order(s, d, SCHEDULER_ORDER_DO);
}

/* Give up a cancelled drain whose agent is silent. When the agent reconnects, its Welcome does
 * not list the drain, and it undoes the drain. */
static bool given_up(struct scheduler *s, struct scheduler_drain *d, struct stow_now now)
{
	const struct stow_machine *m = d->machine;
	uint64_t since = STOW_MAX(m->seen, d->since);

	if (!(d->flags & SCHEDULER_DRAIN_CANCEL) || !m->stale || m->stream ||
	    now.mono < since + s->config.stale_after)
		return false;
	d->taken = false;
	end(s, d, PB_DRAIN_STEP_CANCELLED, STOW_STATUS_CANCELLED,
	    "cancelled; node %s is silent, and will undo it when it reconnects", m->name);
	return true;
}

void scheduler_drain_go_on(struct scheduler *s, struct scheduler_drain *d, struct stow_now now)
{
	if (d->writing || d->unsaved)
		return; /* no action before the write is durable */
	if (given_up(s, d, now))
		return;
	switch (scheduler_drain_step(d)) {
	case PB_DRAIN_STEP_WAITING:
		if (d->slot || d->dry)
			plan(s, d, now);
		break;
	case PB_DRAIN_STEP_PLANNED:
		if (d->flags & SCHEDULER_DRAIN_FENCE)
			wait_out(s, d, now);
		else
			fence(s, d, now);
		break;
	case PB_DRAIN_STEP_FENCED:
		begin(s, d);
		break;
	default:
		if (d->lost)
			begin(s, d);
		break;
	}
}

/* A write is durable, or has failed. */
static void stored(struct scheduler *s, struct scheduler_drain *d, bool first,
		   const struct stow_err *err)
{
	if (err && !d->known && !d->writing && !scheduler_drain_ended(d)) {
		/* The first write failed: the drain was never accepted. */
		scheduler_drain_hang_up(d, err);
		scheduler_drain_remove(s, d);
	}
	if (err)
		return;
	if (d->notify_due && !d->writing) {
		d->notify_due = false;
		scheduler_drain_send(d, first || scheduler_drain_step(d) == PB_DRAIN_STEP_PLANNED);
	}
	if (scheduler_drain_ended(d))
		scheduler_drain_acknowledge(s, d);
	else
		scheduler_drain_go_on(s, d, stow_now());
}

void scheduler_drain_save(struct scheduler *s, struct scheduler_drain *d,
			  struct stow_rpc_call *call)
{
	scheduler_drain_write(s, d, call, stored);
}

/* --- messages from the agent ---------------------------------------------- */

/* Replace the progress. The id stays the scheduler's, and the plan is kept in the message. */
static void take_numbers(struct scheduler_drain *d, PbDrainProgress *progress)
{
	PbDrainProgress *old = d->message->progress;

	stow_message_set_text(&progress->id, d->message->id);
	stow_rpc_message_free(STOW_TAKE_PTR(progress->plan));
	d->message->progress = progress;
	d->message->updated = stow_now().wall;
	stow_rpc_message_free(old);
}

static void take_step(struct scheduler *s, struct scheduler_drain *d, PbDrainProgress *progress)
{
	enum scheduler_event release = scheduler_event_release(progress);
	PbDrainStep step = progress->step;
	bool told = step == PB_DRAIN_STEP_SAFE || step == PB_DRAIN_STEP_REMOVED;

	progress->code = 0;
	take_numbers(d, progress);
	/* An agent with an order to cancel is about to undo the drain: the memory is not safe to
	 * remove. */
	if (told && release != SCHEDULER_EVENTS) {
		if (step == PB_DRAIN_STEP_REMOVED || !(d->flags & SCHEDULER_DRAIN_CANCEL))
			scheduler_drain_notify(d, release);
		scheduler_drain_release(s, d, release);
	}
	if (step == PB_DRAIN_STEP_REMOVED)
		scheduler_drain_notify(d, SCHEDULER_EVENT_REMOVED);
	scheduler_drain_send(d, false);
	/* Earlier steps are not written again, so an agent that alternates between steps causes
	 * no writes. */
	if (step > d->stored || d->events)
		scheduler_drain_save(s, d, NULL);
}

static void take_end(struct scheduler *s, struct scheduler_drain *d, PbDrainProgress *progress)
{
	PbDrainStep step = progress->step;
	uint32_t code = progress->code;
	char text[SCHEDULER_TEXT_MAX + 1];

	snprintf(text, sizeof(text), "%s", progress->message);
	if (scheduler_drain_step(d) == PB_DRAIN_STEP_WAITING) { /* planning: nothing to undo */
		stow_rpc_message_free(STOW_TAKE_PTR(progress->plan));
		progress->step = PB_DRAIN_STEP_WAITING;
		take_numbers(d, progress);
		end(s, d, PB_DRAIN_STEP_FAILED, code ? code : STOW_STATUS_INTERNAL, "%s",
		    text[0] ? text : "the node sent no plan and no reason");
		return;
	}
	progress->step = scheduler_drain_step(d);
	take_numbers(d, progress);
	if (step == PB_DRAIN_STEP_DONE)
		code = 0;
	else if (!code)
		code = step == PB_DRAIN_STEP_CANCELLED ? STOW_STATUS_CANCELLED
						       : STOW_STATUS_FAILED_PRECONDITION;
	end(s, d, step, code, "%s", text);
}

void scheduler_drain_progress(struct scheduler *s, struct stow_machine *machine,
			      PbDrainProgress *progress)
{
	struct scheduler_drain *d = NULL;
	PbDrainStep step = progress->step;
	bool over = scheduler_step_is_end(step);
	uint64_t id;

	if (stow_id_parse(progress->id, &id, NULL) == 0)
		d = scheduler_drain_find(s, id);
	if (!d || d->machine != machine) {
		/* The end is stored, or the drain is unknown: the agent may forget it. */
		if (over && (!d || strcmp(d->message->node, machine->name) == 0))
			scheduler_directive_forget_drain(s, machine, progress->id);
	} else if (scheduler_drain_step(d) == PB_DRAIN_STEP_WAITING) {
		if (d->asked && step == PB_DRAIN_STEP_PLANNED)
			planned(s, d, progress);
		else if (d->asked && over)
			take_end(s, d, STOW_TAKE_PTR(progress));
	} else if (scheduler_drain_step(d) >= PB_DRAIN_STEP_FENCED) {
		d->taken = true;
		d->lost = false;
		if (over)
			take_end(s, d, STOW_TAKE_PTR(progress));
		else if (step >= PB_DRAIN_STEP_MOVING && step <= PB_DRAIN_STEP_UNDOING)
			take_step(s, d, STOW_TAKE_PTR(progress));
	}
	stow_rpc_message_free(progress);
}

static void refused(struct scheduler *s, struct scheduler_drain *d, const PbDirectiveResult *result)
{
	char text[SCHEDULER_TEXT_MAX + 1];

	snprintf(text, sizeof(text), "%s", result->message);
	stow_text_clean(text, SCHEDULER_TEXT_MAX);
	if (result->code == STOW_STATUS_UNIMPLEMENTED)
		end(s, d, PB_DRAIN_STEP_FAILED, STOW_STATUS_UNIMPLEMENTED,
		    "the agent of node %s is too old to drain memory, or its "
		    "machine cannot: %s",
		    d->machine->name, text);
	else
		end(s, d, PB_DRAIN_STEP_FAILED, result->code, "node %s refuses: %s",
		    d->machine->name, text);
}

void scheduler_drain_result(struct scheduler *s, struct stow_machine *machine, uint64_t id,
			    enum scheduler_order what, const PbDirectiveResult *result)
{
	struct scheduler_drain *d = scheduler_drain_find(s, id);

	if (!d || d->machine != machine)
		return;
	if (what == SCHEDULER_ORDER_CANCEL) {
		/* The agent neither runs it nor has an outcome to report. */
		if (result->code == STOW_STATUS_NOT_FOUND)
			end(s, d, PB_DRAIN_STEP_CANCELLED, STOW_STATUS_CANCELLED,
			    "cancelled; node %s did not have it (any more)", machine->name);
		else if (result->code)
			stow_log(STOW_LOG_WARNING, "a node does not cancel a drain",
				 stow_text("node", machine->name),
				 stow_text("drain", d->message->id),
				 stow_text("error", result->message));
	} else if (what == SCHEDULER_ORDER_PLAN) {
		if (result->code && scheduler_drain_step(d) == PB_DRAIN_STEP_WAITING)
			refused(s, d, result);
	} else if (result->code) {
		refused(s, d, result);
	} else {
		d->taken = true;
	}
}

/* The agent had the drain, and no longer has it. */
static void missing(struct scheduler *s, struct scheduler_drain *d)
{
	if (scheduler_drain_step(d) == PB_DRAIN_STEP_REMOVED)
		end(s, d, PB_DRAIN_STEP_DONE, 0, "%s",
		    "it was removed; the agent was restarted afterwards");
	else if (d->flags & SCHEDULER_DRAIN_CANCEL)
		end(s, d, PB_DRAIN_STEP_CANCELLED, STOW_STATUS_CANCELLED, "%s",
		    "cancelled; the node no longer has it");
	else if (d->message->spec->resume)
		d->lost = true;
	else
		end(s, d, PB_DRAIN_STEP_FAILED, STOW_STATUS_UNAVAILABLE, "%s",
		    "the agent was restarted and has undone it");
}

static bool listed(const uint64_t *ids, size_t n, uint64_t id)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t at = low + (high - low) / 2;

		if (ids[at] < id)
			low = at + 1;
		else
			high = at;
	}
	return low < n && ids[low] == id;
}

void scheduler_drains_reported(struct scheduler *s, struct stow_machine *machine,
			       const uint64_t *ids, size_t n)
{
	if (!machine->n_drains)
		return;
	s->drains->look = true;
	for (size_t i = s->drains->n_under_way; i-- > 0;) {
		struct scheduler_drain *d = s->drains->under_way[i];
		bool has = listed(ids, n, d->id);

		if (d->machine != machine)
			continue;
		d->asked = false;
		if (scheduler_drain_step(d) >= PB_DRAIN_STEP_FENCED && !has &&
		    (d->taken || d->flags & SCHEDULER_DRAIN_CANCEL)) {
			missing(s, d);
		} else if (scheduler_drain_step(d) >= PB_DRAIN_STEP_FENCED) {
			d->taken |= has;
			d->lost = false;
			if (d->flags & SCHEDULER_DRAIN_CANCEL)
				scheduler_drain_order(s, d, SCHEDULER_ORDER_CANCEL);
		}
		if (i < s->drains->n_under_way && s->drains->under_way[i] == d)
			scheduler_drain_go_on(s, d, stow_now());
	}
}

/* --- cancelling ----------------------------------------------------------- */

static bool at_work(const struct scheduler_drain *d)
{
	return scheduler_drain_step(d) > PB_DRAIN_STEP_FENCED ||
	       (scheduler_drain_step(d) == PB_DRAIN_STEP_FENCED && (d->asked || d->taken));
}

void scheduler_drain_cancel(struct scheduler *s, struct scheduler_drain *d,
			    struct stow_rpc_call *call)
{
	struct stow_machine *machine = d->machine;

	d->flags |= SCHEDULER_DRAIN_CANCEL;
	if (!at_work(d)) {
		if (d->asked && scheduler_drain_step(d) == PB_DRAIN_STEP_WAITING)
			scheduler_directive_forget_drain(s, machine, d->message->id);
		end(s, d, PB_DRAIN_STEP_CANCELLED, STOW_STATUS_CANCELLED, "cancelled");
	} else {
		scheduler_drain_order(s, d, SCHEDULER_ORDER_CANCEL);
	}
	/* The call is answered after the last write. */
	scheduler_drain_save(s, d, call);
}
