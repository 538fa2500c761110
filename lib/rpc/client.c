/* SPDX-License-Identifier: Apache-2.0 */
/* A client: one channel, with blocking calls, asynchronous calls and streams. */

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/internal.h"

struct stow_rpc_client {
	struct stow_rpc_loop *loop;
	grpc_channel *channel;
	grpc_metadata metadata; /* of each call */
	size_t n_metadata;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct stow_rpc_call *calls; /* in progress */
	bool closing;
};

static grpc_channel *core_channel(const struct stow_rpc_client_options *options,
				  grpc_channel_credentials *credentials)
{
	uint64_t ms =
		(options->keepalive ? options->keepalive : STOW_RPC_KEEPALIVE) / STOW_MILLISECOND;
	grpc_arg args[20] = {
		rpc_integer(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
			    options->message_max ? options->message_max : STOW_RPC_MESSAGE_MAX),
		rpc_integer(GRPC_ARG_KEEPALIVE_TIME_MS, ms),
		rpc_integer(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ms),
		rpc_integer(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
		rpc_integer(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
		/* Each client has its own connection, even to the same target. */
		rpc_integer(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
		/* Retrying is up to the caller; and neither the network's DNS nor the environment's
		 * proxies may decide how to connect. */
		rpc_integer(GRPC_ARG_ENABLE_RETRIES, 0),
		rpc_integer(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1),
		rpc_integer(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
		RPC_NO_COMPRESSION,
		RPC_SMALL_WINDOW,
	};
	grpc_channel_args all = { 0, args };

	while (args[all.num_args].key)
		all.num_args++;
	if (options->tls && options->server_name) {
		args[all.num_args].type = GRPC_ARG_STRING;
		args[all.num_args].key = (char *)(uintptr_t)GRPC_SSL_TARGET_NAME_OVERRIDE_ARG;
		args[all.num_args++].value.string = (char *)(uintptr_t)options->server_name;
	}
	return grpc_channel_create(options->target, credentials, &all);
}

int stow_rpc_client_new(struct stow_rpc_loop *loop, const struct stow_rpc_client_options *options,
			struct stow_rpc_client **ret_client, struct stow_err *err)
{
	grpc_channel_credentials *credentials;
	struct stow_rpc_client *client;
	struct stow_err local = { 0 };

	err = err ? err : &local;
	credentials = options->tls ? rpc_tls_client(options->tls, options->follow_tls, err)
				   : grpc_insecure_credentials_create();
	if (!credentials)
		return -err->code;
	client = calloc(1, sizeof(*client));
	if (!client) {
		grpc_channel_credentials_release(credentials);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	client->loop = loop;
	pthread_mutex_init(&client->lock, NULL);
	pthread_cond_init(&client->changed, NULL);
	rpc_guard_servers(options->message_max ? options->message_max : STOW_RPC_MESSAGE_MAX);
	client->channel = core_channel(options, credentials);
	if (options->header) {
		client->metadata.key = grpc_slice_from_copied_string(options->header);
		client->metadata.value = grpc_slice_from_copied_string(options->header_value);
		client->n_metadata = 1;
	}
	grpc_channel_credentials_release(credentials);
	*ret_client = client;
	return 0;
}

void stow_rpc_client_free(struct stow_rpc_client *client)
{
	if (!client)
		return;
	pthread_mutex_lock(&client->lock);
	client->closing = true;
	for (struct stow_rpc_call *call = client->calls; call; call = call->next)
		grpc_call_cancel(call->call, NULL);
	while (client->calls)
		pthread_cond_wait(&client->changed, &client->lock);
	pthread_mutex_unlock(&client->lock);
	grpc_channel_destroy(client->channel);
	if (client->n_metadata) {
		grpc_slice_unref(client->metadata.key);
		grpc_slice_unref(client->metadata.value);
	}
	pthread_cond_destroy(&client->changed);
	pthread_mutex_destroy(&client->lock);
	free(client);
}

/* --- calls ---------------------------------------------------------------- */

static gpr_timespec deadline(uint64_t timeout)
{
	if (timeout == STOW_RPC_NO_DEADLINE)
		return gpr_inf_future(GPR_CLOCK_REALTIME);
	if (timeout > INT64_MAX)
		timeout = INT64_MAX;
	return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
			    gpr_time_from_nanos((int64_t)timeout, GPR_TIMESPAN));
}

static void greet(struct stow_rpc_client *client, grpc_op *op)
{
	op->op = GRPC_OP_SEND_INITIAL_METADATA;
	op->data.send_initial_metadata.count = client->n_metadata;
	op->data.send_initial_metadata.metadata = &client->metadata;
}

static void call_gone(struct stow_rpc_call *call)
{
	struct stow_rpc_client *client = call->client;

	pthread_mutex_lock(&client->lock);
	if (call->next)
		call->next->prev = call->prev;
	if (call->prev)
		call->prev->next = call->next;
	else
		client->calls = call->next;
	/* Before the client may be freed: the core's call holds its channel. */
	pthread_mutex_lock(&call->lock);
	grpc_call_unref(call->call);
	call->call = NULL;
	pthread_mutex_unlock(&call->lock);
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
	stow_rpc_unref(call);
}

/* Make a call in the client's list with one `pending`, for the batch that receives the status. It
 * is started last, and the call not touched afterwards: so a call that fails at once ends on a
 * loop's thread, too, and not within its caller, which may hold the lock that a callback takes. */
static int call_new(struct stow_rpc_client *client, const ProtobufCServiceDescriptor *service,
		    const char *method, uint64_t timeout, struct stow_rpc_call **ret_call,
		    struct stow_err *err)
{
	const ProtobufCMethodDescriptor *descriptor =
		protobuf_c_service_descriptor_get_method_by_name(service, method);
	struct stow_rpc_call *call;
	grpc_slice path;
	grpc_call *core;
	char name[256];

	if (!descriptor)
		return stow_err_set(err, EINVAL, "service %s has no method %s", service->name,
				    method);
	snprintf(name, sizeof(name), "/%s/%s", service->name, method);
	path = grpc_slice_from_copied_string(name);
	core = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
					client->loop->queue, path, NULL, deadline(timeout), NULL);
	grpc_slice_unref(path);
	call = rpc_call_new(core, call_gone);
	if (!call) {
		grpc_call_unref(core);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	call->client = client;
	call->sends = descriptor->input;
	call->receives = descriptor->output;
	pthread_mutex_lock(&client->lock);
	if (client->closing) {
		pthread_mutex_unlock(&client->lock);
		stow_rpc_unref(call);
		return stow_err_set(err, ECANCELED, "the client is closing");
	}
	call->next = client->calls;
	if (call->next)
		call->next->prev = call;
	client->calls = call;
	rpc_call_begin(call);
	pthread_mutex_unlock(&client->lock);
	*ret_call = call;
	return 0;
}

static int start(struct stow_rpc_client *client, const ProtobufCServiceDescriptor *service,
		 const char *method, const void *request, uint64_t timeout, stow_rpc_done_fn done,
		 void *ctx, bool gives, struct stow_err *err)
{
	grpc_op ops[6] = { { 0 } };
	struct stow_rpc_call *call;
	grpc_byte_buffer *packed = rpc_pack(request);
	int r;

	if (!packed)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = call_new(client, service, method, timeout, &call, err);
	if (r < 0) {
		grpc_byte_buffer_destroy(packed);
		return r;
	}
	call->done = done;
	call->gives = gives;
	call->ctx = ctx;
	call->out = packed;
	call->out_size = grpc_byte_buffer_length(packed);
	greet(client, &ops[0]);
	ops[1].op = GRPC_OP_SEND_MESSAGE;
	ops[1].data.send_message.send_message = call->out;
	ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
	ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
	ops[3].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
	ops[4].op = GRPC_OP_RECV_MESSAGE;
	ops[4].data.recv_message.recv_message = &call->in;
	ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
	ops[5].data.recv_status_on_client.trailing_metadata = &call->trailing;
	ops[5].data.recv_status_on_client.status = &call->status;
	ops[5].data.recv_status_on_client.status_details = &call->details;
	rpc_call_start_batch(call, ops, 6, &call->ended);
	return 0;
}

int stow_rpc_client_start(struct stow_rpc_client *client, const ProtobufCServiceDescriptor *service,
			  const char *method, const void *request, uint64_t timeout,
			  stow_rpc_done_fn done, void *ctx, struct stow_err *err)
{
	return start(client, service, method, request, timeout, done, ctx, false, err);
}

/* Shared by a waiting caller and the callback. */
struct wait {
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool is_done;
	void *response;
	struct stow_err err;
};

static void on_done(void *ctx, const void *response, const struct stow_err *err)
{
	struct wait *wait = ctx;

	pthread_mutex_lock(&wait->lock);
	if (err)
		wait->err = *err;
	wait->response = (void *)(uintptr_t)response; /* owned from here on */
	wait->is_done = true;
	pthread_cond_signal(&wait->done);
	pthread_mutex_unlock(&wait->lock);
}

int stow_rpc_client_call(struct stow_rpc_client *client, const ProtobufCServiceDescriptor *service,
			 const char *method, const void *request, uint64_t timeout,
			 void **ret_response, struct stow_err *err)
{
	struct wait wait = { .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER };
	int r;

	r = start(client, service, method, request, timeout, on_done, &wait, true, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&wait.lock);
	while (!wait.is_done)
		pthread_cond_wait(&wait.done, &wait.lock);
	pthread_mutex_unlock(&wait.lock);
	if (wait.err.code) {
		if (err)
			*err = wait.err;
		return -wait.err.code;
	}
	*ret_response = wait.response;
	return 0;
}

int stow_rpc_client_open(struct stow_rpc_client *client, const ProtobufCServiceDescriptor *service,
			 const char *method, const struct stow_rpc_stream_ops *ops, void *ctx,
			 const void *request, uint64_t timeout, struct stow_rpc_call **ret_call,
			 struct stow_err *err)
{
	grpc_op first[3] = { { 0 } }, status = { 0 };
	struct stow_rpc_call *call;
	grpc_byte_buffer *packed = request ? rpc_pack(request) : NULL;
	size_t n = 1;
	int r;

	if (request && !packed)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = call_new(client, service, method, timeout, &call, err);
	if (r < 0) {
		grpc_byte_buffer_destroy(packed);
		return r;
	}
	call->ops = ops;
	call->ctx = ctx;
	call->opened = true;
	if (ret_call)
		*ret_call = stow_rpc_ref(call);

	greet(client, &first[0]);
	pthread_mutex_lock(&call->lock);
	if (request) {
		call->out = packed;
		first[1].op = GRPC_OP_SEND_MESSAGE;
		first[1].data.send_message.send_message = call->out;
		first[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
		call->closing = call->closed_sent = true;
		n = 3;
	}
	call->sending = true;
	rpc_call_batch(call, first, n, &call->sent);
	pthread_mutex_unlock(&call->lock);
	rpc_call_receive(call);

	status.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
	status.data.recv_status_on_client.trailing_metadata = &call->trailing;
	status.data.recv_status_on_client.status = &call->status;
	status.data.recv_status_on_client.status_details = &call->details;
	rpc_call_start_batch(call, &status, 1, &call->ended);
	return 0;
}
