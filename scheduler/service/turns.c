// SPDX-License-Identifier: Apache-2.0
/*
 * The calls of Explain wait here and are worked on one at a time, by a thread of their own: much
 * work for one question would keep the threads that serve, and with them every Place. The callers
 * take turns, however many calls each of them has.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/fleet/message.h"
#include "scheduler/service/service.h"

#define WAITING_BYTES (8U << 20) /* of one caller; its next one is refused */

struct turn {
	struct turn *next;
	struct stow_rpc_call *call; /* until it is answered */
	PbExplainRequest *request;
	PbExplainResponse *response;
	uint64_t round;
	size_t size;
	char caller[512];
};

struct scheduler_turns {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool runs;
	struct turn *first; /* by round, then first come */
	uint64_t round;	    /* of the one that was taken last */
};

/* By the certificate's names, or where it comes from; ports differ from call to call. */
static void name_caller(const struct stow_rpc_peer *peer, char *ret, size_t size)
{
	const char *colon = strrchr(peer->address, ':');

	if (peer->tls)
		snprintf(ret, size, "%s %s", peer->name,
			 peer->uris && peer->uris[0] ? peer->uris[0] : "");
	else if (peer->local)
		snprintf(ret, size, "%lu", (unsigned long)peer->uid);
	else
		snprintf(ret, size, "%.*s", colon ? (int)(colon - peer->address) : 0,
			 peer->address);
}

/* A caller's calls are a round apart. False: it has too many waiting. */
static bool insert(struct scheduler_turns *turns, struct turn *turn)
{
	struct turn **at = &turns->first;
	size_t waiting = 0;

	turn->round = turns->round;
	for (const struct turn *t = turns->first; t; t = t->next) {
		if (strcmp(t->caller, turn->caller) != 0)
			continue;
		turn->round = t->round + 1;
		waiting += t->size;
	}
	if (waiting > 0 && waiting + turn->size > WAITING_BYTES)
		return false;
	while (*at && (*at)->round <= turn->round)
		at = &(*at)->next;
	turn->next = *at;
	*at = turn;
	return true;
}

static void turn_free(struct turn *turn)
{
	if (turn)
		stow_rpc_message_free(turn->request);
	free(turn);
}

static void answer(struct turn *turn, int r, struct stow_err *err)
{
	if (r < 0 && err->code == 0)
		stow_err_sys(err, -r, "failed");
	stow_rpc_reply(turn->call, turn->response, r < 0 ? err : NULL);
	turn_free(turn);
}

static void *run(void *arg)
{
	struct scheduler *s = arg;
	struct scheduler_turns *turns = s->turns;

	pthread_mutex_lock(&turns->lock);
	while (turns->runs) {
		struct turn *turn = turns->first;
		struct stow_err err = { 0 };
		int r;

		if (!turn) {
			pthread_cond_wait(&turns->changed, &turns->lock);
			continue;
		}
		turns->first = turn->next;
		turns->round = turn->round;
		pthread_mutex_unlock(&turns->lock);
		r = stow_rpc_cancelled(turn->call)
			    ? stow_err_set(&err, ECANCELED, "the caller has gone")
			    : scheduler_explain_now(s, turn->call, turn->request, turn->response,
						    &err);
		answer(turn, r, &err);
		pthread_mutex_lock(&turns->lock);
	}
	pthread_mutex_unlock(&turns->lock);
	return NULL;
}

int scheduler_explain(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err)
{
	const PbExplainRequest *in = request;
	struct scheduler *s = ctx;
	struct scheduler_turns *turns = s->turns;
	struct turn *turn;
	bool runs, taken = false;

	if (scheduler_explain_check(in, err) < 0)
		return -err->code;
	if (!turns)
		return scheduler_explain_now(s, call, in, response, err);
	turn = calloc(1, sizeof(*turn));
	if (turn)
		turn->request = stow_message_copy(&in->base);
	if (!turn || !turn->request) {
		turn_free(turn);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	turn->call = call;
	turn->response = response;
	turn->size = sizeof(*turn) + protobuf_c_message_get_packed_size(&in->base);
	name_caller(stow_rpc_peer(call), turn->caller, sizeof(turn->caller));
	pthread_mutex_lock(&turns->lock);
	runs = turns->runs;
	if (runs)
		taken = insert(turns, turn);
	pthread_cond_signal(&turns->changed);
	pthread_mutex_unlock(&turns->lock);
	if (taken)
		return STOW_RPC_LATER;
	turn_free(turn);
	if (runs)
		return stow_err_set(err, ENOBUFS, "too many calls of Explain of this caller wait");
	/* At the end, and before the start. */
	return scheduler_explain_now(s, call, in, response, err);
}

int scheduler_turns_new(struct scheduler *s, struct stow_err *err)
{
	s->turns = calloc(1, sizeof(*s->turns));
	if (!s->turns)
		return stow_err_set(err, ENOMEM, "out of memory");
	pthread_mutex_init(&s->turns->lock, NULL);
	pthread_cond_init(&s->turns->changed, NULL);
	return 0;
}

int scheduler_turns_start(struct scheduler *s)
{
	int r;

	s->turns->runs = true;
	r = -pthread_create(&s->turns->thread, NULL, run, s);
	if (r < 0)
		s->turns->runs = false;
	return r;
}

void scheduler_turns_stop(struct scheduler *s)
{
	struct stow_err err = { 0 };
	struct scheduler_turns *turns = s->turns;
	bool ran;

	if (!turns)
		return;
	pthread_mutex_lock(&turns->lock);
	ran = turns->runs;
	turns->runs = false;
	pthread_cond_signal(&turns->changed);
	pthread_mutex_unlock(&turns->lock);
	if (ran)
		pthread_join(turns->thread, NULL);
	/* It does not run, so no more come. */
	stow_err_set(&err, ENOTCONN, "this scheduler stops");
	while (turns->first) {
		struct turn *turn = turns->first;

		turns->first = turn->next;
		answer(turn, -ENOTCONN, &err);
	}
}

void scheduler_turns_free(struct scheduler *s)
{
	if (!s->turns)
		return;
	pthread_cond_destroy(&s->turns->changed);
	pthread_mutex_destroy(&s->turns->lock);
	free(s->turns);
	s->turns = NULL;
}
