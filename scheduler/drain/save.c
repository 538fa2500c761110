// SPDX-License-Identifier: Apache-2.0
/* Writing drains to the store. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "rpc/log.h"
#include "scheduler/drain/delivery_queue.h"
#include "scheduler/drain/drain_internal.h"

#define RETRY STOW_SECOND

struct saving {
	struct scheduler *s;
	struct scheduler_drain *d;
	uint32_t events;
	struct scheduler_delivery *deliveries;
	struct stow_rpc_call *call;
	void (*then)(struct scheduler *s, struct scheduler_drain *d, bool first,
		     const struct stow_err *err);
};

static void answer(struct stow_rpc_call *call, const struct scheduler_drain *d,
		   const struct stow_err *err)
{
	PbCancelDrainResponse out = PB_CANCEL_DRAIN_RESPONSE__INIT;

	if (!call)
		return;
	out.id = d->message->id;
	stow_rpc_reply(call, &out, err);
}

static void failed(struct saving *op, const struct stow_err *err)
{
	struct scheduler_drain *d = op->d;

	scheduler_delivery_queue_drop(op->deliveries);
	d->events |= op->events;
	d->unsaved = true;
	d->retry = stow_now().mono + RETRY;
	stow_log(STOW_LOG_ERR, "a drain's state could not be stored",
		 stow_text("drain", d->message->id), stow_why(err));
}

/* On the store's thread. */
static void on_saved(void *ctx, const struct stow_err *err)
{
	struct saving *op = ctx;
	struct scheduler *s = op->s;
	struct scheduler_drain *d = op->d;
	bool first;

	stow_lock_take(&s->fleet->lock);
	first = !d->known;
	d->writing--;
	answer(op->call, d, err);
	if (err) {
		failed(op, err);
	} else {
		scheduler_drain_post(s, d, op->deliveries);
		d->known = true;
	}
	op->then(s, d, first, err);
	stow_lock_give(&s->fleet->lock);
	free(op);
}

/* An ended drain keeps only the sums of its plan. */
static int write_drain(const struct scheduler_drain *d, struct stow_writes *writes)
{
	PbDrain out = *d->message;
	_cleanup_free_ uint8_t *bytes = NULL;
	PbDrainPlan plan;
	size_t len;

	if (out.plan && scheduler_drain_ended(d)) {
		plan = *out.plan;
		plan.n_blocks = plan.n_affected = 0;
		out.plan = &plan;
	}
	len = pb_drain__get_packed_size(&out);
	bytes = malloc(len + 1);
	if (!bytes)
		return -ENOMEM;
	pb_drain__pack(&out, bytes);
	return stow_writes_drain(writes, d->id, d->flags, bytes, len, d->request_id);
}

static void trim_plan(struct scheduler_drain *d)
{
	PbDrainPlan *plan = d->message->plan;

	while (plan && plan->n_blocks)
		pb_drain_block__free_unpacked(plan->blocks[--plan->n_blocks], NULL);
	while (plan && plan->n_affected)
		pb_drain_affected__free_unpacked(plan->affected[--plan->n_affected], NULL);
}

void scheduler_drain_write(struct scheduler *s, struct scheduler_drain *d,
			   struct stow_rpc_call *call,
			   void (*then)(struct scheduler *s, struct scheduler_drain *d, bool first,
					const struct stow_err *err))
{
	struct saving *op = calloc(1, sizeof(*op));
	struct stow_writes *writes = stow_writes_new();
	struct stow_err err;

	if (!op || write_drain(d, writes) < 0 ||
	    scheduler_drain_write_events(s, d, writes, &op->deliveries) < 0) {
		stow_err_set(&err, ENOMEM, "out of memory");
		answer(call, d, &err);
		if (op)
			scheduler_delivery_queue_drop(op->deliveries);
		free(op);
		stow_writes_free(writes);
		d->unsaved = true;
		d->retry = stow_now().mono + RETRY;
		return;
	}
	*op = (struct saving){ s, d, d->events, op->deliveries, call, then };
	d->events = 0;
	d->unsaved = false;
	d->writing++;
	if (scheduler_drain_step(d) > d->stored)
		d->stored = scheduler_drain_step(d);
	stow_store_commit(s->store, writes, on_saved, op);
	if (scheduler_drain_ended(d))
		trim_plan(d);
}

void scheduler_drains_forget(struct scheduler *s, struct stow_now now)
{
	struct scheduler_drains *all = s->drains;

	while (all->n_ended) {
		struct scheduler_drain *d = all->ended[0];
		struct stow_writes *writes;

		if (d->writing || d->unsaved ||
		    (all->n_ended <= SCHEDULER_ENDED_MAX &&
		     now.wall < d->message->updated + SCHEDULER_ENDED_KEPT))
			return;
		writes = stow_writes_new();
		if (stow_writes_no_drain(writes, d->id) < 0) {
			stow_writes_free(writes);
			return;
		}
		stow_store_commit(s->store, writes, NULL, NULL);
		scheduler_drain_remove(s, d);
	}
}
