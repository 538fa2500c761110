/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a call, the same on both sides: receive, send, end.
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
#include "rpc/internal.h"
#include "rpc/texts.h"

struct rpc_chunk {
	struct rpc_chunk *next;
	max_align_t data[];
};

static void on_received(struct rpc_tag *tag, bool ok);
static void on_sent(struct rpc_tag *tag, bool ok);
static void on_ended(struct rpc_tag *tag, bool ok);

struct stow_rpc_call *rpc_call_new(grpc_call *core)
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
	atomic_init(&call->known, false);
	pthread_mutex_init(&call->lock, NULL);
	call->call = core;
	call->last = &call->first;
	call->received.fn = on_received;
	call->sent.fn = on_sent;
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

/* Queued bytes of a server's call count for the peer. */
static void unqueue(struct stow_rpc_call *call, size_t size)
{
	if (call->connection && size)
		rpc_connection_unqueue(call->connection, size);
}

static void drop_queue(struct stow_rpc_call *call)
{
	unqueue(call, call->backlog);
	while (call->first) {
		struct rpc_queued *item = call->first;

		call->first = item->next;
		grpc_byte_buffer_destroy(item->buffer);
		free(item);
	}
	call->last = &call->first;
	call->backlog = 0;
}

void stow_rpc_unref(struct stow_rpc_call *call)
{
	if (!call || atomic_fetch_sub(&call->refs, 1) != 1)
		return;
	drop_queue(call);
	if (call->in)
		grpc_byte_buffer_destroy(call->in);
	if (call->out)
		grpc_byte_buffer_destroy(call->out);
	unqueue(call, call->out_size);
	rpc_connection_unref(call->connection);
	if (call->call)
		grpc_call_unref(call->call);
	grpc_slice_unref(call->details);
	grpc_metadata_array_destroy(&call->initial);
	grpc_metadata_array_destroy(&call->trailing);
	while (call->chunks) {
		struct rpc_chunk *chunk = call->chunks;

		call->chunks = chunk->next;
		free(chunk);
	}
	pthread_mutex_destroy(&call->lock);
	free(call->request);
	free(call->result);
	free(call);
}

/* --- the end -------------------------------------------------------------- */

/* Return the error with which the call ended; NULL: success. Nothing else runs any more. */
static const struct stow_err *verdict(struct stow_rpc_call *call)
{
	if (call->overrun) {
		stow_err_set(&call->err, ENOBUFS, "%s", call->overrun);
	} else if (call->client) {
		/* The error that this side ended it with tells more than the CANCELLED that comes
		 * back. */
		if (call->status != GRPC_STATUS_OK && call->err.code == 0)
			rpc_err_from_status(&call->err, call->status, &call->details);
	} else if (call->cancelled && call->err.code == 0) {
		stow_err_set(&call->err, ECANCELED, "the caller has disconnected");
	}
	return call->err.code ? &call->err : NULL;
}

static void finish_unary(struct stow_rpc_call *call)
{
	const struct stow_err *err = verdict(call);
	ProtobufCMessage *message = NULL;
	struct stow_err bad;

	if (!err && !call->in) {
		stow_err_set(&bad, EPROTO, "the answer has no message");
		err = &bad;
	} else if (!err) {
		if (rpc_unpack(call->in, call->receives, &message, &bad) < 0)
			err = &bad;
		call->in = NULL;
	}
	call->done(call->ctx, message, err);
	if (!call->gives)
		stow_rpc_message_free(message);
}

static void tell_ended(struct stow_rpc_call *call)
{
	struct stow_rpc_ended ended = { .peer = &call->peer,
					.method = call->method,
					.request = call->request ? call->request : "",
					.result = call->result ? call->result : "",
					.err = verdict(call),
					.duration = stow_clock_monotonic() - call->started };

	call->service->ended(&ended, call->ctx);
}

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

static void finish(struct stow_rpc_call *call)
{
	struct stow_rpc_server *server = call->server;
	struct stow_rpc_client *client = call->client;

	if (call->done)
		finish_unary(call);
	else if (call->opened && call->ops->closed)
		call->ops->closed(call, call->ctx, verdict(call));
	if (server && call->service && call->service->ended)
		tell_ended(call);
	if (server)
		rpc_server_call_gone(server, call);
	else
		rpc_client_call_gone(client, call);
}

