// SPDX-License-Identifier: Apache-2.0
/* Fence and Unfence. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "rpc/say.h"
#include "scheduler/scheduler.h"

#define FENCES_MAX 256 /* that wait at a time */

/* A Fence that waits for reservations to be used or to run out. */
struct scheduler_fence {
	struct scheduler_fence *next;
	struct scheduler *scheduler;
	struct stow_rpc_call *call;
	char *machine;
	struct stow_idset numa;
	bool durable;
	struct stow_err err;
	PbFenceResponse response;
};

static void fence_free(struct scheduler_fence *fence)
{
	free(fence->machine);
	free(fence);
}

static bool is_unbound(const struct stow_reservation *r, const struct stow_idset *numa)
{
	return r->message->state != PB_RESERVATION_STATE_BOUND &&
	       stow_idset_intersects(r->numa, numa);
}

struct stow_reservation *scheduler_unbound(const struct stow_machine *machine,
					   const struct stow_idset *numa)
{
	for (struct stow_reservation *r = machine->reservations; r; r = r->next)
		if (is_unbound(r, numa))
			return r;
	return NULL;
}

static void finish(struct scheduler *s, struct scheduler_fence *fence, const struct stow_err *err)
{
	for (struct scheduler_fence **at = &s->fences; *at; at = &(*at)->next)
		if (*at == fence) {
			*at = fence->next;
			s->n_fences--;
			break;
		}
	stow_rpc_reply(fence->call, &fence->response, err);
	fence_free(fence);
}

void scheduler_fence_tick(struct scheduler *s, struct stow_now now)
{
	struct scheduler_fence *fence = s->fences, *next;

	for (; fence; fence = next) {
		const struct stow_machine *machine = stow_fleet_find(s->fleet, fence->machine);

		next = fence->next;
		if (fence->err.code)
			finish(s, fence, &fence->err);
		else if (stow_rpc_cancelled(fence->call) && fence->durable)
			finish(s, fence, NULL); /* nobody reads it; the fence stands */
		else if (fence->durable && (!machine || !scheduler_unbound(machine, &fence->numa)))
			finish(s, fence, NULL);
	}
}

void scheduler_fence_stop(struct scheduler *s)
{
	struct stow_err err;

	stow_err_set(&err, ESHUTDOWN, "the scheduler is stopping; the fence stands");
	while (s->fences)
		finish(s, s->fences, &err);
}

/* On the store's thread; the clock's answers. */
static void on_durable(void *ctx, const struct stow_err *err)
{
	struct scheduler_fence *fence = ctx;
	struct stow_fleet *fleet = fence->scheduler->fleet;

	stow_lock_take(&fleet->lock);
	if (err)
		fence->err = *err;
	fence->durable = true;
	stow_lock_give(&fleet->lock);
}

void scheduler_tell_fences(struct scheduler *s, struct stow_machine *machine)
{
	PbDirective directive = PB_DIRECTIVE__INIT;
	PbSetFence set = PB_SET_FENCE__INIT;
	char text[STOW_IDSET_MAX] = "";

	if (machine->fenced)
		stow_idset_format(machine->fenced, text, sizeof(text));
	set.numa_nodes = text;
	directive.kind_case = PB_DIRECTIVE__KIND_FENCE;
	directive.fence = &set;
	scheduler_direct(s, machine, &directive, 0);
	scheduler_news(s);
	stow_say(STOW_LOG_NOTICE, "fences", stow_text("node", machine->name),
		 stow_text("numa_nodes", text));
}

/* The operators' fences of a machine, in memory, in the store and on the machine. */
static int set_fences(struct scheduler *s, struct stow_machine *machine,
		      const struct stow_idset *numa,
		      void (*done)(void *ctx, const struct stow_err *err), void *ctx,
		      struct stow_err *err)
{
	struct stow_writes *writes = stow_writes_new();
	int r;

	r = stow_writes_fence(writes, machine->name, numa) < 0
		    ? stow_err_set(err, ENOMEM, "out of memory")
		    : stow_fleet_fence(s->fleet, machine, numa, err);
	if (r < 0) {
		stow_writes_free(writes);
		return r;
	}
	stow_store_commit(s->store, writes, done, ctx);
	scheduler_tell_fences(s, machine);
	return 0;
}

/* The machine, and the NUMA nodes, which it must have; a fence can also be lifted from one that is
 * gone, or not heard of since the start. */
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

uint32_t scheduler_revoke(struct scheduler *s, struct stow_machine *machine,
			  const struct stow_idset *numa)
{
	_cleanup_free_ struct stow_reservation **list =
		calloc(machine->n_reservations + 1, sizeof(struct stow_reservation *));
	uint32_t n = 0;

	if (!list)
		return 0; /* then it waits for them */
	for (struct stow_reservation *r = machine->reservations; r; r = r->next)
		if (is_unbound(r, numa))
			list[n++] = r;
	scheduler_end_all(s, list, n, stow_now());
	atomic_fetch_add(&s->revoked, n);
	return n;
}

int scheduler_fence(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		    struct stow_err *err)
{
	const PbFenceRequest *in = request;
	struct scheduler *s = ctx;
	struct scheduler_fence *fence = calloc(1, sizeof(*fence));
	struct stow_machine *machine;
	struct stow_idset all;
	int r;

	if (fence)
		fence->machine = strdup(in->node);
	if (!fence || !fence->machine) {
		free(fence);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	fence->scheduler = s;
	fence->call = call;
	pb_fence_response__init(&fence->response);
	stow_lock_take(&s->fleet->lock);
	r = parse(s, in->node, in->numa_nodes, false, &machine, &fence->numa, err);
	if (r == 0 && s->n_fences >= FENCES_MAX)
		r = stow_err_set(err, EAGAIN, "%d calls of Fence wait already", FENCES_MAX);
	if (r == 0) {
		all = fence->numa;
		if (machine->fences)
			stow_idset_or(&all, machine->fences);
		r = set_fences(s, machine, &all, on_durable, fence, err);
	}
	if (r == 0) {
		if (in->revoke)
			fence->response.revoked = scheduler_revoke(s, machine, &fence->numa);
		s->n_fences++;
		fence->next = s->fences;
		s->fences = fence;
	}
	stow_lock_give(&s->fleet->lock);
	if (r < 0)
		fence_free(fence);
	return r < 0 ? r : STOW_RPC_LATER;
}

static void on_unfenced(void *ctx, const struct stow_err *err)
{
	PbUnfenceResponse out = PB_UNFENCE_RESPONSE__INIT;

	stow_rpc_reply(ctx, &out, err);
}

int scheduler_unfence(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err)
{
	const PbUnfenceRequest *in = request;
	struct stow_idset numa, left = { 0 };
	struct scheduler *s = ctx;
	struct stow_machine *machine;
	int r;

	stow_lock_take(&s->fleet->lock);
	r = parse(s, in->node, in->numa_nodes, true, &machine, &numa, err);
	if (r == 0 && machine->draining && stow_idset_intersects(machine->draining, &numa))
		r = scheduler_drain_in_the_way(s, machine, err);
	if (r == 0) {
		if (machine->fences)
			left = *machine->fences;
		stow_idset_minus(&left, &numa);
		r = set_fences(s, machine, &left, on_unfenced, call, err);
	}
	stow_lock_give(&s->fleet->lock);
	return r < 0 ? r : STOW_RPC_LATER;
}
