// SPDX-License-Identifier: Apache-2.0
/* Place. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "rpc/say.h"
#include "scheduler/fleet/answer.h"
#include "scheduler/fleet/message.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/search/search.h"
#include "scheduler/service/service.h"

#define PODS_MAX     1024
#define PODS_AT_ONCE 16 /* placed with one hold of the lock */

/* A Place under way, from the table's change to the answer. */
struct stow_place_op {
	struct stow_waiter waiter;  /* as its reservations know it */
	struct stow_place_op *next; /* of those that wait for agents */
	struct scheduler *scheduler;
	struct stow_rpc_call *call;
	uint64_t started;
	uint64_t ids[PODS_MAX];
	size_t n;
	size_t unconfirmed;
	bool confirmed; /* asked for */
	char *request_id;
	uint64_t digest; /* of the request, with a request id */
	PbPlaceResponse *response;
};

static struct stow_place_op *op_of(struct stow_waiter *waiter)
{
	return waiter ? stow_container_of(waiter, struct stow_place_op, waiter) : NULL;
}

static void op_free(struct stow_place_op *op)
{
	free(op->request_id);
	stow_rpc_message_free(op->response);
	free(op);
}

/* --- making reservations ------------------------------------------------------------------------ */

static int add_part(const struct stow_share *share, const struct stow_request *req,
		    PbReservation *out)
{
	PbContainerPart *part = malloc(sizeof(*part));

	if (!part)
		return -ENOMEM;
	pb_container_part__init(part);
	out->parts[out->n_parts++] = part;
	part->numa_node = (uint32_t)share->node;
	part->cpus = share->cpus;
	part->memory_promised = share->memory;
	part->hugepages = calloc(req->n_pages + 1, sizeof(*part->hugepages));
	if (!part->hugepages)
		return -ENOMEM;
	for (size_t p = 0; p < req->n_pages; p++) {
		PbHugepages *pages;

		if (!share->pages[p])
			continue;
		pages = malloc(sizeof(*pages));
		if (!pages)
			return -ENOMEM;
		pb_hugepages__init(pages);
		pages->page_size = req->pages[p].size;
		pages->pages = share->pages[p];
		part->hugepages[part->n_hugepages++] = pages;
	}
	return 0;
}

/* A reservation's message: allocated as if it had been unpacked. */
static PbReservation *make_message(uint64_t id, const struct stow_found *found,
				   const PbPodRequest *pod, const struct stow_request *req,
				   uint64_t expires)
{
	PbReservation *out = malloc(sizeof(*out));
	struct stow_idset nodes = { 0 };
	char text[1024], hex[17];
	int r = 0;

	if (!out)
		return NULL;
	pb_reservation__init(out);
	for (size_t i = 0; i < found->n_shares; i++)
		stow_idset_add(&nodes, found->shares[i].node);
	stow_idset_format(&nodes, text, sizeof(text));
	out->id = strdup(stow_id_format(id, hex));
	out->node = strdup(found->machine->name);
	out->numa_nodes = strdup(text);
	out->pod = stow_message_copy(&pod->base);
	out->annotation = stow_reservation_annotation(id, text, found->machine->name);
	out->reason = strdup(found->reason);
	out->expires = expires;
	out->state = PB_RESERVATION_STATE_RESERVED;
	out->parts = calloc(found->n_shares + 1, sizeof(*out->parts));
	for (size_t i = 0; out->parts && i < found->n_shares && r == 0; i++)
		r = add_part(&found->shares[i], req, out);
	if (!out->id || !out->node || !out->numa_nodes || !out->pod || !out->annotation ||
	    !out->reason || !out->parts || r < 0) {
		stow_rpc_message_free(out);
		return NULL;
	}
	return out;
}

/* A large group is placed with pauses, for the others. */
static int let_others(struct scheduler *s, size_t done, struct stow_err *err)
{
	if (done && done % PODS_AT_ONCE == 0)
		stow_lock_yield(&s->fleet->lock);
	return atomic_load(&s->stopping) ? stow_err_set(err, ESHUTDOWN, "the scheduler is stopping")
					 : 0;
}

static int place_pod(struct scheduler *s, const PbPodRequest *pod, PbStrategy strategy,
		     uint64_t expires, struct stow_reservation **ret, struct stow_err *err)
{
	struct stow_found found = { 0 };
	struct stow_want want;
	PbReservation *message;
	uint64_t id;
	int r;

	r = stow_want_parse(pod, strategy, &want, err);
	if (r == 0)
		r = stow_search_fleet(s->fleet, &want, &found, err);
	if (r < 0)
		return r;
	id = stow_reservation_new_id(s->fleet);
	message = make_message(id, &found, pod, &want.request, expires);
	free(found.shares);
	if (!message)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = stow_reservation_add(s->fleet, found.machine, id, message, ret, err);
	if (r < 0)
		stow_rpc_message_free(message);
	return r;
}

