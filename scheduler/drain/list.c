// SPDX-License-Identifier: Apache-2.0
/* ListDrains. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/drain/drain_internal.h"

#define LIST_BYTES (3U << 20) /* of an answer: gRPC clients accept 4 MiB */

static int by_age(const void *a, const void *b)
{
	const PbDrain *const *x = a, *const *y = b;

	if ((*x)->created != (*y)->created)
		return (*x)->created < (*y)->created ? -1 : 1;
	return strcmp((*x)->id, (*y)->id);
}

static size_t pick(struct scheduler_drain *const *from, size_t n, const char *node, PbDrain **to)
{
	size_t picked = 0;

	for (size_t i = 0; i < n; i++)
		if (!from[i]->dry && from[i]->known &&
		    (!node[0] || strcmp(node, from[i]->message->node) == 0))
			to[picked++] = from[i]->message;
	return picked;
}

/* An answer is bounded. The newest drains come first, with the lists of their plans and all
 * culprits as long as there is room. */
struct listing {
	PbListDrainsResponse out;
	PbDrain *drains; /* copies without the long lists */
	PbDrainPlan *plans;
	PbDrainProgress *progress;
};

static void shorten(struct listing *l, size_t i)
{
	PbDrain *d = &l->drains[i];

	*d = *l->out.drains[i];
	if (d->plan) {
		l->plans[i] = *d->plan;
		l->plans[i].n_blocks = l->plans[i].n_affected = l->plans[i].n_notes = 0;
		d->plan = &l->plans[i];
	}
	l->progress[i] = *d->progress;
	l->progress[i].n_culprits = 0;
	l->progress[i].blocks_gone = (char *)(uintptr_t)protobuf_c_empty_string;
	d->progress = &l->progress[i];
	l->out.drains[i] = d;
}

static void fit(struct listing *l)
{
	size_t left = LIST_BYTES, n = l->out.n_drains;

	for (size_t i = n; i-- > 0;) {
		size_t size = pb_drain__get_packed_size(l->out.drains[i]);

		/* The last third is reserved for shortened drains. */
		if (size + LIST_BYTES / 3 > left) {
			shorten(l, i);
			size = pb_drain__get_packed_size(l->out.drains[i]);
		}
		if (size + 16 > left) {
			l->out.drains += i + 1;
			l->out.n_drains -= i + 1;
			return;
		}
		left -= size + 16;
	}
}

/* List one page: from the token on, at most page_size drains. */
static int page(struct listing *l, const PbListDrainsRequest *in, struct stow_err *err)
{
	size_t first = 0;

	while (in->page_token[0] && first < l->out.n_drains &&
	       strcmp(l->out.drains[first]->id, in->page_token) != 0)
		first++;
	if (in->page_token[0] && first == l->out.n_drains)
		return stow_err_set(err, EINVAL, "page_token: drain \"%.64s\" no longer exists",
				    in->page_token);
	l->out.drains += first;
	l->out.n_drains -= first;
	if (in->page_size && l->out.n_drains > in->page_size) {
		l->out.next_page_token = l->out.drains[in->page_size]->id;
		l->out.n_drains = in->page_size;
	}
	return 0;
}

int scheduler_list_drains(struct stow_rpc_call *call, void *ctx, const void *request,
			  void *response, struct stow_err *err)
{
	const PbListDrainsRequest *in = request;
	struct listing l = { .out = PB_LIST_DRAINS_RESPONSE__INIT };
	struct stow_err bad = { 0 };
	struct scheduler *s = ctx;
	bool room = false;
	PbDrain **list;
	size_t most;

	stow_lock_take(&s->fleet->lock);
	most = s->drains->n_under_way + s->drains->n_ended + 1;
	list = l.out.drains = calloc(most, sizeof(PbDrain *));
	l.drains = calloc(most, sizeof(*l.drains));
	l.plans = calloc(most, sizeof(*l.plans));
	l.progress = calloc(most, sizeof(*l.progress));
	room = list && l.drains && l.plans && l.progress;
	if (room) {
		l.out.n_drains = pick(s->drains->under_way, s->drains->n_under_way, in->node, list);
		if (in->ended)
			l.out.n_drains += pick(s->drains->ended, s->drains->n_ended, in->node,
					       list + l.out.n_drains);
		qsort(list, l.out.n_drains, sizeof(PbDrain *), by_age);
		if (page(&l, in, &bad) == 0)
			fit(&l);
		/* Packed with the lock held: the messages belong to the drains. */
		stow_rpc_reply(call, &l.out, bad.code ? &bad : NULL);
	}
	stow_lock_give(&s->fleet->lock);
	free(list);
	free(l.drains);
	free(l.plans);
	free(l.progress);
	return room ? STOW_RPC_LATER : stow_err_set(err, ENOMEM, "out of memory");
}
