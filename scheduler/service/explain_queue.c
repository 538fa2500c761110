// SPDX-License-Identifier: Apache-2.0
/*
 * Explain calls are answered one at a time by a thread of their own, because an expensive one would
 * block the threads that serve, and every Place with them. Callers take turns, regardless of how
 * many calls each of them has.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/copy.h"
#include "scheduler/service/explain_queue.h"
#include "scheduler/service/service.h"

bool scheduler_explain_queue_insert(struct scheduler_explain_queue *queue,
				    struct explain_waiting *w)
{
	struct explain_waiting **at = &queue->first;
	size_t waiting = 0;

	w->round = queue->round;
	for (const struct explain_waiting *t = queue->first; t; t = t->next) {
		if (strcmp(t->caller, w->caller) != 0)
			continue;
		w->round = t->round + 1;
		waiting += t->size;
	}
	if (waiting > 0 && (waiting + w->size > EXPLAIN_CALLER_BYTES ||
			    queue->bytes + w->size > EXPLAIN_ALL_BYTES))
		return false;
	queue->bytes += w->size;
	while (*at && (*at)->round <= w->round)
		at = &(*at)->next;
	w->next = *at;
	*at = w;
	return true;
}

struct explain_waiting *scheduler_explain_queue_take(struct scheduler_explain_queue *queue)
{
	struct explain_waiting *w = queue->first;

	if (w) {
		queue->first = w->next;
		queue->round = w->round;
	}
	return w;
}

static void waiting_free(struct explain_waiting *w)
{
	if (w)
		stow_rpc_message_free(w->request);
	free(w);
}

static void answer(struct explain_waiting *w, int r, struct stow_err *err)
{
	if (r < 0 && err->code == 0)
		stow_err_sys(err, -r, "failed");
	stow_rpc_reply(w->call, w->response, r < 0 ? err : NULL);
	waiting_free(w);
}

static void *run(void *arg)
{
	struct scheduler *s = arg;
	struct scheduler_explain_queue *queue = s->explain_queue;

	pthread_mutex_lock(&queue->lock);
	while (queue->runs) {
		struct explain_waiting *w = scheduler_explain_queue_take(queue);
		struct stow_err err = { 0 };
		size_t size;
		int r;

		if (!w) {
			pthread_cond_wait(&queue->changed, &queue->lock);
			continue;
		}
		size = w->size;
		pthread_mutex_unlock(&queue->lock);
		r = stow_rpc_cancelled(w->call)
			    ? stow_err_set(&err, ECANCELED, "the caller has disconnected")
			    : scheduler_explain_now(s, w->call, w->request, w->response, &err);
		answer(w, r, &err);
		pthread_mutex_lock(&queue->lock);
		queue->bytes -= size;
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

int scheduler_explain(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err)
{
	const PbExplainRequest *in = request;
	struct scheduler *s = ctx;
	struct scheduler_explain_queue *queue = s->explain_queue;
	struct explain_waiting *w;
	bool runs, taken = false;

	if (scheduler_explain_check(in, err) < 0)
		return -err->code;
	if (!queue)
		return scheduler_explain_now(s, call, in, response, err);
	w = calloc(1, sizeof(*w));
	if (w)
		w->request = stow_rpc_message_copy(in);
	if (!w || !w->request) {
		waiting_free(w);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	w->call = call;
	w->response = response;
	w->size = sizeof(*w) + protobuf_c_message_get_packed_size(&in->base);
	stow_rpc_peer_key(stow_rpc_peer(call), w->caller, sizeof(w->caller));
	pthread_mutex_lock(&queue->lock);
	runs = queue->runs;
	if (runs)
		taken = scheduler_explain_queue_insert(queue, w);
	pthread_cond_signal(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
	if (taken)
		return STOW_RPC_LATER;
	waiting_free(w);
	if (runs)
		return stow_err_set(err, ENOBUFS, "too many calls of Explain of this caller wait");
	/* The thread is stopping, or not started yet. */
	return scheduler_explain_now(s, call, in, response, err);
}

int scheduler_explain_queue_new(struct scheduler *s, struct stow_err *err)
{
	s->explain_queue = calloc(1, sizeof(*s->explain_queue));
	if (!s->explain_queue)
		return stow_err_set(err, ENOMEM, "out of memory");
	pthread_mutex_init(&s->explain_queue->lock, NULL);
	pthread_cond_init(&s->explain_queue->changed, NULL);
	return 0;
}

int scheduler_explain_queue_start(struct scheduler *s)
{
	int r;

	s->explain_queue->runs = true;
	r = -pthread_create(&s->explain_queue->thread, NULL, run, s);
	if (r < 0)
		s->explain_queue->runs = false;
	return r;
}

void scheduler_explain_queue_stop(struct scheduler *s)
{
	struct stow_err err = { 0 };
	struct scheduler_explain_queue *queue = s->explain_queue;
	bool ran;

	if (!queue)
		return;
	pthread_mutex_lock(&queue->lock);
	ran = queue->runs;
	queue->runs = false;
	pthread_cond_signal(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
	if (ran)
		pthread_join(queue->thread, NULL);
	/* The thread has ended: no more calls are queued. */
	stow_err_set(&err, ENOTCONN, "this scheduler is stopping");
	for (struct explain_waiting *w; (w = scheduler_explain_queue_take(queue));)
		answer(w, -ENOTCONN, &err);
}

void scheduler_explain_queue_free(struct scheduler *s)
{
	if (!s->explain_queue)
		return;
	pthread_cond_destroy(&s->explain_queue->changed);
	pthread_mutex_destroy(&s->explain_queue->lock);
	free(s->explain_queue);
	s->explain_queue = NULL;
}