/* Takes back what a group has got so far: as if it had never been. */
static void unplace(struct scheduler *s, const struct stow_place_op *op)
{
	struct stow_machine *machine = NULL;

	for (size_t i = 0; i < op->n; i++) {
		struct stow_reservation *r = stow_reservation_find(s->fleet, op->ids[i]);

		if (!r)
			continue;
		if (machine && r->machine != machine)
			stow_fleet_refresh(s->fleet, machine);
		machine = r->machine;
		stow_reservation_take_out(s->fleet, r, true, stow_now());
	}
	if (machine)
		stow_fleet_refresh(s->fleet, machine);
}

static int place_all(struct scheduler *s, const PbPlaceRequest *in, struct stow_place_op *op,
		     struct stow_err *err)
{
	uint64_t lifetime = in->lifetime ? in->lifetime : s->config.lifetime;
	uint64_t expires = stow_now().wall + lifetime;
	PbStrategy strategy = in->strategy != PB_STRATEGY_UNSPECIFIED ? in->strategy
			      : s->config.strategy		      ? PB_STRATEGY_SPREAD
								      : PB_STRATEGY_TIGHT;
	int r = 0;

	op->response = malloc(sizeof(*op->response));
	if (!op->response)
		return stow_err_set(err, ENOMEM, "out of memory");
	pb_place_response__init(op->response);
	op->response->reservations = calloc(in->n_pods + 1, sizeof(*op->response->reservations));
	if (!op->response->reservations)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < in->n_pods && r == 0; i++) {
		struct stow_reservation *reservation;
		PbReservation *copy;

		r = let_others(s, i, err);
		if (r == 0)
			r = place_pod(s, in->pods[i], strategy, expires, &reservation, err);
		if (r < 0) {
			if (in->n_pods > 1)
				r = stow_err_wrap(err, r, "pod %zu of %zu%s%.64s", i + 1,
						  in->n_pods, *in->pods[i]->name ? ", " : "",
						  in->pods[i]->name);
			break;
		}
		op->ids[op->n++] = reservation->id;
		copy = stow_message_copy(&reservation->message->base);
		if (!copy)
			r = stow_err_set(err, ENOMEM, "out of memory");
		else
			op->response->reservations[op->response->n_reservations++] = copy;
	}
	if (r < 0)
		unplace(s, op);
	return r;
}

/* --- the answer --------------------------------------------------------------------------------- */

static void answer(struct stow_place_op *op, const struct stow_err *err)
{
	struct scheduler *s = op->scheduler;

	stow_histogram_add(&s->place_times, stow_now().mono - op->started);
	if (err)
		atomic_fetch_add(&s->refused, 1);
	else
		atomic_fetch_add(&s->placed, op->n);
	if (!err && op->n)
		stow_rpc_note(op->call, "%s%s", op->response->reservations[0]->annotation,
			      op->n > 1 ? ", ..." : "");
	stow_rpc_reply(op->call, op->response, err);
	op_free(op);
}

/* The reservations as they are by now. */
static void show_states(struct stow_place_op *op)
{
	for (size_t i = 0; i < op->n; i++) {
		struct stow_reservation *r =
			stow_reservation_find(op->scheduler->fleet, op->ids[i]);

		if (r)
			op->response->reservations[i]->state = r->message->state;
	}
}

/* As if it had never been asked, in memory. */
static void forget_answer(struct stow_place_op *op)
{
	struct stow_answer *a =
		op->request_id ? stow_answer_find(op->scheduler->fleet, op->request_id) : NULL;

	if (a && a->pending == op)
		stow_answer_remove(op->scheduler->fleet, a);
}

