// SPDX-License-Identifier: Apache-2.0
/* Drains in memory and in the store, and those who follow them. */
#include "scheduler/drain/drain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "rpc/say.h"
#include "rpc/texts.h"
#include "scheduler/drain/outbox.h"
#include "scheduler/drain/progress.h"
#include "scheduler/fleet/message.h"
#include "scheduler/scheduler.h"

#define BACKLOG_MAX (1U << 20) /* bytes: who is that far behind misses what is not an end */
#define RETRY	    STOW_SECOND

/* --- the table ---------------------------------------------------------------------------------- */

struct scheduler_drain *scheduler_drain_find(const struct scheduler *s, uint64_t id)
{
	struct stow_link *link = stow_hash_find(&s->drains.ids, id);

	return link ? stow_container_of(link, struct scheduler_drain, link) : NULL;
}

static struct scheduler_drain *with_request(struct scheduler_drain *const *list, size_t n,
					    const char *request_id)
{
	for (size_t i = 0; i < n; i++)
		if (list[i]->request_id && strcmp(list[i]->request_id, request_id) == 0)
			return list[i];
	return NULL;
}

struct scheduler_drain *scheduler_drain_by_request(const struct scheduler *s,
						   const char *request_id)
{
	struct scheduler_drain *d =
		with_request(s->drains.under_way, s->drains.n_under_way, request_id);

	return d ? d : with_request(s->drains.ended, s->drains.n_ended, request_id);
}

uint64_t scheduler_drain_new_id(const struct scheduler *s)
{
	uint64_t id = 0;

	while (!id || scheduler_drain_find(s, id))
		while (getrandom(&id, sizeof(id), 0) != sizeof(id))
			;
	return id;
}

static int make_room(struct scheduler_drain ***list, size_t n, size_t *room)
{
	size_t more = *room ? *room * 2 : 64;
	void *longer;

	if (n < *room)
		return 0;
	longer = reallocarray(*list, more, sizeof(**list));
	if (!longer)
		return -ENOMEM;
	*list = longer;
	*room = more;
	return 0;
}

static void take_out(struct scheduler_drain **list, size_t *n, const struct scheduler_drain *d)
{
	size_t at = 0;

	while (at < *n && list[at] != d)
		at++;
	if (at == *n)
		return;
	memmove(&list[at], &list[at + 1], (*n - at - 1) * sizeof(*list));
	--*n;
}