void rpc_call_begin(struct stow_rpc_call *call)
{
	atomic_fetch_add(&call->pending, 1);
}

void rpc_call_end(struct stow_rpc_call *call)
{
	if (atomic_fetch_sub(&call->pending, 1) == 1)
		finish(call);
}

static void start_batch(struct stow_rpc_call *call, const grpc_op *ops, size_t n,
			struct rpc_tag *tag)
{
	rpc_hands_over(tag);
	/* Anything but OK is a bug in this file, such as two receiving batches at once. */
	if (grpc_call_start_batch(call->call, ops, n, tag, NULL) != GRPC_CALL_OK)
		abort();
}

void rpc_call_batch(struct stow_rpc_call *call, const grpc_op *ops, size_t n, struct rpc_tag *tag)
{
	rpc_call_begin(call);
	start_batch(call, ops, n, tag);
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
	drop_queue(call);
	pthread_mutex_unlock(&call->lock);
	rpc_call_end(call);
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
	start_batch(call, op, n, &call->received);
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
	rpc_call_begin(call); /* for the owed reply, which may be sent before the method returns */
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
	if (call->ops->open) {
		int r = call->ops->open(call, call->ctx, message, err);

		if (r < 0)
			return r;
	}
	call->opened = true;
	return 0;
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
		rpc_call_receive(call);
	} else if (call->ops) {
		rpc_call_push(call); /* sends the initial metadata of a server-streaming call */
	}
}

