// SPDX-License-Identifier: Apache-2.0
/* Place. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "rpc/log.h"
#include "scheduler/fleet/answer.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/service/group.h"
#include "scheduler/service/service.h"

/* A running Place, from the change of the table to the answer. */
struct stow_place_op {
	struct stow_waiter waiter;  /* its reservations point to it */
	struct stow_place_op *next; /* in the list of calls that wait for agents */
	struct scheduler *scheduler;
	struct stow_rpc_call *call;
	uint64_t started;
	struct scheduler_group group;
	size_t unconfirmed;
	bool confirmed; /* as requested */
	char *request_id;
	uint64_t digest; /* of the request, when it has a request id */
};

static struct stow_place_op *op_of(struct stow_waiter *waiter)
{
	return waiter ? stow_container_of(waiter, struct stow_place_op, waiter) : NULL;
}

static void op_free(struct stow_place_op *op)
{
	free(op->request_id);
	scheduler_group_done(&op->group);
	free(op);
}

/* --- the answer ----------------------------------------------------------- */

static void answer(struct stow_place_op *op, const struct stow_err *err)
{
	struct scheduler *s = op->scheduler;

	stow_histogram_add(&s->place_times, stow_now().mono - op->started);
	if (err)
		atomic_fetch_add(&s->refused, 1);
	else
		atomic_fetch_add(&s->placed, op->group.n);
	if (!err && op->group.n)
		stow_rpc_note(op->call, "%s%s", op->group.response->reservations[0]->annotation,
			      op->group.n > 1 ? ", ..." : "");
	stow_rpc_reply(op->call, op->group.response, err);
	op_free(op);
}

/* Update the states of the reservations in the response. */
static void show_states(struct stow_place_op *op)
{
	for (size_t i = 0; i < op->group.n; i++) {
		struct stow_reservation *r =
			stow_reservation_find(op->scheduler->fleet, op->group.ids[i]);

		if (r)
			op->group.response->reservations[i]->state = r->message->state;
	}
}

/* Forget the request in memory, so that it can be repeated. */
static void forget_answer(struct stow_place_op *op)
{
	struct stow_answer *a =
		op->request_id ? stow_answer_find(op->scheduler->fleet, op->request_id) : NULL;

	if (a && a->pending == op)
		stow_answer_remove(op->scheduler->fleet, a);
}

/* An agent refused or was too slow: remove all reservations of the group. With the lock held. */
static void take_back(struct stow_place_op *op, const struct stow_err *err)
{
	struct scheduler *s = op->scheduler;

	for (size_t i = 0; i < op->group.n; i++) {
		struct stow_reservation *r = stow_reservation_find(s->fleet, op->group.ids[i]);

		if (r) {
			r->waiting = NULL;
			scheduler_reservation_end(s, r, stow_now());
		}
	}
	forget_answer(op);
	if (op->request_id) {
		struct stow_writes *writes = stow_writes_new();

		/* Otherwise a repeated request would get this answer after a restart. */
		if (stow_writes_no_answer(writes, op->request_id) == 0)
			stow_store_commit(s->store, writes, NULL, NULL);
		else
			stow_writes_free(writes);
	}
	answer(op, err);
}

static void unqueue(struct stow_place_op *op)
{
	for (struct stow_place_op **at = &op->scheduler->placing; *at; at = &(*at)->next)
		if (*at == op) {
			*at = op->next;
			return;
		}
}

static int keep_answer(struct stow_place_op *op)
{
	struct stow_answer *a =
		op->request_id ? stow_answer_find(op->scheduler->fleet, op->request_id) : NULL;
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t len;

	if (!a || a->pending != op)
		return 0;
	a->pending = NULL;
	len = pb_place_response__get_packed_size(op->group.response);
	bytes = malloc(len + 1);
	if (!bytes)
		return -ENOMEM; /* the length is then 0: a repeated request gets an error */
	pb_place_response__pack(op->group.response, bytes);
	return stow_answer_set(op->scheduler->fleet, a, bytes, len);
}

