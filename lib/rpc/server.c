/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server takes calls, finds their methods, and hands them to call.c.
 *
 * Methods are registered with the core, so that the calls of each wait in a queue of their own, but
 * it does not read their messages: every call is looked up by its path, and refused or received.
 */

#include <errno.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/server_internal.h"

#define STREAMS_MAX  128  /* calls at a time on one connection */
#define METADATA_MAX 8192 /* bytes of a call's headers */

/* Calls of one method that the core may hand over before the next request for one. */
#define WAITING		16
#define WAITING_WATCHES 2

/* --- methods -------------------------------------------------------------- */

/* Find the service and the descriptor of "/package.Service/Method". */
static const struct stow_rpc_service *find_method(struct stow_rpc_server *server, const char *path,
						  const ProtobufCMethodDescriptor **ret_descriptor,
						  const struct stow_rpc_method **ret_method,
						  void **ret_ctx)
{
	const char *name = strrchr(path, '/');

	if (path[0] != '/' || name == path)
		return NULL;
	for (size_t i = 0; i < server->n_services; i++) {
		const struct stow_rpc_service *service = server->services[i].service;
		const char *full = service->descriptor->name;

		if (strlen(full) != (size_t)(name - path) - 1 ||
		    memcmp(full, path + 1, strlen(full)) != 0)
			continue;
		*ret_descriptor = protobuf_c_service_descriptor_get_method_by_name(
			service->descriptor, name + 1);
		for (size_t j = 0; *ret_descriptor && j < service->n_methods; j++) {
			if (strcmp(service->methods[j].name, name + 1) == 0) {
				*ret_method = &service->methods[j];
				*ret_ctx = server->services[i].ctx;
				return service;
			}
		}
	}
	return NULL;
}

static void refuse(struct stow_rpc_call *call, const struct stow_err *err)
{
	if (!call->counted && call->connection)
		rpc_connection_begin_refused(call->connection);
	stow_rpc_close(call, err);
}

static void start_stream(struct stow_rpc_call *call)
{
	struct stow_err err = { 0 };
	int r = 0;

	if (!call->ops->message) { /* server-streaming: opened by its request */
		rpc_call_receive(call);
		return;
	}
	if (call->ops->open)
		r = call->ops->open(call, call->ctx, NULL, &err);
	if (r < 0) {
		if (err.code == 0)
			stow_err_sys(&err, -r, "failed");
		refuse(call, &err);
		return;
	}
	rpc_call_opened(call);
	rpc_call_receive(call);
}

static void serve(struct stow_rpc_call *call, const char *path)
{
	grpc_op op = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
	const ProtobufCMethodDescriptor *descriptor = NULL;
	const struct stow_rpc_service *service;
	const struct stow_rpc_method *method = NULL;
	struct stow_err err = { 0 };
	int r = 0;

	/* Before the batch below: its result uses the connection, on another thread. */
	if (!rpc_peer_find(call)) {
		/* This call was read before the connection was parked: refuse it cheaply. */
		rpc_connection_begin_refused(call->connection);
		grpc_call_cancel(call->call, NULL);
		return;
	}
	rpc_peer_read(call);
	/* Started before the method is known: it reports when the caller gives up. */
	op.data.recv_close_on_server.cancelled = &call->cancelled_flag;
	rpc_call_batch(call, &op, 1, &call->ended);

	service = find_method(call->server, path, &descriptor, &method, &call->ctx);
	if (!service) {
		stow_err_set(&err, ENOSYS, "no method %.200s here", path);
		refuse(call, &err);
		return;
	}
	call->service = service;
	call->method = method->name;
	call->receives = descriptor->input;
	call->sends = descriptor->output;
	call->watches = method->watch;
	call->unary = method->unary;
	call->ops = method->stream;
	if (service->may)
		r = service->may(&call->peer, method->name, call->ctx, &err);
	if (r < 0 && err.code == 0)
		stow_err_set(&err, -r, "not allowed");
	if (r == 0)
		r = rpc_peer_admit(call, &err);
	atomic_store(&call->known, r == 0);
	if (r < 0) {
		refuse(call, &err);
	} else if (call->unary) {
		rpc_call_receive(call);
	} else {
		start_stream(call);
	}
}

