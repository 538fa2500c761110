// SPDX-License-Identifier: Apache-2.0
/* Loading drains from the store. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/drain/drain_internal.h"

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
	return r < 0 ? stow_err_set(err, EUCLEAN, "the store: \"%.64s\" is not a node's name",
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
	d->slot = d->stored > PB_DRAIN_STEP_WAITING && !scheduler_drain_ended(d);
	d->taken = d->slot && d->stored > PB_DRAIN_STEP_FENCED;
	/* Assume that the agent has the order, until its report shows whether it has. */
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
	struct scheduler_drains *all = s->drains;

	if (all->n_under_way)
		qsort(all->under_way, all->n_under_way, sizeof(*all->under_way), by_age);
	if (all->n_ended)
		qsort(all->ended, all->n_ended, sizeof(*all->ended), by_end);
	/* Memory that was offline may be online again by now: wait for the agent's report. */
	for (size_t i = 0; i < all->n_under_way; i++)
		scheduler_drain_hold(s, all->under_way[i]);
}
