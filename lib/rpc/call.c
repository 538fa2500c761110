/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a call, the same on both sides: receive (here), send (call_send.c), end (call_end.c).
 *
 * The core allows at most one sending and one receiving batch of a call at a time, and every batch
 * that was started must come back before its memory is freed. So sending is a queue with one batch
 * in progress, receiving is started again after each message, and `pending` counts what has not
 * come back.
 */

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"
#include "rpc/internal.h"
#include "rpc/texts.h"

static void on_received(struct rpc_tag *tag, bool ok);
static void on_ended(struct rpc_tag *tag, bool ok);

struct stow_rpc_call *rpc_call_new(grpc_call *core, void (*gone)(struct stow_rpc_call *call))
{
	struct stow_rpc_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	atomic_init(&call->refs, 1);
	atomic_init(&call->pending, 0);
	atomic_init(&call->held, false);
	atomic_init(&call->cancelled, false);
	atomic_init(&call->whole, false);
	atomic_init(&call->late, false);
	atomic_init(&call->unread, false);
	atomic_init(&call->writing, 0);
	atomic_init(&call->known, false);
	pthread_mutex_init(&call->lock, NULL);
	call->gone = gone;
	call->call = core;
	call->last = &call->first;
	call->received.fn = on_received;
	call->sent.fn = rpc_call_sent;
	call->ended.fn = on_ended;
	call->details = grpc_empty_slice();
	grpc_metadata_array_init(&call->initial);
	grpc_metadata_array_init(&call->trailing);
	return call;
}

struct stow_rpc_call *stow_rpc_ref(struct stow_rpc_call *call)
{
	atomic_fetch_add(&call->refs, 1);
	return call;
}

void stow_rpc_unref(struct stow_rpc_call *call)
{
	if (!call || atomic_fetch_sub(&call->refs, 1) != 1)
		return;
	rpc_call_drop_all(call);
	if (call->in)
		grpc_byte_buffer_destroy(call->in);
	rpc_connection_unref(call->connection);
	if (call->call)
		grpc_call_unref(call->call);
	grpc_slice_unref(call->details);
	grpc_metadata_array_destroy(&call->initial);
	grpc_metadata_array_destroy(&call->trailing);
	rpc_call_free_chunks(call);
	pthread_mutex_destroy(&call->lock);
	free(call->request);
	free(call->result);
	free(call);
}

/* --- messages that are received ------------------------------------------- */

/* Describe the request, only for services with `ended`, in at most one line. */
static void describe(struct stow_rpc_call *call, const ProtobufCMessage *message)
{
	size_t len = 0;
	FILE *out;

	if (!call->service || !call->service->ended || call->request)
		return;
	out = open_memstream(&call->request, &len);
	if (!out)
		return;
	stow_texts_describe(message, out);
	if (fclose(out) != 0)
		return;
	stow_text_clean(call->request, STOW_TEXT_LINE);
}

/* Check a received message. */
static int check(struct stow_rpc_call *call, ProtobufCMessage *message, struct stow_err *err)
{
	int r = call->service && call->service->check
			? call->service->check(call->method, message, call->ctx, err)
			: 0;

	if (r == 0 && call->server)
		describe(call, message);
	return r;
}

void stow_rpc_note(struct stow_rpc_call *call, const char *fmt, ...)
{
	char *text = NULL;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	if (len < 0)
		return;
	free(call->result);
	call->result = text;
}

/* --- receiving ------------------------------------------------------------ */

/* Start receiving, with a `pending` of the caller's, which the batch takes over. */
static void receive(struct stow_rpc_call *call)
{
	grpc_op op[2] = { { .op = GRPC_OP_RECV_MESSAGE } };
	size_t n = 1;

	op[0].data.recv_message.recv_message = &call->in;
	if (call->client && !call->greeted) {
		call->greeted = true;
		op[n].op = GRPC_OP_RECV_INITIAL_METADATA;
		op[n].flags = 0;
		op[n].reserved = NULL;
		op[n++].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
	}
	rpc_call_start_batch(call, op, n, &call->received);
}

void rpc_call_receive(struct stow_rpc_call *call)
{
	rpc_call_begin(call);
	receive(call);
}

void stow_rpc_hold(struct stow_rpc_call *call, uint64_t ns)
{
	call->hold_until = stow_clock_monotonic() + ns;
}

void stow_rpc_pause(struct stow_rpc_call *call)
{
	pthread_mutex_lock(&call->lock);
	call->paused = !call->over;
	pthread_mutex_unlock(&call->lock);
}

/* End a pause; `over`: for good, so that the call can end. */
static void resume(struct stow_rpc_call *call, bool over)
{
	bool parked;

	pthread_mutex_lock(&call->lock);
	call->over |= over;
	call->paused = false;
	parked = call->parked;
	call->parked = false;
	pthread_mutex_unlock(&call->lock);
	if (parked)
		receive(call);
}

void stow_rpc_resume(struct stow_rpc_call *call)
{
	resume(call, false);
}