static void on_received(struct rpc_tag *tag, bool ok)
{
	struct stow_rpc_call *call = container_of(tag, struct stow_rpc_call, received);

	if (call->in) {
		atomic_store(&call->whole, true);
		call->in_size = grpc_byte_buffer_length(call->in);
		if (call->connection)
			rpc_connection_received(call->connection, call->in_size);
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

/* --- sending -------------------------------------------------------------- */

static void add_status(const struct stow_err *err, grpc_slice *details, grpc_op *op)
{
	op->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
	if (err->code == 0)
		return;
	op->data.send_status_from_server.status = (grpc_status_code)stow_status_of_errno(err->code);
	*details = grpc_slice_from_copied_string(err->msg);
	op->data.send_status_from_server.status_details = details;
}

/* Start the next batch. The caller holds the lock. */
static void push(struct stow_rpc_call *call)
{
	grpc_op ops[3] = { 0 };
	grpc_slice details = grpc_empty_slice();
	size_t n = 0;

	if (call->sending)
		return;
	if (call->server && !call->greeted && !call->closed_sent) {
		call->greeted = true;
		ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
	}
	if (call->first) {
		struct rpc_queued *item = call->first;

		call->first = item->next;
		if (!call->first)
			call->last = &call->first;
		call->backlog -= item->size;
		call->out_size = item->size;
		call->out = item->buffer;
		free(item);
		ops[n].op = GRPC_OP_SEND_MESSAGE;
		ops[n].flags = call->first ? GRPC_WRITE_BUFFER_HINT : 0;
		ops[n++].data.send_message.send_message = call->out;
	}
	if (call->closing && !call->first && !call->closed_sent) {
		call->closed_sent = true;
		if (call->server)
			add_status(&call->err, &details, &ops[n++]);
		else
			ops[n++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
	}
	if (n == 0)
		return;
	call->sending = true;
	rpc_call_batch(call, ops, n, &call->sent);
	grpc_slice_unref(details);
}

void rpc_call_push(struct stow_rpc_call *call)
{
	pthread_mutex_lock(&call->lock);
	push(call);
	pthread_mutex_unlock(&call->lock);
}

static void on_sent(struct rpc_tag *tag, bool ok)
{
	struct stow_rpc_call *call = container_of(tag, struct stow_rpc_call, sent);

	pthread_mutex_lock(&call->lock);
	call->sending = false;
	if (call->out)
		grpc_byte_buffer_destroy(call->out);
	call->out = NULL;
	unqueue(call, call->out_size);
	if (ok && call->connection && call->out_size)
		rpc_connection_sent(call->connection, call->out_size);
	call->out_size = 0;
	if (!ok) {
		call->closing = call->closed_sent = true;
		drop_queue(call);
	}
	push(call);
	pthread_mutex_unlock(&call->lock);
	rpc_call_end(call);
}

/* Queue a message. The caller holds the lock. */
static int enqueue(struct stow_rpc_call *call, const ProtobufCMessage *message)
{
	struct rpc_queued *item = calloc(1, sizeof(*item));

	if (!item)
		return -ENOMEM;
	item->buffer = rpc_pack(message);
	if (!item->buffer) {
		free(item);
		return -ENOMEM;
	}
	item->size = grpc_byte_buffer_length(item->buffer);
	if (call->connection && rpc_connection_queue(call->connection, item->size) < 0) {
		grpc_byte_buffer_destroy(item->buffer);
		free(item);
		return -ENOBUFS;
	}
	call->backlog += item->size;
	*call->last = item;
	call->last = &item->next;
	return 0;
}

/* Reset the stream: a status could not overtake the messages that the reader does not read. The
 * caller holds the lock. */
static void abandon(struct stow_rpc_call *call, const char *why)
{
	call->overrun = why;
	call->closing = call->closed_sent = true;
	drop_queue(call);
	grpc_call_cancel_with_status(call->call, GRPC_STATUS_RESOURCE_EXHAUSTED, why, NULL);
}

int stow_rpc_send(struct stow_rpc_call *call, const void *message)
{
	int r;

	pthread_mutex_lock(&call->lock);
	if (call->closing) {
		r = call->overrun ? -ENOBUFS : -EPIPE;
	} else if (call->backlog > STOW_RPC_BACKLOG_MAX) {
		abandon(call, "the reader is too slow");
		r = -ENOBUFS;
	} else {
		r = enqueue(call, message);
		/* With one message missing, the stream would have another meaning. */
		if (r < 0)
			abandon(call, r == -ENOMEM ? "out of memory" : "the reader is too slow");
		push(call);
	}
	pthread_mutex_unlock(&call->lock);
	return r;
}

size_t stow_rpc_backlog(struct stow_rpc_call *call)
{
	size_t backlog;

	pthread_mutex_lock(&call->lock);
	backlog = call->backlog;
	pthread_mutex_unlock(&call->lock);
	return backlog;
}

void stow_rpc_close(struct stow_rpc_call *call, const struct stow_err *err)
{
	pthread_mutex_lock(&call->lock);
	if (call->client && err && call->err.code == 0) {
		call->err = *err;
		call->closing = true;
		drop_queue(call);
		if (call->call) /* otherwise it has ended */
			grpc_call_cancel(call->call, NULL);
	} else if (!call->closing) {
		if (err)
			call->err = *err;
		call->closing = true;
		push(call);
	}
	pthread_mutex_unlock(&call->lock);
}

void rpc_call_answer(struct stow_rpc_call *call, const ProtobufCMessage *message,
		     const struct stow_err *err)
{
	pthread_mutex_lock(&call->lock);
	if (!call->closing) {
		int r = 0;

		if (err)
			call->err = *err;
		else
			r = enqueue(call, message);
		if (r == -ENOBUFS)
			stow_err_set(&call->err, ENOBUFS,
				     "too many answers wait to be read by this peer");
		else if (r < 0)
			stow_err_set(&call->err, ENOMEM, "out of memory");
		call->closing = true;
		push(call);
	}
	pthread_mutex_unlock(&call->lock);
}

void stow_rpc_reply(struct stow_rpc_call *call, const void *response, const struct stow_err *err)
{
	rpc_call_answer(call, response, err);
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

void *stow_rpc_alloc(struct stow_rpc_call *call, size_t size)
{
	struct rpc_chunk *chunk = calloc(1, sizeof(*chunk) + size);

	if (!chunk)
		return NULL;
	chunk->next = call->chunks;
	call->chunks = chunk;
	return chunk->data;
}

char *stow_rpc_printf(struct stow_rpc_call *call, const char *fmt, ...)
{
	char *text = NULL, *copy = NULL;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	if (len < 0)
		return NULL;
	copy = stow_rpc_alloc(call, (size_t)len + 1);
	if (copy)
		memcpy(copy, text, (size_t)len + 1);
	free(text);
	return copy;
}