static void call_gone(struct stow_rpc_call *call)
{
	struct stow_rpc_server *server = call->server;

	pthread_mutex_lock(&server->lock);
	if (call->next)
		call->next->prev = call->prev;
	if (call->prev)
		call->prev->next = call->next;
	else
		server->calls = call->next;
	pthread_mutex_unlock(&server->lock);
	if (call->counted)
		rpc_connection_end(call->connection, call->watches);
	else if (call->connection)
		rpc_connection_end_refused(call->connection);
	/* Before the server may be freed. */
	stow_rpc_unref(call);
	pthread_mutex_lock(&server->lock);
	server->n_calls--;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

static void on_call(struct rpc_tag *tag, bool ok);

/* Request the next call. The caller holds the lock. */
static void wait_for_call(struct stow_rpc_server *server, struct rpc_waiting *waiting)
{
	grpc_call_error r;

	waiting->tag.fn = on_call;
	waiting->call = NULL;
	grpc_call_details_init(&waiting->details);
	grpc_metadata_array_init(&waiting->metadata);
	server->n_waiting++;
	rpc_hands_over(&waiting->tag);
	if (waiting->of->path)
		r = grpc_server_request_registered_call(server->server, waiting->of->method,
							&waiting->call, &waiting->deadline,
							&waiting->metadata, NULL,
							server->loop->queue, server->loop->queue,
							&waiting->tag);
	else
		r = grpc_server_request_call(server->server, &waiting->call, &waiting->details,
					     &waiting->metadata, server->loop->queue,
					     server->loop->queue, &waiting->tag);
	if (r != GRPC_CALL_OK)
		abort();
}

static void on_call(struct rpc_tag *tag, bool ok)
{
	struct rpc_waiting *waiting = container_of(tag, struct rpc_waiting, tag);
	struct stow_rpc_server *server = waiting->server;
	struct stow_rpc_call *call = NULL;
	char path[256];

	if (ok && waiting->call) {
		if (waiting->of->path)
			snprintf(path, sizeof(path), "%s", waiting->of->path);
		else
			rpc_slice_to_text(&waiting->details.method, path, sizeof(path));
		call = rpc_call_new(waiting->call, call_gone);
		if (call) {
			call->server = server;
			call->started = stow_clock_monotonic();
		} else {
			grpc_call_unref(waiting->call);
		}
	}
	grpc_call_details_destroy(&waiting->details);
	grpc_metadata_array_destroy(&waiting->metadata);

	pthread_mutex_lock(&server->lock);
	server->n_waiting--;
	if (call) {
		server->n_calls++;
		call->next = server->calls;
		if (call->next)
			call->next->prev = call;
		server->calls = call;
	}
	if (ok && !server->stopping)
		wait_for_call(server, waiting);
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);

	if (call) {
		rpc_call_begin(call);
		serve(call, path);
		rpc_call_end(call);
	}
}

/* --- making and freeing --------------------------------------------------- */