int scheduler_drain_add(struct scheduler *s, struct stow_machine *machine, uint64_t id,
			PbDrain *message, struct scheduler_drain **ret, struct stow_err *err)
{
	struct scheduler_drains *all = &s->drains;
	struct scheduler_drain *d = calloc(1, sizeof(*d));

	/* There is always room for its end. */
	if (!d || make_room(&all->under_way, all->n_under_way, &all->under_way_room) < 0 ||
	    make_room(&all->ended, all->n_ended + all->n_under_way + 1, &all->ended_room) < 0 ||
	    stow_hash_add(&all->ids, &d->link, id) < 0) {
		free(d);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	d->id = id;
	d->message = message;
	if (scheduler_drain_ended(d)) {
		all->ended[all->n_ended++] = d;
	} else {
		d->machine = machine;
		machine->n_drains++;
		all->under_way[all->n_under_way++] = d;
		all->look = true;
	}
	*ret = d;
	return 0;
}

void scheduler_drain_remove(struct scheduler *s, struct scheduler_drain *d)
{
	struct scheduler_drains *all = &s->drains;

	take_out(all->under_way, &all->n_under_way, d);
	take_out(all->ended, &all->n_ended, d);
	stow_hash_remove(&all->ids, &d->link);
	if (d->machine)
		d->machine->n_drains--;
	for (struct scheduler_follower *f = d->followers; f; f = f->next)
		f->drain = NULL;
	pb_drain__free_unpacked(d->message, NULL);
	free(d->request_id);
	free(d);
	all->look = true;
}

/* --- those who follow --------------------------------------------------------------------------- */

void scheduler_drain_tell_one(const struct scheduler_drain *d, struct scheduler_follower *f,
			      bool whole)
{
	PbDrainProgress out = *d->message->progress;

	out.plan = whole ? d->message->plan : NULL;
	stow_rpc_send(f->call, &out);
}

void scheduler_drain_tell(struct scheduler_drain *d, bool whole)
{
	bool over = scheduler_drain_ended(d);
	struct scheduler_follower *f = d->followers, *next;

	for (; f; f = next) {
		next = f->next;
		if (over || stow_rpc_backlog(f->call) <= BACKLOG_MAX)
			scheduler_drain_tell_one(d, f, whole);
		if (!over)
			continue;
		f->drain = NULL;
		stow_rpc_close(f->call, NULL);
	}
	if (over) {
		d->followers = NULL;
		d->n_followers = 0;
	}
}

void scheduler_drain_hang_up(struct scheduler_drain *d, const struct stow_err *err)
{
	for (struct scheduler_follower *f = d->followers; f; f = f->next) {
		f->drain = NULL;
		stow_rpc_close(f->call, err);
	}
	d->followers = NULL;
	d->n_followers = 0;
}

bool scheduler_drain_say(struct scheduler_drain *d, const char *fmt, ...)
{
	char text[SCHEDULER_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (strcmp(d->message->progress->message, text) == 0)
		return false;
	stow_message_set_text(&d->message->progress->message, text);
	d->message->updated = stow_now().wall;
	return true;
}

/* --- the store ---------------------------------------------------------------------------------- */

struct saving {
	struct scheduler *s;
	struct scheduler_drain *d;
	uint32_t events;
	struct scheduler_letter *letters;
	struct stow_rpc_call *call;
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

/* The machine may forget it: its end is stored. */
static void acknowledge(struct scheduler *s, struct scheduler_drain *d)
{
	struct stow_machine *machine = stow_fleet_find(s->fleet, d->message->node);

	if (d->taken && machine)
		scheduler_let_go(s, machine, d->message->id);
	d->taken = false;
}

/* What says that memory may be removed. */
static const enum scheduler_event releases[] = { SCHEDULER_EVENT_SAFE, SCHEDULER_EVENT_SHRINK };

static uint32_t told_of(enum scheduler_event event)
{
	return (uint32_t)SCHEDULER_DRAIN_TOLD << event;
}

/* Whoever has not heard by now that the memory may be removed must not hear it any more: it comes
 * back, or is back, or other memory of its device is online; and pulling a device that is in use is
 * what no signal ends. */
static bool is_unsafe(const struct scheduler_drain *d)
{
	uint32_t told =
		d->flags & (told_of(SCHEDULER_EVENT_SAFE) | told_of(SCHEDULER_EVENT_SHRINK));
	PbDrainStep step = d->message->progress->step;

	if (!told)
		return false;
	if (scheduler_step_is_end(step))
		return step != PB_DRAIN_STEP_DONE ||
		       told != told_of(scheduler_event_release(d->message->progress));
	return step == PB_DRAIN_STEP_UNDOING ||
	       (step != PB_DRAIN_STEP_REMOVED && d->flags & SCHEDULER_DRAIN_CANCEL);
}

/* On the store's thread. */
static void on_saved(void *ctx, const struct stow_err *err)
{
	struct saving *op = ctx;
	struct scheduler *s = op->s;
	struct scheduler_drain *d = op->d;
	bool whole = !d->known;

	stow_lock_take(&s->fleet->lock);
	d->writing--;
	answer(op->call, d, err);
	if (err) {
		scheduler_outbox_drop(op->letters);
		d->events |= op->events;
		d->unsaved = true;
		d->retry = stow_now().mono + RETRY;
		stow_say(STOW_LOG_ERR, "a drain's state could not be stored",
			 stow_text("drain", d->message->id), stow_why(err));
		if (!d->known && !d->writing && !scheduler_drain_ended(d)) {
			/* As if it had never been asked for. */
			scheduler_drain_hang_up(d, err);
			scheduler_drain_remove(s, d);
		}
	} else {
		if (is_unsafe(d))
			for (size_t i = 0; i < STOW_ARRAY_SIZE(releases); i++)
				scheduler_letters_withdraw(op->letters, releases[i]);
		if (op->letters)
			scheduler_outbox_post(s->outbox, op->letters);
		d->known = true;
		whole |= d->message->progress->step == PB_DRAIN_STEP_PLANNED;
		if (d->owed && !d->writing) {
			d->owed = false;
			scheduler_drain_tell(d, whole);
		}
		if (scheduler_drain_ended(d))
			acknowledge(s, d);
		else
			scheduler_drain_go_on(s, d, stow_now());
	}
	stow_lock_give(&s->fleet->lock);
	free(op);
}

/* One that has ended keeps the sums of its plan. */
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

static int write_events(struct scheduler *s, const struct scheduler_drain *d,
			struct stow_writes *writes, struct saving *op)
{
	uint64_t wall = stow_now().wall;
	int r = 0;

	for (size_t i = 0; s->outbox && is_unsafe(d) && r == 0 && i < STOW_ARRAY_SIZE(releases);
	     i++)
		r = scheduler_outbox_withdraw(s->outbox, writes, d->id, releases[i]);
	for (int event = 0; event < SCHEDULER_EVENTS && r == 0; event++) {
		_cleanup_free_ char *body = NULL;

		if (!s->outbox || !(d->events & 1U << event))
			continue;
		body = scheduler_event_body((enum scheduler_event)event, d->message, wall);
		r = body ? scheduler_outbox_write(s->outbox, writes, d->id,
						  (enum scheduler_event)event, body, wall,
						  &op->letters)
			 : -ENOMEM;
	}
	op->events = d->events;
	return r;
}

static void trim_plan(struct scheduler_drain *d)
{
	PbDrainPlan *plan = d->message->plan;

	while (plan && plan->n_blocks)
		pb_drain_block__free_unpacked(plan->blocks[--plan->n_blocks], NULL);
	while (plan && plan->n_affected)
		pb_drain_affected__free_unpacked(plan->affected[--plan->n_affected], NULL);
}

void scheduler_drain_save(struct scheduler *s, struct scheduler_drain *d,
			  struct stow_rpc_call *call)
{
	struct saving *op = calloc(1, sizeof(*op));
	struct stow_writes *writes = stow_writes_new();
	struct stow_err err;

	if (!op || write_drain(d, writes) < 0 || write_events(s, d, writes, op) < 0) {
		stow_err_set(&err, ENOMEM, "out of memory");
		answer(call, d, &err);
		if (op)
			scheduler_outbox_drop(op->letters);
		free(op);
		stow_writes_free(writes);
		d->unsaved = true;
		d->retry = stow_now().mono + RETRY;
		return;
	}
	d->events = 0;
	d->unsaved = false;
	d->writing++;
	if (d->message->progress->step > d->stored)
		d->stored = d->message->progress->step;
	*op = (struct saving){ s, d, op->events, op->letters, call };
	stow_store_commit(s->store, writes, on_saved, op);
	if (scheduler_drain_ended(d))
		trim_plan(d);
}

void scheduler_drain_event(struct scheduler_drain *d, enum scheduler_event event)
{
	uint32_t told = (uint32_t)SCHEDULER_DRAIN_TOLD << event;

	if (d->flags & told)
		return;
	d->flags |= told;
	d->events |= 1U << event;
}

static int check_loaded(const PbDrain *message, uint64_t id, struct stow_err *err)
{
	uint64_t named = 0;
	int r;

	if (!message || !message->progress || !message->spec ||
	    stow_id_parse(message->id, &named, NULL) < 0 || named != id ||
	    message->progress->step < PB_DRAIN_STEP_WAITING ||
	    message->progress->step > PB_DRAIN_STEP_CANCELLED ||
	    (message->progress->step > PB_DRAIN_STEP_WAITING &&
	     !scheduler_step_is_end(message->progress->step) && !message->plan))
		return stow_err_set(err, EUCLEAN, "the store: drain %" PRIx64 " is damaged", id);
	r = stow_machine_name_check(message->node, err);
	return r < 0 ? stow_err_set(err, EUCLEAN, "the store: \"%.64s\" is no name of a node",
				    message->node)
		     : 0;
}

static int load_fence(struct scheduler *s, struct scheduler_drain *d, struct stow_err *err)
{
	struct stow_idset numa = { 0 };

	if (!(d->flags & SCHEDULER_DRAIN_FENCE) || !d->machine || !d->message->plan)
		return 0;
	if (d->machine->draining)
		numa = *d->machine->draining;
	stow_idset_add(&numa, d->message->plan->numa_node);
	return stow_fleet_drain(s->fleet, d->machine, &numa, err);
}

int scheduler_drain_load(void *ctx, uint64_t id, uint64_t flags, const void *message, size_t len,
			 const char *request_id, struct stow_err *err)
{
	PbDrain *drain = pb_drain__unpack(NULL, len, message);
	struct stow_machine *machine = NULL;
	struct scheduler *s = ctx;
	struct scheduler_drain *d;
	int r;

	r = check_loaded(drain, id, err);
	if (r == 0 && !scheduler_step_is_end(drain->progress->step))
		r = stow_fleet_get(s->fleet, drain->node, &machine, err);
	if (r == 0)
		r = scheduler_drain_add(s, machine, id, drain, &d, err);
	if (r < 0) {
		stow_rpc_message_free(drain);
		return r;
	}
	d->flags = (uint32_t)flags;
	d->known = true;
	d->stored = drain->progress->step;
	d->turn = d->stored > PB_DRAIN_STEP_WAITING && !scheduler_drain_ended(d);
	d->taken = d->turn && d->stored > PB_DRAIN_STEP_FENCED;
	/* Whether the machine was asked is known when it reports. */
	d->asked = d->stored == PB_DRAIN_STEP_FENCED;
	d->since = stow_now().mono;
	if (request_id[0]) {
		d->request_id = strdup(request_id);
		if (!d->request_id)
			return stow_err_set(err, ENOMEM, "out of memory");
	}
	return load_fence(s, d, err);
}

static int by_age(const void *a, const void *b)
{
	const PbDrain *x = (*(struct scheduler_drain *const *)a)->message;
	const PbDrain *y = (*(struct scheduler_drain *const *)b)->message;

	if (x->created != y->created)
		return x->created < y->created ? -1 : 1;
	return strcmp(x->id, y->id);
}

static int by_end(const void *a, const void *b)
{
	const PbDrain *x = (*(struct scheduler_drain *const *)a)->message;
	const PbDrain *y = (*(struct scheduler_drain *const *)b)->message;

	if (x->updated != y->updated)
		return x->updated < y->updated ? -1 : 1;
	return strcmp(x->id, y->id);
}

void scheduler_drains_loaded(struct scheduler *s)
{
	struct scheduler_drains *all = &s->drains;

	if (all->n_under_way)
		qsort(all->under_way, all->n_under_way, sizeof(*all->under_way), by_age);
	if (all->n_ended)
		qsort(all->ended, all->n_ended, sizeof(*all->ended), by_end);
	/* What was safe before may have been taken back meanwhile: the machine says so first. */
	for (size_t i = 0; s->outbox && i < all->n_under_way; i++)
		for (size_t k = 0; k < STOW_ARRAY_SIZE(releases); k++)
			scheduler_outbox_hold(s->outbox, all->under_way[i]->id, releases[k], true);
}

/* --- steps and ends ----------------------------------------------------------------------------- */

void scheduler_drain_step(struct scheduler_drain *d, PbDrainStep step)
{
	PbDrainProgress *p = d->message->progress;
	struct stow_now now = stow_now();

	p->step = step;
	d->message->updated = now.wall;
	p->elapsed = now.wall > d->message->created ? now.wall - d->message->created : 0;
	d->owed = true;
}

int scheduler_drain_fences(struct scheduler *s, struct stow_machine *machine, struct stow_err *err)
{
	struct stow_idset numa = { 0 };
	int r;

	for (size_t i = 0; i < s->drains.n_under_way; i++) {
		const struct scheduler_drain *d = s->drains.under_way[i];

		if (d->machine == machine && d->flags & SCHEDULER_DRAIN_FENCE)
			stow_idset_add(&numa, d->message->plan->numa_node);
	}
	r = stow_fleet_drain(s->fleet, machine, &numa, err);
	if (r == 0)
		scheduler_tell_fences(s, machine);
	return r;
}

/* What webhooks have not heard of by then, in its order: a step may have been missed on the way. */
static void end_events(struct scheduler_drain *d)
{
	enum scheduler_event release = scheduler_event_release(d->message->progress);

	if (d->message->progress->step != PB_DRAIN_STEP_DONE) {
		scheduler_drain_event(d, SCHEDULER_EVENT_FAILED);
		return;
	}
	if (release != SCHEDULER_EVENTS)
		scheduler_drain_event(d, release);
	if (d->message->spec->eject == PB_DRAIN_EJECT_EJECT ||
	    d->message->spec->eject == PB_DRAIN_EJECT_WAIT)
		scheduler_drain_event(d, SCHEDULER_EVENT_REMOVED);
}

void scheduler_drain_end(struct scheduler *s, struct scheduler_drain *d, PbDrainStep step,
			 uint32_t code, const char *fmt, ...)
{
	bool fenced = d->flags & SCHEDULER_DRAIN_FENCE;
	struct stow_machine *machine = d->machine;
	char text[SCHEDULER_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* What a node said may have been cut within a character. */
	stow_text_clean(text, sizeof(text));
	stow_message_set_text(&d->message->progress->message, text);
	scheduler_drain_step(d, step);
	d->message->progress->code = code;
	if (d->dry) {
		scheduler_drain_tell(d, false);
		scheduler_drain_remove(s, d);
		return;
	}
	stow_say(step == PB_DRAIN_STEP_DONE ? STOW_LOG_NOTICE : STOW_LOG_WARNING,
		 "a drain has ended", stow_text("drain", d->message->id),
		 stow_text("node", d->message->node), stow_text("step", scheduler_step_name(step)),
		 stow_text("reason", text));
	s->drains.counts[step - PB_DRAIN_STEP_DONE]++;
	end_events(d);
	take_out(s->drains.under_way, &s->drains.n_under_way, d);
	s->drains.ended[s->drains.n_ended++] = d;
	machine->n_drains--;
	d->machine = NULL;
	d->turn = false;
	for (size_t i = 0; s->outbox && step == PB_DRAIN_STEP_DONE && i < STOW_ARRAY_SIZE(releases);
	     i++)
		if (releases[i] == scheduler_event_release(d->message->progress))
			scheduler_outbox_hold(s->outbox, d->id, releases[i], false);
	d->flags &= ~(uint32_t)SCHEDULER_DRAIN_FENCE;
	if (fenced)
		(void)scheduler_drain_fences(s, machine,
					     NULL); /* taking one away needs no memory */
	s->drains.look = true;
	scheduler_drain_save(s, d, NULL);
}

void scheduler_drains_forget(struct scheduler *s, struct stow_now now)
{
	struct scheduler_drains *all = &s->drains;

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

void scheduler_drains_stop(struct scheduler *s)
{
	struct stow_err err;

	stow_err_set(&err, ESHUTDOWN, "the scheduler is stopping; the drain stays");
	for (size_t i = 0; i < s->drains.n_under_way; i++)
		scheduler_drain_hang_up(s->drains.under_way[i], &err);
	for (size_t i = 0; i < s->drains.n_ended; i++)
		scheduler_drain_hang_up(s->drains.ended[i], &err);
}

void scheduler_drains_free(struct scheduler *s)
{
	while (s->drains.n_under_way)
		scheduler_drain_remove(s, s->drains.under_way[s->drains.n_under_way - 1]);
	while (s->drains.n_ended)
		scheduler_drain_remove(s, s->drains.ended[s->drains.n_ended - 1]);
	stow_hash_done(&s->drains.ids);
	free(s->drains.under_way);
	free(s->drains.ended);
	s->drains = (struct scheduler_drains){ 0 };
}
