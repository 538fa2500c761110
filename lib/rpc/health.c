/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.health.v1.Health: either all services of a server are serving, or none (a standby, a
 * shutdown). */

#include <errno.h>
#include <grpc/health/v1/health.pb-c.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "rpc/server_internal.h"

struct watcher {
	struct watcher *next;
	struct stow_rpc_call *call;
	bool known; /* the watched service exists */
};

struct rpc_health {
	struct stow_rpc_server *server;
	pthread_mutex_t lock;
	bool serving, stopping;
	struct watcher *watchers;
};

static Grpc__Health__V1__HealthCheckResponse__ServingStatus status_of(const struct rpc_health *h)
{
	return h->serving ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
			  : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
}

static bool knows(const struct rpc_health *health, const char *service)
{
	const struct stow_rpc_server *server = health->server;

	for (size_t i = 0; i < server->n_services; i++)
		if (strcmp(server->services[i].service->descriptor->name, service) == 0)
			return true;
	return service[0] == '\0';
}

static int check(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		 struct stow_err *err)
{
	const Grpc__Health__V1__HealthCheckRequest *in = request;
	Grpc__Health__V1__HealthCheckResponse *out = response;
	struct rpc_health *health = ctx;

	if (!knows(health, in->service))
		return stow_err_set(err, ENOENT, "no service \"%.200s\" here", in->service);
	pthread_mutex_lock(&health->lock);
	out->status = status_of(health);
	pthread_mutex_unlock(&health->lock);
	return 0;
}

/* Send the state. The caller holds the lock, so that messages are in the order of the events. */
static void notify(const struct rpc_health *health, const struct watcher *watcher)
{
	Grpc__Health__V1__HealthCheckResponse out = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	out.status =
		watcher->known
			? status_of(health)
			: GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
	stow_rpc_send(watcher->call, &out);
}

static int watch_open(struct stow_rpc_call *call, void *ctx, const void *request,
		      struct stow_err *err)
{
	const Grpc__Health__V1__HealthCheckRequest *in = request;
	struct rpc_health *health = ctx;
	struct watcher *watcher = calloc(1, sizeof(*watcher));
	bool stopping;

	if (!watcher)
		return stow_err_set(err, ENOMEM, "out of memory");
	watcher->call = call; /* valid until `closed` */
	watcher->known = knows(health, in->service);
	pthread_mutex_lock(&health->lock);
	stopping = health->stopping;
	if (!stopping) {
		watcher->next = health->watchers;
		health->watchers = watcher;
		notify(health, watcher);
	}
	pthread_mutex_unlock(&health->lock);
	if (stopping) {
		free(watcher);
		return stow_err_set(err, ESHUTDOWN, "the server is stopping");
	}
	return 0;
}

static void watch_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct rpc_health *health = ctx;
	struct watcher **at, *watcher;

	pthread_mutex_lock(&health->lock);
	for (at = &health->watchers; *at && (*at)->call != call; at = &(*at)->next)
		;
	watcher = *at;
	if (watcher)
		*at = watcher->next;
	pthread_mutex_unlock(&health->lock);
	free(watcher);
}

static const struct stow_rpc_stream_ops watch = {
	.open = watch_open,
	.closed = watch_closed,
};

static const struct stow_rpc_method methods[] = {
	{ "Check", .unary = check },
	{ "Watch", .stream = &watch, .watch = true },
};

const struct stow_rpc_service rpc_health_service = {
	.descriptor = &grpc__health__v1__health__descriptor,
	.methods = methods,
	.n_methods = STOW_ARRAY_SIZE(methods),
};

int rpc_health_new(struct stow_rpc_server *server, struct rpc_health **ret, struct stow_err *err)
{
	struct rpc_health *health = calloc(1, sizeof(*health));

	if (!health)
		return stow_err_set(err, ENOMEM, "out of memory");
	health->server = server;
	health->serving = true;
	pthread_mutex_init(&health->lock, NULL);
	*ret = health;
	return 0;
}

void rpc_health_set(struct rpc_health *health, bool serving)
{
	pthread_mutex_lock(&health->lock);
	if (health->serving != serving) {
		health->serving = serving;
		for (const struct watcher *w = health->watchers; w; w = w->next)
			notify(health, w);
	}
	pthread_mutex_unlock(&health->lock);
}

void rpc_health_stop(struct rpc_health *health)
{
	rpc_health_set(health, false);
	pthread_mutex_lock(&health->lock);
	health->stopping = true;
	for (const struct watcher *w = health->watchers; w; w = w->next)
		stow_rpc_close(w->call, NULL);
	pthread_mutex_unlock(&health->lock);
}

void rpc_health_free(struct rpc_health *health)
{
	if (!health)
		return;
	pthread_mutex_destroy(&health->lock);
	free(health);
}
