// SPDX-License-Identifier: Apache-2.0
/* Slots for waiting drains, and the periodic tick. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "scheduler/drain/drain_internal.h"
#include "scheduler/fleet/message.h"

#define LOOK_EVERY STOW_SECOND /* for waiting drains, when nothing has changed */

/* A machine without a failure domain is a domain of its own. */
static bool same_domain(const struct scheduler_drain *a, const struct scheduler_drain *b)
{
	const char *x = a->message->failure_domain, *y = b->message->failure_domain;

	return x[0] && y[0] ? strcmp(x, y) == 0 : a->machine == b->machine;
}

/* Drains that have a slot, oldest first. */
struct running {
	struct scheduler_drain **list;
	size_t n;
};

/* Return whether a drain may get a slot; if not, its status names the drain that it waits for. */
static bool may_begin(struct scheduler *s, struct scheduler_drain *d, const struct running *running)
{
	const struct scheduler_drain *same = NULL, *here = NULL;
	uint64_t in_domain = 0;

	for (size_t i = 0; i < running->n; i++) {
		const struct scheduler_drain *other = running->list[i];

		if (same_domain(d, other)) {
			same = same ? same : other;
			in_domain++;
		}
		if (other->machine == d->machine)
			here = other;
	}
	if (here)
		scheduler_drain_status(d, "waits for drain %s of node %s", here->message->id,
				       here->message->node);
	else if (in_domain >= s->config.max_drains_per_domain)
		scheduler_drain_status(d,
				       "waits for drain %s of node %s, of the same failure domain",
				       same->message->id, same->message->node);
	else if (running->n >= s->config.max_drains)
		scheduler_drain_status(d, "waits for drain %s of node %s: the limit is reached",
				       running->list[0]->message->id,
				       running->list[0]->message->node);
	else if (d->machine->stale || !d->machine->stream)
		scheduler_drain_status(d, "waits for node %s, which is silent", d->machine->name);
	else
		return true;
	return false;
}

/* Use the present failure domain of the machine. */
static void take_domain(struct scheduler_drain *d)
{
	if (d->machine->domain && strcmp(d->message->failure_domain, d->machine->domain) != 0) {
		stow_message_set_text(&d->message->failure_domain, d->machine->domain);
		stow_text_clean(d->message->failure_domain, STOW_DOMAIN_MAX);
	}
}

static bool waits(const struct scheduler_drain *d)
{
	return scheduler_drain_step(d) == PB_DRAIN_STEP_WAITING && !d->slot && !d->dry &&
	       !d->writing && !d->unsaved;
}

static void give_slots(struct scheduler *s, struct stow_now now)
{
	size_t n = s->drains->n_under_way;
	struct running running = { calloc(n + 1, sizeof(struct scheduler_drain *)), 0 };

	s->drains->look = false;
	s->drains->looked = now.mono;
	if (!running.list)
		return;
	for (size_t i = 0; i < n; i++)
		if (s->drains->under_way[i]->slot && !s->drains->under_way[i]->dry)
			running.list[running.n++] = s->drains->under_way[i];
	for (size_t i = 0; i < s->drains->n_under_way; i++) {
		struct scheduler_drain *d = s->drains->under_way[i];

		if (!waits(d))
			continue;
		take_domain(d);
		if (!may_begin(s, d, &running))
			continue;
		d->slot = true;
		running.list[running.n++] = d;
		scheduler_drain_status(d, "node %s is planning", d->machine->name);
		scheduler_drain_go_on(s, d, now);
		if (scheduler_drain_ended(d)) { /* it was removed: the next one is at its index */
			running.n--;
			i--;
		}
	}
	free(running.list);
}

static void save_again(struct scheduler *s, struct scheduler_drain *d, struct stow_now now)
{
	if (d->unsaved && now.mono >= d->retry)
		scheduler_drain_save(s, d, NULL);
}

void scheduler_drains_tick(struct scheduler *s, struct stow_now now)
{
	for (size_t i = s->drains->n_under_way; i-- > 0;) {
		save_again(s, s->drains->under_way[i], now);
		/* This may remove the drain; then a later one, already handled, is at its index. */
		scheduler_drain_go_on(s, s->drains->under_way[i], now);
	}
	for (size_t i = 0; i < s->drains->n_ended; i++)
		save_again(s, s->drains->ended[i], now);
	if (s->drains->look || stow_clock_elapsed(s->drains->looked, now.mono) >= LOOK_EVERY)
		give_slots(s, now);
}