/* An agent could not, or was too slow: the group is all or nothing. With the lock held. */
static void take_back(struct stow_place_op *op, const struct stow_err *err)
{
	struct scheduler *s = op->scheduler;

	for (size_t i = 0; i < op->n; i++) {
		struct stow_reservation *r = stow_reservation_find(s->fleet, op->ids[i]);

		if (r) {
			r->waiting = NULL;
			scheduler_reservation_end(s, r, stow_now());
		}
	}
	forget_answer(op);
	if (op->request_id) {
		struct stow_writes *writes = stow_writes_new();

		/* Else it would be the answer to the same question after a restart. */
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
	len = pb_place_response__get_packed_size(op->response);
	bytes = malloc(len + 1);
	if (!bytes)
		return -ENOMEM; /* without bytes there is no length: who asks again is told so */
	pb_place_response__pack(op->response, bytes);
	return stow_answer_set(op->scheduler->fleet, a, bytes, len);
}

/* It is durable, or cannot be. On the store's thread. */
static void on_durable(void *ctx, const struct stow_err *err)
{
	struct stow_place_op *op = ctx;
	struct scheduler *s = op->scheduler;

	stow_lock_take(&s->fleet->lock);
	if (err) {
		unplace(s, op);
		forget_answer(op);
		stow_lock_give(&s->fleet->lock);
		answer(op, err);
		return;
	}
	for (size_t i = 0; i < op->n; i++) {
		struct stow_reservation *r = stow_reservation_find(s->fleet, op->ids[i]);
		PbDirective directive = PB_DIRECTIVE__INIT;

		if (!r)
			continue; /* released meanwhile, by someone who guessed */
		if (op->confirmed && !r->counted) {
			r->waiting = &op->waiter;
			op->unconfirmed++;
		}
		directive.kind_case = PB_DIRECTIVE__KIND_RESERVE;
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
		stow_say(STOW_LOG_NOTICE, "a node refuses a reservation",
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
		const char *who = "?";

		next = op->next;
		if (now.mono < op->waiter.until && !stow_rpc_cancelled(op->call))
			continue;
		for (size_t i = 0; i < op->n; i++) {
			struct stow_reservation *r = stow_reservation_find(s->fleet, op->ids[i]);

			if (r && r->waiting == &op->waiter)
				who = r->machine->name;
		}
		if (op->waiter.err.code)
			err = op->waiter.err;
		else
			stow_err_set(&err, ETIMEDOUT,
				     "node %s did not confirm within %" PRIu64 " ms", who,
				     s->config.confirm_within / 1000000);
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
		for (size_t i = 0; i < op->n; i++) {
			struct stow_reservation *r = stow_reservation_find(s->fleet, op->ids[i]);

			if (r)
				r->waiting = NULL;
		}
		answer(op, &err);
	}
}

/* --- Place -------------------------------------------------------------------------------------- */

static uint64_t digest_of(const PbPlaceRequest *in)
{
	size_t len = pb_place_request__get_packed_size(in);
	_cleanup_free_ uint8_t *bytes = malloc(len + 1);

	if (!bytes)
		return 0;
	pb_place_request__pack(in, bytes);
	return stow_hash_bytes(bytes, len);
}

/* 1: answered from memory. */
static int asked_before(struct scheduler *s, const PbPlaceRequest *in, struct stow_place_op *op,
			struct stow_err *err)
{
	struct stow_answer *a = stow_answer_find(s->fleet, in->request_id);
	int r;

	if (a && !a->pending && a->expires < stow_now().wall) {
		stow_answer_remove(s->fleet, a);
		a = NULL;
	}
	if (a && a->digest != op->digest)
		return stow_err_set(err, EINVAL,
				    "request_id: \"%.64s\" was used for another request",
				    in->request_id);
	if (a && a->pending)
		return stow_err_set(err, EAGAIN, "request_id: \"%.64s\" is being worked on",
				    in->request_id);
	if (a) {
		if (a->response.bytes)
			op->response =
				pb_place_response__unpack(NULL, a->response.len, a->response.bytes);
		return op->response ? 1
				    : stow_err_set(err, EIO,
						   "request_id: the answer to \"%.64s\" cannot be "
						   "read any more",
						   in->request_id);
	}
	op->request_id = strdup(in->request_id);
	if (!op->request_id)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = stow_answer_add(s->fleet, in->request_id, op->digest, &a, err);
	if (r < 0)
		return r;
	a->pending = op;
	a->expires = stow_now().wall + s->config.remember;
	return 0;
}

static struct stow_writes *writes_of(struct scheduler *s, const struct stow_place_op *op)
{
	struct stow_writes *writes = stow_writes_new();
	int r = 0;

	for (size_t i = 0; i < op->n && r == 0; i++) {
		const PbReservation *message = op->response->reservations[i];
		size_t len = pb_reservation__get_packed_size(message);
		_cleanup_free_ uint8_t *bytes = malloc(len + 1);

		if (!bytes) {
			r = -ENOMEM;
			break;
		}
		pb_reservation__pack(message, bytes);
		r = stow_writes_reservation(writes, op->ids[i], bytes, len, op->request_id);
	}
	if (r == 0 && op->request_id) {
		size_t len = pb_place_response__get_packed_size(op->response);
		_cleanup_free_ uint8_t *bytes = malloc(len + 1);

		if (bytes)
			pb_place_response__pack(op->response, bytes);
		r = bytes ? stow_writes_answer(writes, op->request_id, op->digest,
					       stow_now().wall + s->config.remember, bytes, len)
			  : -ENOMEM;
	}
	if (r < 0) {
		stow_writes_free(writes);
		return NULL;
	}
	return writes;
}

/* With the lock held. 0: the op goes on; 1: answered; -errno. */
static int begin(struct scheduler *s, const PbPlaceRequest *in, struct stow_place_op *op,
		 struct stow_err *err)
{
	struct stow_writes *writes;
	int r = 0;

	if (in->request_id[0])
		r = asked_before(s, in, op, err);
	if (r != 0)
		return r;
	r = place_all(s, in, op, err);
	if (r < 0) {
		forget_answer(op);
		return r;
	}
	writes = writes_of(s, op);
	if (!writes) {
		unplace(s, op);
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

	if (in->n_pods == 0 || in->n_pods > PODS_MAX)
		return stow_err_set(err, EINVAL, "pods: %zu; want 1 to %d", in->n_pods, PODS_MAX);
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
		stow_rpc_reply(call, op->response, NULL);
	else
		atomic_fetch_add(&s->refused, 1);
	op_free(op);
	return r > 0 ? STOW_RPC_LATER : r;
}