/* The write is durable, or has failed. On the store's thread. */
static void on_durable(void *ctx, const struct stow_err *err)
{
	struct stow_place_op *op = ctx;
	struct scheduler *s = op->scheduler;

	stow_lock_take(&s->fleet->lock);
	if (err) {
		scheduler_group_undo(s, &op->group);
		forget_answer(op);
		stow_lock_give(&s->fleet->lock);
		answer(op, err);
		return;
	}
	for (size_t i = 0; i < op->group.n; i++) {
		struct stow_reservation *r = stow_reservation_find(s->fleet, op->group.ids[i]);
		PbDirective directive = PB_DIRECTIVE__INIT;

		if (!r)
			continue; /* released meanwhile */
		if (op->confirmed && !r->counted) {
			r->waiting = &op->waiter;
			op->unconfirmed++;
		}
		directive.kind_case = PB_DIRECTIVE__KIND_RESERVE;
		r->message->lifetime = stow_reservation_left(r, stow_now());
		directive.reserve = r->message;
		scheduler_directive_send(s, r->machine, &directive, r->id);
	}
	scheduler_news(s);
	if (op->unconfirmed) {
		op->waiter.until = stow_now().mono + s->config.confirm_within;
		op->next = s->placing;
		s->placing = op;
		op = NULL;
	} else {
		(void)keep_answer(op);
	}
	stow_lock_give(&s->fleet->lock);
	if (op)
		answer(op, NULL);
}

void scheduler_place_result(struct scheduler *s, struct stow_machine *machine, uint64_t reservation,
			    const PbDirectiveResult *result)
{
	struct stow_reservation *r = stow_reservation_find(s->fleet, reservation);
	struct stow_place_op *op = r ? op_of(r->waiting) : NULL;
	struct stow_err err;

	if (!r || r->machine != machine)
		return;
	if (result->code) {
		stow_err_set(&err, stow_errno_of_status(result->code), "node %s refuses: %.700s",
			     machine->name, result->message);
		stow_log(STOW_LOG_NOTICE, "a node refuses a reservation",
			 stow_text("node", machine->name), stow_text("reason", result->message));
		atomic_fetch_add(&s->revoked, 1);
		if (op) {
			unqueue(op);
			take_back(op, &err);
		} else {
			scheduler_reservation_end(s, r, stow_now());
		}
		return;
	}
	if (!op)
		return;
	r->waiting = NULL;
	if (r->message->state == PB_RESERVATION_STATE_RESERVED)
		r->message->state = PB_RESERVATION_STATE_HELD;
	if (--op->unconfirmed == 0) {
		unqueue(op);
		show_states(op);
		(void)keep_answer(op);
		answer(op, NULL);
	}
}

void scheduler_place_tick(struct scheduler *s, struct stow_now now)
{
	struct stow_place_op *op = s->placing, *next;

	for (; op; op = next) {
		struct stow_err err;
		const char *silent = "?";

		next = op->next;
		if (now.mono < op->waiter.until && !stow_rpc_cancelled(op->call))
			continue;
		for (size_t i = 0; i < op->group.n; i++) {
			struct stow_reservation *r =
				stow_reservation_find(s->fleet, op->group.ids[i]);

			if (r && r->waiting == &op->waiter)
				silent = r->machine->name;
		}
		if (op->waiter.err.code)
			err = op->waiter.err;
		else
			stow_err_set(&err, ETIMEDOUT,
				     "node %s did not confirm within %" PRIu64 " ms", silent,
				     s->config.confirm_within / STOW_MILLISECOND);
		unqueue(op);
		take_back(op, &err);
	}
}

void scheduler_place_stop(struct scheduler *s)
{
	struct stow_err err;

	stow_err_set(&err, ESHUTDOWN, "the scheduler is stopping; the reservations stay");
	while (s->placing) {
		struct stow_place_op *op = s->placing;

		s->placing = op->next;
		for (size_t i = 0; i < op->group.n; i++) {
			struct stow_reservation *r =
				stow_reservation_find(s->fleet, op->group.ids[i]);

			if (r)
				r->waiting = NULL;
		}
		answer(op, &err);
	}
}

/* --- Place ---------------------------------------------------------------- */

static uint64_t digest_of(const PbPlaceRequest *in)
{
	size_t len = pb_place_request__get_packed_size(in);
	_cleanup_free_ uint8_t *bytes = malloc(len + 1);

	if (!bytes)
		return 0;
	pb_place_request__pack(in, bytes);
	return stow_hash_bytes(bytes, len);
}

/* A repeated answer has the time that is left now. */
static void update_lifetimes(const struct scheduler *s, PbPlaceResponse *response)
{
	struct stow_now now = stow_now();
	uint64_t id;

	for (size_t i = 0; i < response->n_reservations; i++) {
		PbReservation *message = response->reservations[i];
		const struct stow_reservation *r = stow_id_parse(message->id, &id, NULL) < 0
							   ? NULL
							   : stow_reservation_find(s->fleet, id);

		message->lifetime = r ? stow_reservation_left(r, now) : 0;
	}
}

/* Look for the answer to an earlier request of the same id. Return 1 when it was sent. */
static int asked_before(struct scheduler *s, const PbPlaceRequest *in, struct stow_place_op *op,
			struct stow_err *err)
{
	struct stow_answer *a = stow_answer_find(s->fleet, in->request_id);
	int r;