static grpc_server *core_server(const struct stow_rpc_server_options *options,
				const struct stow_rpc_limits *limits)
{
	/* In ms. The core spreads the age by a tenth either way, so that the grace period begins at
	 * 0.9 of it at the earliest, and must go on until keeper.c has ended the last stream, at
	 * 1.2 of it. */
	uint64_t age =
		limits->connection_age ? limits->connection_age / STOW_MILLISECOND : INT32_MAX;
	uint64_t grace = limits->connection_age ? age * 35 / 100 + 10000 : INT32_MAX;
	uint64_t idle =
		limits->connection_idle ? limits->connection_idle / STOW_MILLISECOND : INT32_MAX;
	uint64_t keepalive = options->keepalive ? options->keepalive : STOW_RPC_KEEPALIVE;
	uint64_t ping = keepalive / STOW_MILLISECOND;
	grpc_arg args[] = {
		rpc_integer(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
			    options->message_max ? options->message_max : STOW_RPC_MESSAGE_MAX),
		rpc_integer(GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_MAX),
		rpc_integer(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
			    limits->handshake_timeout / STOW_MILLISECOND),
		rpc_integer(GRPC_ARG_MAX_CONNECTION_IDLE_MS, idle),
		rpc_integer(GRPC_ARG_MAX_CONNECTION_AGE_MS, age),
		rpc_integer(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, grace),
		rpc_integer(GRPC_ARG_KEEPALIVE_TIME_MS, ping),
		rpc_integer(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ping),
		rpc_integer(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
		rpc_integer(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
		/* The guard counts the bytes of pings. The core would end a connection that sends
		 * too many, but while its peer does not read, it adds an error for each ping to
		 * those before: half a gigabyte for four megabytes of pings. */
		rpc_integer(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0),
		rpc_integer(GRPC_ARG_MAX_METADATA_SIZE, METADATA_MAX),
		RPC_NO_COMPRESSION,
		RPC_SMALL_WINDOW,
		/* Two servers on one port would each get some of the calls. */
		rpc_integer(GRPC_ARG_ALLOW_REUSEPORT, 0),
	};
	grpc_channel_args all = { STOW_ARRAY_SIZE(args), args };

	return grpc_server_create(&all, NULL);
}

static void on_stopped(struct rpc_tag *tag, bool ok)
{
	struct stow_rpc_server *server = container_of(tag, struct stow_rpc_server, stopped);

	pthread_mutex_lock(&server->lock);
	server->is_stopped = true;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

int stow_rpc_server_new(struct stow_rpc_loop *loop, const struct stow_rpc_server_options *options,
			struct stow_rpc_server **ret_server, struct stow_err *err)
{
	struct stow_rpc_server *server;
	int r;

	r = options->tls ? stow_rpc_tls_check(options->tls, err) : 0;
	if (r < 0)
		return r;
	server = calloc(1, sizeof(*server));
	if (!server)
		return stow_err_set(err, ENOMEM, "out of memory");
	server->loop = loop;
	pthread_mutex_init(&server->lock, NULL);
	stow_clock_cond_init(&server->changed);
	server->stopped.fn = on_stopped;
	if (options->tls) {
		server->tls = *options->tls;
		server->has_tls = true;
	}
	if (options->limits)
		server->limits = *options->limits;
	else
		stow_rpc_limits_defaults(&server->limits, 1024);
	server->trusted = options->trusted;
	server->ctx = options->ctx;
	server->server = core_server(options, &server->limits);
	grpc_server_register_completion_queue(server->server, loop->queue, NULL);
	server->guard = rpc_guard_new(&server->limits, false);
	r = server->guard ? rpc_health_new(server, &server->health, err)
			  : stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = stow_rpc_server_add(server, &rpc_health_service, server->health, err);
	if (r == 0)
		r = rpc_reflection_new(server, &server->reflection, err);
	if (r == 0)
		r = stow_rpc_server_add(server, &rpc_reflection_service, server->reflection, err);
	if (r < 0) {
		stow_rpc_server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

static int register_method(struct stow_rpc_server *server, const struct stow_rpc_service *service,
			   const struct stow_rpc_method *method, struct stow_err *err)
{
	struct rpc_registered *registered = calloc(1, sizeof(*registered));

	if (!registered ||
	    asprintf(&registered->path, "/%s/%s", service->descriptor->name, method->name) < 0) {
		free(registered);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	registered->next = server->registered;
	server->registered = registered;
	registered->n_waiting = method->watch ? WAITING_WATCHES : WAITING;
	/* The core must not read the message before the caller's permission is checked. */
	registered->method = grpc_server_register_method(server->server, registered->path, NULL,
							 GRPC_SRM_PAYLOAD_NONE, 0);
	if (!registered->method)
		return stow_err_set(err, EEXIST, "method %s: added twice", registered->path);
	return 0;
}

int stow_rpc_server_add(struct stow_rpc_server *server, const struct stow_rpc_service *service,
			void *ctx, struct stow_err *err)
{
	if (server->n_services == RPC_SERVICES_MAX)
		return stow_err_set(err, ENOSPC, "a server has %d services at most",
				    RPC_SERVICES_MAX);
	for (size_t i = 0; i < service->n_methods; i++)
		if (!protobuf_c_service_descriptor_get_method_by_name(service->descriptor,
								      service->methods[i].name))
			return stow_err_set(err, EINVAL, "service %s has no method %s",
					    service->descriptor->name, service->methods[i].name);
	for (size_t i = 0; i < service->n_methods; i++) {
		int r = register_method(server, service, &service->methods[i], err);

		if (r < 0)
			return r;
	}
	server->services[server->n_services].service = service;
	server->services[server->n_services++].ctx = ctx;
	return 0;
}

int stow_rpc_server_listen(struct stow_rpc_server *server, const char *address, int *ret_port,
			   struct stow_err *err)
{
	grpc_server_credentials *credentials;
	int port;

	credentials = server->has_tls ? rpc_tls_server(&server->tls, err)
				      : grpc_insecure_server_credentials_create();
	if (!credentials)
		return err ? -err->code : -EINVAL;
	port = grpc_server_add_http2_port(server->server, address, credentials);
	grpc_server_credentials_release(credentials);
	if (port <= 0)
		return stow_err_set(err, EADDRINUSE,
				    "cannot listen on %s: the address is in use or not this "
				    "machine's",
				    address);
	rpc_guard_open(server->guard, port, !server->has_tls);
	if (ret_port)
		*ret_port = port;
	return 0;
}

static int make_waiting(struct stow_rpc_server *server, size_t *ret_n, struct stow_err *err)
{
	size_t n = 0;

	server->unknown.n_waiting = WAITING;
	server->unknown.next = server->registered;
	for (const struct rpc_registered *of = &server->unknown; of; of = of->next)
		n += of->n_waiting;
	server->waiting = calloc(n, sizeof(*server->waiting));
	if (!server->waiting)
		return stow_err_set(err, ENOMEM, "out of memory");
	*ret_n = n;
	for (const struct rpc_registered *of = &server->unknown; of; of = of->next)
		for (unsigned int i = 0; i < of->n_waiting; i++) {
			server->waiting[--n].server = server;
			server->waiting[n].of = of;
		}
	return 0;
}

int stow_rpc_server_start(struct stow_rpc_server *server, struct stow_err *err)
{
	size_t n = 0;
	int r = rpc_keeper_new(server, &server->limits, server->has_tls ? &server->tls : NULL,
			       &server->keeper, err);

	if (r < 0)
		return r;
	r = make_waiting(server, &n, err);
	if (r < 0)
		return r;
	grpc_server_start(server->server);
	pthread_mutex_lock(&server->lock);
	server->started = true;
	for (size_t i = 0; i < n; i++)
		wait_for_call(server, &server->waiting[i]);
	pthread_mutex_unlock(&server->lock);
	return 0;
}

int stow_rpc_server_listen_unix(struct stow_rpc_server *server, int fd, struct stow_err *err)
{
	return rpc_listener_new(server, fd, &server->listener, err);
}

void stow_rpc_server_set_serving(struct stow_rpc_server *server, bool serving)
{
	rpc_health_set(server->health, serving);
}

/* Wait, with the lock held, until the core has stopped and all calls are done, or until the
 * time. */
static void await(struct stow_rpc_server *server, const struct timespec *until)
{
	while (!server->is_stopped || server->n_calls > 0 || server->n_waiting > 0)
		if (until) {
			if (pthread_cond_timedwait(&server->changed, &server->lock, until) != 0)
				return;
		} else {
			pthread_cond_wait(&server->changed, &server->lock);
		}
}

void stow_rpc_server_stop(struct stow_rpc_server *server, uint64_t grace)
{
	struct timespec until;

	pthread_mutex_lock(&server->lock);
	if (server->stopping) {
		pthread_mutex_unlock(&server->lock);
		return;
	}
	server->stopping = true;
	pthread_mutex_unlock(&server->lock);

	/* Stop accepting connections before the core is freed. */
	if (server->listener)
		rpc_listener_stop(server->listener);
	rpc_health_stop(server->health);
	until = stow_clock_in(grace);
	rpc_hands_over(&server->stopped);
	grpc_server_shutdown_and_notify(server->server, server->loop->queue, &server->stopped);
	pthread_mutex_lock(&server->lock);
	await(server, &until);
	pthread_mutex_unlock(&server->lock);
	grpc_server_cancel_all_calls(server->server);
	pthread_mutex_lock(&server->lock);
	await(server, NULL);
	pthread_mutex_unlock(&server->lock);
}

void stow_rpc_server_free(struct stow_rpc_server *server)
{
	if (!server)
		return;
	/* The core must be stopped even if it was never started. */
	stow_rpc_server_stop(server, 0);
	rpc_keeper_free(server->keeper);
	if (server->guard)
		rpc_guard_close(server->guard);
	grpc_server_destroy(server->server);
	rpc_listener_free(server->listener);
	rpc_health_free(server->health);
	rpc_reflection_free(server->reflection);
	while (server->registered) {
		struct rpc_registered *of = server->registered;

		server->registered = of->next;
		free(of->path);
		free(of);
	}
	free(server->waiting);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	free(server);
}
