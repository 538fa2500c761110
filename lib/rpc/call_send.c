/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending on a call, the same on both sides: a queue of messages, and one batch in progress. The
 * batch comes back when its message was written to the connection; that of a peer that does not
 * read stays in progress.
 */

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <stdlib.h>

#include "base/clock.h"
#include "rpc/internal.h"

/* Queued bytes of a server's call count for the peer. */
static void unqueue(struct stow_rpc_call *call, size_t size)
{
	if (call->connection && size)
		rpc_connection_unqueue(call->connection, size);
}

void rpc_call_drop_queue(struct stow_rpc_call *call)
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

static void drop_out(struct stow_rpc_call *call)
{
	if (call->out)
		grpc_byte_buffer_destroy(call->out);
	call->out = NULL;
	unqueue(call, call->out_size);
	call->out_size = 0;
}

void rpc_call_drop_all(struct stow_rpc_call *call)
{
	rpc_call_drop_queue(call);
	drop_out(call);
}

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
	atomic_store(&call->writing, stow_clock_monotonic());
	rpc_call_batch(call, ops, n, &call->sent);
	grpc_slice_unref(details);
}

/* Call the stream's `written`, but not before it is open. Without the lock. */
static void notify_written(struct stow_rpc_call *call)
{
	if (call->ops && call->ops->written && atomic_load(&call->opened))
		call->ops->written(call, call->ctx);
}

void rpc_call_opened(struct stow_rpc_call *call)
{
	bool written;

	atomic_store(&call->opened, true);
	pthread_mutex_lock(&call->lock);
	push(call); /* the initial metadata, if `open` has sent nothing */
	written = !call->sending && !call->closing;
	pthread_mutex_unlock(&call->lock);
	if (written)
		notify_written(call);
}

void rpc_call_sent(struct rpc_tag *tag, bool ok)
{
	struct stow_rpc_call *call = container_of(tag, struct stow_rpc_call, sent);
	bool written;

	pthread_mutex_lock(&call->lock);
	call->sending = false;
	atomic_store(&call->writing, 0);
	if (ok && call->connection && call->out_size)
		rpc_connection_sent(call->connection, call->out_size);
	else if (ok && call->out_size)
		rpc_call_server_said(call, 0, call->out_size, false);
	drop_out(call);
	if (!ok) {
		call->closing = call->closed_sent = true;
		rpc_call_drop_queue(call);
	}
	push(call);
	written = !call->sending && !call->closing;
	pthread_mutex_unlock(&call->lock);
	if (written)
		notify_written(call);
	rpc_call_end(call);
}

/* Queue a message, which is taken; NULL: out of memory. The caller holds the lock. */
static int enqueue(struct stow_rpc_call *call, grpc_byte_buffer *buffer)
{
	struct rpc_queued *item = buffer ? calloc(1, sizeof(*item)) : NULL;

	if (!item) {
		if (buffer)
			grpc_byte_buffer_destroy(buffer);
		return -ENOMEM;
	}
	item->buffer = buffer;
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
	rpc_call_drop_queue(call);
	grpc_call_cancel_with_status(call->call, GRPC_STATUS_RESOURCE_EXHAUSTED, why, NULL);
}

void rpc_call_abandon(struct stow_rpc_call *call, const char *why)
{
	pthread_mutex_lock(&call->lock);
	abandon(call, why);
	pthread_mutex_unlock(&call->lock);
}

/* Return 0 if a message may be queued. The caller holds the lock. */
static int check_room(struct stow_rpc_call *call)
{
	if (call->closing)
		return call->overrun ? -ENOBUFS : -EPIPE;
	if (call->backlog <= STOW_RPC_BACKLOG_MAX)
		return 0;
	abandon(call, "the reader is too slow");
	return -ENOBUFS;
}

/* Queue a message after check_room(). The caller holds the lock. */
static int send_buffer(struct stow_rpc_call *call, grpc_byte_buffer *buffer)
{
	int r = enqueue(call, buffer);

	/* With one message missing, the stream would have another meaning. */
	if (r < 0)
		abandon(call, r == -ENOMEM ? "out of memory" : "the reader is too slow");
	push(call);
	return r;
}

int stow_rpc_send(struct stow_rpc_call *call, const void *message)
{
	int r;

	pthread_mutex_lock(&call->lock);
	r = check_room(call);
	if (r == 0)
		r = send_buffer(call, rpc_pack(message));
	pthread_mutex_unlock(&call->lock);
	return r;
}

int stow_rpc_send_packed(struct stow_rpc_call *call, const struct stow_rpc_packed *packed)
{
	int r;

	pthread_mutex_lock(&call->lock);
	r = check_room(call);
	if (r == 0)
		r = send_buffer(call, rpc_packed_buffer(packed));
	pthread_mutex_unlock(&call->lock);
	return r;
}

bool stow_rpc_is_written(struct stow_rpc_call *call)
{
	bool is;

	pthread_mutex_lock(&call->lock);
	is = !call->sending && !call->first;
	pthread_mutex_unlock(&call->lock);
	return is;
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
		rpc_call_drop_queue(call);
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
			r = enqueue(call, rpc_pack(message));
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