	if (a && !a->pending && a->until < stow_now().mono) {
		stow_answer_remove(s->fleet, a);
		a = NULL;
	}
	if (a && a->digest != op->digest)
		return stow_err_set(err, EINVAL,
				    "request_id: \"%.64s\" was used for another request",
				    in->request_id);
	if (a && a->pending)
		return stow_err_set(err, EAGAIN, "request_id: \"%.64s\" is in progress",
				    in->request_id);
	if (a) {
		if (a->response.bytes)
			op->group.response =
				pb_place_response__unpack(NULL, a->response.len, a->response.bytes);
		if (op->group.response)
			update_lifetimes(s, op->group.response);
		return op->group.response ? 1
					  : stow_err_set(err, EIO,
							 "request_id: the answer to \"%.64s\" can "
							 "no longer be read",
							 in->request_id);
	}
	op->request_id = strdup(in->request_id);
	if (!op->request_id)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = stow_answer_add(s->fleet, in->request_id, op->digest, &a, err);
	if (r < 0)
		return r;
	a->pending = op;
	a->until = stow_now().mono + s->config.remember;
	return 0;
}

static struct stow_writes *writes_of(struct scheduler *s, const struct stow_place_op *op)
{
	struct stow_writes *writes = stow_writes_new();
	int r = 0;

	for (size_t i = 0; i < op->group.n && r == 0; i++) {
		const PbReservation *message = op->group.response->reservations[i];
		size_t len = pb_reservation__get_packed_size(message);
		_cleanup_free_ uint8_t *bytes = malloc(len + 1);

		if (!bytes) {
			r = -ENOMEM;
			break;
		}
		pb_reservation__pack(message, bytes);
		r = stow_writes_reservation(writes, op->group.ids[i], bytes, len, op->request_id);
	}
	if (r == 0 && op->request_id) {
		size_t len = pb_place_response__get_packed_size(op->group.response);
		_cleanup_free_ uint8_t *bytes = malloc(len + 1);

		if (bytes)
			pb_place_response__pack(op->group.response, bytes);
		r = bytes ? stow_writes_answer(writes, op->request_id, op->digest,
					       stow_store_time(s->store) + s->config.remember,
					       s->config.remember, bytes, len)
			  : -ENOMEM;
	}
	if (r < 0) {
		stow_writes_free(writes);
		return NULL;
	}
	return writes;
}

/* Start a Place, with the lock held. Return 0: continues; 1: answered; or -errno. */
static int begin(struct scheduler *s, const PbPlaceRequest *in, struct stow_place_op *op,
		 struct stow_err *err)
{
	struct stow_writes *writes;
	int r = 0;

	if (in->request_id[0])
		r = asked_before(s, in, op, err);
	if (r != 0)
		return r;
	r = scheduler_group_place(s, in, &op->group, err);
	if (r < 0) {
		forget_answer(op);
		return r;
	}
	writes = writes_of(s, op);
	if (!writes) {
		scheduler_group_undo(s, &op->group);
		forget_answer(op);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	stow_store_commit(s->store, writes, on_durable, op);
	return 0;
}

int scheduler_place(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		    struct stow_err *err)
{
	const PbPlaceRequest *in = request;
	struct scheduler *s = ctx;
	struct stow_place_op *op;
	int r;

	if (in->n_pods == 0 || in->n_pods > SCHEDULER_PODS_MAX)
		return stow_err_set(err, EINVAL, "pods: %zu; expected 1 to %d", in->n_pods,
				    SCHEDULER_PODS_MAX);
	if (strlen(in->request_id) > 128)
		return stow_err_set(err, EINVAL, "request_id: over 128 characters");
	if (in->lifetime && in->lifetime > 24 * 3600 * STOW_SECOND)
		return stow_err_set(err, EINVAL, "lifetime: %" PRIu64 " ns; at most a day",
				    in->lifetime);
	op = calloc(1, sizeof(*op));
	if (!op)
		return stow_err_set(err, ENOMEM, "out of memory");
	op->scheduler = s;
	op->call = call;
	op->started = stow_now().mono;
	op->confirmed = in->confirmed;
	if (in->request_id[0])
		op->digest = digest_of(in);
	stow_lock_take(&s->fleet->lock);
	r = begin(s, in, op, err);
	stow_lock_give(&s->fleet->lock);
	if (r == 0)
		return STOW_RPC_LATER;
	if (r > 0)
		stow_rpc_reply(call, op->group.response, NULL);
	else
		atomic_fetch_add(&s->refused, 1);
	op_free(op);
	return r > 0 ? STOW_RPC_LATER : r;
}
