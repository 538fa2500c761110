// SPDX-License-Identifier: Apache-2.0
/* Fence and Unfence. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/texts.h"
#include "scheduler/drain/drain.h"
#include "scheduler/service/service.h"

#define FENCES_MAX 256 /* waiting calls */

/*
 * A call of Fence or Unfence. It waits for earlier changes of the same machine, because each change
 * starts from the result of the previous one. Then it waits for the store; before that it has no
 * effect. Then a Fence waits until reservations are used or have run out.
 */
struct scheduler_fence {
	struct scheduler_fence *next;
	struct scheduler *scheduler;
	struct stow_rpc_call *call;
	char machine[STOW_TEXT_NAME + 1];
	struct stow_idset numa;
	bool lift, revoke;
	enum { QUEUED, STORING, STANDING } step;
	struct stow_idset after; /* all fences of the machine, as they are being stored */
	char caller[512];
	PbFenceResponse response;
};

static void finish(struct scheduler *s, struct scheduler_fence *fence, const struct stow_err *err)
{
	PbUnfenceResponse unfenced = PB_UNFENCE_RESPONSE__INIT;

	for (struct scheduler_fence **at = &s->fences; *at; at = &(*at)->next)
		if (*at == fence) {
			*at = fence->next;
			s->n_fences -= !fence->lift;
			break;
		}
	if (fence->lift) {
		stow_rpc_reply(fence->call, &unfenced, err);
	} else {
		stow_rpc_note(fence->call, "revoked %u", fence->response.revoked);
		stow_rpc_reply(fence->call, &fence->response, err);
	}
	free(fence);
}

void scheduler_fence_tick(struct scheduler *s)
{
	struct scheduler_fence *fence = s->fences, *next;

	for (; fence; fence = next) {
		const struct stow_machine *machine = stow_fleet_find(s->fleet, fence->machine);

		next = fence->next;
		if (fence->step != STANDING)
			continue;
		/* Cancelled calls need no answer. The fence stands. */
		if (stow_rpc_cancelled(fence->call) || !machine ||
		    !scheduler_reservations_unbound(machine, &fence->numa))
			finish(s, fence, NULL);
	}
}

void scheduler_fence_stop(struct scheduler *s)
{
	struct scheduler_fence *fence = s->fences, *next;
	struct stow_err err;

	stow_err_set(&err, ESHUTDOWN, "the scheduler is stopping; the fence stays in force");
	for (; fence; fence = next) {
		next = fence->next;
		if (fence->step == STANDING) /* others are answered by the store */
			finish(s, fence, &err);
	}
}

/* --- one after the other -------------------------------------------------- */

static void start_next(struct scheduler *s, const char *machine);

/* Put a stored fence into force. */
static void enforce(struct scheduler *s, struct scheduler_fence *fence)
{
	struct stow_machine *machine = NULL;
	struct stow_err err;

	if (stow_fleet_get(s->fleet, fence->machine, &machine, &err) < 0 ||
	    stow_fleet_fence(s->fleet, machine, &fence->after, &err) < 0) {
		finish(s, fence, &err);
		return;
	}
	scheduler_fences_notify(s, machine);
	if (fence->revoke)
		fence->response.revoked = scheduler_reservations_revoke(s, machine, &fence->numa);
	fence->step = STANDING;
	if (fence->lift) {
		finish(s, fence, NULL);
	} else if (atomic_load(&s->stopping)) {
		stow_err_set(&err, ESHUTDOWN,
			     "the scheduler is stopping; the fence stays in force");
		finish(s, fence, &err);
	}
}

/* On the store's thread. */
static void on_stored(void *ctx, const struct stow_err *err)
{
	struct scheduler_fence *fence = ctx;
	struct scheduler *s = fence->scheduler;
	char machine[sizeof(fence->machine)];

	memcpy(machine, fence->machine, sizeof(machine)); /* finish() frees the fence */
	stow_lock_take(&s->fleet->lock);
	if (err)
		finish(s, fence, err);
	else
		enforce(s, fence);
	start_next(s, machine);
	stow_lock_give(&s->fleet->lock);
}

