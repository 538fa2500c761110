// SPDX-License-Identifier: Apache-2.0
/* Chooses the webhook events of a drain, and withdraws those that no longer hold. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "scheduler/drain/delivery_queue.h"
#include "scheduler/drain/drain_internal.h"

/* Events that allow the removal of memory. */
static const enum scheduler_event releases[] = { SCHEDULER_EVENT_SAFE, SCHEDULER_EVENT_SHRINK };

static uint32_t told_of(enum scheduler_event event)
{
	return (uint32_t)SCHEDULER_DRAIN_TOLD << event;
}

void scheduler_drain_notify(struct scheduler_drain *d, enum scheduler_event event)
{
	if (d->flags & told_of(event))
		return;
	d->flags |= told_of(event);
	d->events |= 1U << event;
}

/* In order: the scheduler may have missed a step's message. */
void scheduler_drain_notify_end(struct scheduler *s, struct scheduler_drain *d)
{
	enum scheduler_event release = scheduler_event_release(d->message->progress);

	if (scheduler_drain_step(d) != PB_DRAIN_STEP_DONE) {
		scheduler_drain_notify(d, SCHEDULER_EVENT_FAILED);
		return;
	}
	if (release != SCHEDULER_EVENTS) {
		scheduler_drain_notify(d, release);
		scheduler_drain_release(s, d, release);
	}
	if (d->message->spec->eject == PB_DRAIN_EJECT_EJECT ||
	    d->message->spec->eject == PB_DRAIN_EJECT_WAIT)
		scheduler_drain_notify(d, SCHEDULER_EVENT_REMOVED);
}

void scheduler_drain_release(struct scheduler *s, const struct scheduler_drain *d,
			     enum scheduler_event event)
{
	if (s->delivery_queue)
		scheduler_delivery_queue_hold(s->delivery_queue, d->id, event, false);
}

void scheduler_drain_hold(struct scheduler *s, const struct scheduler_drain *d)
{
	for (size_t i = 0; s->delivery_queue && i < STOW_ARRAY_SIZE(releases); i++)
		scheduler_delivery_queue_hold(s->delivery_queue, d->id, releases[i], true);
}

/* Return whether an undelivered event that allows removal must be withdrawn: the memory comes
 * back online, or other memory of its device is online. Pulling a device in use would crash the
 * machine. */
static bool is_unsafe(const struct scheduler_drain *d)
{
	uint32_t told =
		d->flags & (told_of(SCHEDULER_EVENT_SAFE) | told_of(SCHEDULER_EVENT_SHRINK));
	PbDrainStep step = scheduler_drain_step(d);

	if (!told)
		return false;
	if (scheduler_step_is_end(step))
		return step != PB_DRAIN_STEP_DONE ||
		       told != told_of(scheduler_event_release(d->message->progress));
	return step == PB_DRAIN_STEP_UNDOING ||
	       (step != PB_DRAIN_STEP_REMOVED && d->flags & SCHEDULER_DRAIN_CANCEL);
}

int scheduler_drain_write_events(struct scheduler *s, const struct scheduler_drain *d,
				 struct stow_writes *writes, struct scheduler_delivery **deliveries)
{
	uint64_t wall = stow_now().wall;
	int r = 0;

	if (!s->delivery_queue)
		return 0;
	for (size_t i = 0; is_unsafe(d) && r == 0 && i < STOW_ARRAY_SIZE(releases); i++)
		r = scheduler_delivery_queue_withdraw(s->delivery_queue, writes, d->id,
						      releases[i]);
	for (int event = 0; event < SCHEDULER_EVENTS && r == 0; event++) {
		_cleanup_free_ char *body = NULL;

		if (!(d->events & 1U << event))
			continue;
		body = scheduler_event_body((enum scheduler_event)event, d->message, wall);
		r = body ? scheduler_delivery_queue_write(s->delivery_queue, writes, d->id,
							  (enum scheduler_event)event, body, wall,
							  deliveries)
			 : -ENOMEM;
	}
	return r;
}

void scheduler_drain_post(struct scheduler *s, const struct scheduler_drain *d,
			  struct scheduler_delivery *deliveries)
{
	for (size_t i = 0; is_unsafe(d) && i < STOW_ARRAY_SIZE(releases); i++)
		scheduler_deliveries_withdraw(deliveries, releases[i]);
	if (deliveries)
		scheduler_delivery_queue_post(s->delivery_queue, deliveries);
}