static void on_ended(struct rpc_tag *tag, bool ok)
{
	struct stow_rpc_call *call = container_of(tag, struct stow_rpc_call, ended);

	pthread_mutex_lock(&call->lock);
	if (call->server && call->cancelled_flag)
		atomic_store(&call->cancelled, true);
	/* The caller gave up before there was anything to answer, even a refusal. */
	if (call->connection && call->cancelled_flag && (!call->closing || !call->counted) &&
	    (!call->opened || !atomic_load(&call->whole)))
		rpc_connection_reset(call->connection);
	call->closing = call->closed_sent = true;
	rpc_call_drop_queue(call);
	pthread_mutex_unlock(&call->lock);
	resume(call, true);
	rpc_call_end(call);
}

/* Request the next message of a stream, unless it is paused: then resume() does it. */
static void receive_next(struct stow_rpc_call *call)
{
	bool parked;

	rpc_call_begin(call);
	pthread_mutex_lock(&call->lock);
	parked = call->parked = call->paused;
	pthread_mutex_unlock(&call->lock);
	if (!parked)
		receive(call);
}

size_t stow_rpc_size(const struct stow_rpc_call *call)
{
	return call->in_size;
}

void rpc_call_resume(struct stow_rpc_call *call, uint64_t now)
{
	if (atomic_load(&call->held) && now >= call->hold_until) {
		atomic_store(&call->held, false);
		receive(call);
	}
}

static void run_unary(struct stow_rpc_call *call, const ProtobufCMessage *request)
{
	struct stow_err err = { 0 };
	ProtobufCMessage *response = stow_rpc_alloc(call, call->sends->sizeof_message);
	int r;

	if (!response) {
		stow_err_set(&err, ENOMEM, "out of memory");
		rpc_call_answer(call, NULL, &err);
		return;
	}
	call->sends->message_init(response);
	rpc_call_begin(call); /* for the reply, which may be sent before the method returns */
	r = call->unary(call, call->ctx, request, response, &err);
	if (r == STOW_RPC_LATER)
		return;
	if (r < 0 && err.code == 0)
		stow_err_sys(&err, -r, "failed");
	stow_rpc_reply(call, response, r < 0 ? &err : NULL);
}

/* Handle the request of a server-streaming method, or a stream's next message. */
static int run_stream(struct stow_rpc_call *call, const ProtobufCMessage *message,
		      struct stow_err *err)
{
	if (call->ops->message)
		return call->ops->message(call, call->ctx, message, err);
	return call->ops->open ? call->ops->open(call, call->ctx, message, err) : 0;
}

static void message_in(struct stow_rpc_call *call)
{
	struct stow_err err = { 0 };
	ProtobufCMessage *message = NULL;
	int r = rpc_unpack(call->in, call->receives, &message, &err);

	call->in = NULL;
	if (r == 0)
		r = check(call, message, &err);
	if (r == 0 && call->unary) {
		run_unary(call, message);
	} else if (r == 0) {
		r = run_stream(call, message, &err);
	}
	stow_rpc_message_free(message);
	if (r < 0) {
		if (err.code == 0)
			stow_err_sys(&err, -r, "failed");
		stow_rpc_close(call, &err);
	} else if (call->ops && call->ops->message && call->hold_until > stow_clock_monotonic()) {
		rpc_call_begin(call);
		atomic_store(&call->held, true); /* the keeper continues */
	} else if (call->ops && call->ops->message) {
		receive_next(call);
	} else if (call->ops) {
		rpc_call_opened(call);
	}
}

static void on_received(struct rpc_tag *tag, bool ok)
{
	struct stow_rpc_call *call = container_of(tag, struct stow_rpc_call, received);

	if (call->in) {
		bool first = !atomic_exchange(&call->whole, true);

		call->in_size = grpc_byte_buffer_length(call->in);
		if (call->connection)
			rpc_connection_received(call->connection, call->in_size, first);
		else
			rpc_call_server_said(call, call->in_size, 0, false);
		message_in(call);
	} else if (call->server && !grpc_call_failed_before_recv_message(call->call)) {
		struct stow_err err;

		if (call->opened && call->ops->half_closed) {
			call->ops->half_closed(call, call->ctx);
		} else if (call->opened) {
			stow_rpc_close(call, NULL);
		} else {
			stow_err_set(&err, EINVAL, "the request has no message");
			stow_rpc_close(call, &err);
		}
	}
	rpc_call_end(call);
}

/* --- the rest ------------------------------------------------------------- */

void stow_rpc_set_data(struct stow_rpc_call *call, void *data)
{
	call->data = data;
}

void *stow_rpc_data(const struct stow_rpc_call *call)
{
	return call->data;
}

const struct stow_rpc_peer *stow_rpc_peer(const struct stow_rpc_call *call)
{
	return &call->peer;
}

bool stow_rpc_cancelled(const struct stow_rpc_call *call)
{
	return atomic_load(&call->cancelled);
}