static int store(struct scheduler *s, struct scheduler_fence *fence, struct stow_err *err)
{
	const struct stow_machine *machine = stow_fleet_find(s->fleet, fence->machine);
	struct stow_writes *writes = stow_writes_new();

	fence->after = (struct stow_idset){ 0 };
	if (machine && machine->fences)
		fence->after = *machine->fences;
	if (fence->lift)
		stow_idset_minus(&fence->after, &fence->numa);
	else
		stow_idset_or(&fence->after, &fence->numa);
	if (stow_writes_fence(writes, fence->machine, &fence->after) < 0) {
		stow_writes_free(writes);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	fence->step = STORING;
	stow_store_commit(s->store, writes, on_stored, fence);
	return 0;
}

/* Start the machine's oldest waiting change, unless one is being stored. */
static void start_next(struct scheduler *s, const char *machine)
{
	struct scheduler_fence *fence = s->fences, *next;
	struct stow_err err;

	for (const struct scheduler_fence *f = s->fences; f; f = f->next)
		if (f->step == STORING && strcmp(f->machine, machine) == 0)
			return;
	for (; fence; fence = next) {
		next = fence->next;
		if (fence->step != QUEUED || strcmp(fence->machine, machine) != 0)
			continue;
		if (store(s, fence, &err) == 0)
			return;
		finish(s, fence, &err);
	}
}

/* Append a call, which is answered later. */
static void queue(struct scheduler *s, struct scheduler_fence *fence)
{
	struct scheduler_fence **last = &s->fences;

	while (*last)
		last = &(*last)->next;
	*last = fence;
	s->n_fences += !fence->lift;
	start_next(s, fence->machine);
}

/* Parse machine and NUMA nodes, which must exist. A fence can also be lifted from a NUMA node
 * that no longer exists, or that was not reported since the start. */
static int parse(struct scheduler *s, const char *node, const char *numa, bool lift,
		 struct stow_machine **ret_machine, struct stow_idset *ret_numa,
		 struct stow_err *err)
{
	int r;

	r = stow_idset_parse(numa, ret_numa, err);
	if (r < 0)
		return stow_err_wrap(err, r, "numa_nodes");
	if (stow_idset_empty(ret_numa))
		return stow_err_set(err, EINVAL, "numa_nodes: missing");
	*ret_machine = stow_fleet_find(s->fleet, node);
	if (!*ret_machine)
		return stow_err_set(err, ENOENT, "node: there is no node \"%.64s\"", node);
	STOW_IDSET_FOR(id, ret_numa) {
		if (lift && (*ret_machine)->fenced && stow_idset_has((*ret_machine)->fenced, id))
			continue;
		if (stow_machine_numa(*ret_machine, (uint32_t)id) < 0)
			return stow_err_set(err, EINVAL, "numa_nodes: node %s has no NUMA node %d",
					    node, id);
	}
	return 0;
}

static struct scheduler_fence *fence_new(struct scheduler *s, struct stow_rpc_call *call,
					 const char *machine, bool lift)
{
	struct scheduler_fence *fence = calloc(1, sizeof(*fence));

	if (!fence)
		return NULL;
	snprintf(fence->machine, sizeof(fence->machine), "%s", machine);
	fence->scheduler = s;
	fence->call = call;
	fence->lift = lift;
	stow_rpc_peer_key(stow_rpc_peer(call), fence->caller, sizeof(fence->caller));
	pb_fence_response__init(&fence->response);
	return fence;
}

/* Return whether the caller of a Fence has as many that wait as are left for all others. */
static bool has_its_share(const struct scheduler *s, const struct scheduler_fence *fence)
{
	size_t its = 0;

	for (const struct scheduler_fence *f = s->fences; f; f = f->next)
		its += !f->lift && strcmp(f->caller, fence->caller) == 0;
	return its > 0 && its + s->n_fences >= FENCES_MAX;
}

/* The common part of Fence and Unfence: check the request, and queue it. */
static int change(struct stow_rpc_call *call, struct scheduler *s, const char *node,
		  const char *numa_nodes, bool lift, bool revoke, struct stow_err *err)
{
	struct scheduler_fence *fence = fence_new(s, call, node, lift);
	struct stow_machine *machine = NULL;
	int r;

	if (!fence)
		return stow_err_set(err, ENOMEM, "out of memory");
	fence->revoke = revoke;
	stow_lock_take(&s->fleet->lock);
	r = parse(s, node, numa_nodes, lift, &machine, &fence->numa, err);
	if (r == 0 && lift && machine->draining &&
	    stow_idset_intersects(machine->draining, &fence->numa))
		r = scheduler_drains_in_the_way(s, machine, err);
	if (r == 0 && !lift && has_its_share(s, fence))
		r = stow_err_set(err, EAGAIN, "too many calls of Fence of this caller wait");
	if (r == 0)
		queue(s, fence);
	stow_lock_give(&s->fleet->lock);
	if (r < 0)
		free(fence);
	return r < 0 ? r : STOW_RPC_LATER;
}

int scheduler_fence(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		    struct stow_err *err)
{
	const PbFenceRequest *in = request;

	return change(call, ctx, in->node, in->numa_nodes, false, in->revoke, err);
}

int scheduler_unfence(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err)
{
	const PbUnfenceRequest *in = request;

	return change(call, ctx, in->node, in->numa_nodes, true, false, err);
}
