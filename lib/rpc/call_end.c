// SPDX-License-Identifier: Apache-2.0
/*
 * Batches that are in progress, counted in `pending`, and what happens when the last one is back.
 */

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <stdlib.h>

#include "base/clock.h"
#include "rpc/internal.h"

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
		if (rpc_unpack(call->in, call->receives, &message, &bad) < 0) {
			/* The fault is the server's: -EINVAL would be the request's. */
			bad.code = EPROTO;
			err = &bad;
		}
		call->in = NULL;
	}
	call->done(call->ctx, message, err);
	if (!call->gives)
		stow_rpc_message_free(message);
}

static void notify_ended(struct stow_rpc_call *call)
{
	struct stow_rpc_ended ended = { .peer = &call->peer,
					.method = call->method,
					.request = call->request ? call->request : "",
					.result = call->result ? call->result : "",
					.err = verdict(call),
					.duration = stow_clock_monotonic() - call->started };

	call->service->ended(&ended, call->ctx);
}

void rpc_call_server_said(struct stow_rpc_call *call, size_t received, size_t sent, bool ended)
{
	char *peer;

	if (!call->client)
		return;
	peer = grpc_call_get_peer(call->call);
	rpc_guard_server_said(peer ? peer : "", received, sent, ended);
	gpr_free(peer);
}

static void finish(struct stow_rpc_call *call)
{
	/* A stream's messages were counted before. */
	rpc_call_server_said(call,
			     GRPC_SLICE_LENGTH(call->details) +
				     (call->in ? grpc_byte_buffer_length(call->in) : 0),
			     call->out_size, true);
	if (call->done)
		finish_unary(call);
	else if (call->opened && call->ops->closed)
		call->ops->closed(call, call->ctx, verdict(call));
	if (call->service && call->service->ended)
		notify_ended(call);
	call->gone(call);
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

void rpc_call_start_batch(struct stow_rpc_call *call, const grpc_op *ops, size_t n,
			  struct rpc_tag *tag)
{
	/* Once it is started, another thread may end the call. */
	grpc_call *core = call->call;

	rpc_hands_over(tag);
	/* Anything but OK is a bug in this file, such as two receiving batches at once. */
	if (grpc_call_start_batch(core, ops, n, tag, NULL) != GRPC_CALL_OK)
		abort();
}

void rpc_call_batch(struct stow_rpc_call *call, const grpc_op *ops, size_t n, struct rpc_tag *tag)
{
	rpc_call_begin(call);
	rpc_call_start_batch(call, ops, n, tag);
}
