/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/monitor.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/kubernetes/calls.h"
#include "agent/kubernetes/health.h"
#include "agent/kubernetes/names.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kubelet/health_v1alpha1.pb-c.h"
#include "rpc/log.h"
#include "rpc/metrics.h"

#define STREAMS_MAX 8		       /* kubelet has one */
#define EVERY	    (10 * STOW_SECOND) /* between two messages */
#define VALID	    30		       /* s; then kubelet takes a device for Unknown */
#define UNREAD_MAX  (64U << 10)	       /* bytes that a reader may leave */

struct agent_monitor {
	struct agent_publisher *publisher;
	char *pool;
	pthread_t thread;
	bool started;
	struct agent_health health; /* for the thread only */

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t wake;
	bool stop, changed;
	bool opened;				    /* a stream that has got nothing yet */
	struct stow_rpc_call *streams[STREAMS_MAX]; /* references */
	size_t n;
	size_t unhealthy;
};

/* --- sending -------------------------------------------------------------- */

struct message {
	DraHealthNodeWatchResourcesResponse response;
	DraHealthDeviceHealth *devices, **list;
	DraHealthDeviceIdentifier *ids;
	char (*names)[24];
};

static void message_done(struct message *message)
{
	free(message->devices);
	free(message->list);
	free(message->ids);
	free(message->names);
}

static int fill(const struct agent_monitor *monitor, struct message *ret)
{
	const struct agent_health *health = &monitor->health;

	*ret = (struct message){ 0 };
	dra_health_node_watch_resources_response__init(&ret->response);
	ret->devices = calloc(health->n + 1, sizeof(*ret->devices));
	ret->list = calloc(health->n + 1, sizeof(struct DraHealthDeviceHealth *));
	ret->ids = calloc(health->n + 1, sizeof(*ret->ids));
	ret->names = calloc(health->n + 1, sizeof(*ret->names));
	if (!ret->devices || !ret->list || !ret->ids || !ret->names)
		return -ENOMEM;
	for (size_t i = 0; i < health->n; i++) {
		DraHealthDeviceHealth *device = ret->list[i] = &ret->devices[i];

		dra_health_device_health__init(device);
		dra_health_device_identifier__init(&ret->ids[i]);
		snprintf(ret->names[i], sizeof(ret->names[i]), AGENT_DEVICE_PREFIX "%d",
			 health->devices[i].node);
		ret->ids[i].pool_name = monitor->pool;
		ret->ids[i].device_name = ret->names[i];
		device->device = &ret->ids[i];
		device->health = health->devices[i].status;
		device->last_updated_time = (int64_t)(stow_clock_wall() / STOW_SECOND);
		device->health_check_timeout_seconds = VALID;
		device->message = health->devices[i].message;
	}
	ret->response.devices = ret->list;
	ret->response.n_devices = health->n;
	return 0;
}

static void send_all(struct agent_monitor *monitor)
{
	struct stow_err slow = { 0 };
	struct message message;

	stow_err_set(&slow, ENOBUFS, "the reader does not read");
	if (fill(monitor, &message) == 0) {
		pthread_mutex_lock(&monitor->lock);
		for (size_t i = 0; i < monitor->n;) {
			struct stow_rpc_call *call = monitor->streams[i];

			if (stow_rpc_backlog(call) <= UNREAD_MAX) {
				(void)stow_rpc_send(call, &message.response);
				i++;
				continue;
			}
			/* It makes room for another one, even if it never reads its end. */
			monitor->streams[i] = monitor->streams[--monitor->n];
			stow_rpc_close(call, &slow);
			stow_rpc_unref(call);
		}
		pthread_mutex_unlock(&monitor->lock);
	}
	message_done(&message);
}

/* --- the thread ----------------------------------------------------------- */

/* Read the current report. Return 1 when the health of a device has changed. */
static int look(struct agent_monitor *monitor)
{
	struct agent_published published;
	size_t unhealthy = 0;
	int r = 0;

	agent_publisher_borrow(monitor->publisher, &published);
	if (published.report)
		r = agent_health_update(&monitor->health, published.report, published.error);
	agent_publisher_return(monitor->publisher);
	for (size_t i = 0; i < monitor->health.n; i++) {
		const struct agent_health_device *device = &monitor->health.devices[i];

		unhealthy += device->status == DRA_HEALTH_UNHEALTHY;
	}
	pthread_mutex_lock(&monitor->lock);
	monitor->unhealthy = unhealthy;
	pthread_mutex_unlock(&monitor->lock);
	return r;
}

/* Wait until something has changed, or until the next message is due. Return false to stop. */
static bool wait(struct agent_monitor *monitor, uint64_t due)
{
	const struct timespec at = { .tv_sec = (time_t)(due / STOW_SECOND),
				     .tv_nsec = (long)(due % STOW_SECOND) };
	int r = 0;

	pthread_mutex_lock(&monitor->lock);
	while (!monitor->stop && !monitor->changed && r == 0)
		r = pthread_cond_timedwait(&monitor->wake, &monitor->lock, &at);
	monitor->changed = false;
	r = monitor->stop;
	pthread_mutex_unlock(&monitor->lock);
	return !r;
}

static void *run(void *arg)
{
	struct agent_monitor *monitor = arg;
	uint64_t due = 0;

	do {
		uint64_t now = stow_clock_monotonic();
		bool changed = look(monitor) > 0;

		pthread_mutex_lock(&monitor->lock);
		changed |= monitor->opened;
		monitor->opened = false;
		pthread_mutex_unlock(&monitor->lock);
		if (changed || now >= due) {
			send_all(monitor);
			due = now + EVERY;
		}
	} while (wait(monitor, due));
	return NULL;
}

/* Called with the publisher's lock held. */
static void on_report(void *ctx)
{
	struct agent_monitor *monitor = ctx;

	pthread_mutex_lock(&monitor->lock);
	monitor->changed = true;
	pthread_cond_signal(&monitor->wake);
	pthread_mutex_unlock(&monitor->lock);
}

/* --- streams -------------------------------------------------------------- */

static int on_open(struct stow_rpc_call *call, void *ctx, const void *request, struct stow_err *err)
{
	struct agent_monitor *monitor = ctx;
	int r = 0;

	pthread_mutex_lock(&monitor->lock);
	if (monitor->n == STREAMS_MAX)
		r = stow_err_set(err, ENOBUFS, "%d streams are open; more are not served",
				 STREAMS_MAX);
	else
		monitor->streams[monitor->n++] = stow_rpc_ref(call);
	monitor->opened = monitor->changed = true;
	pthread_cond_signal(&monitor->wake);
	pthread_mutex_unlock(&monitor->lock);
	return r;
}

static void on_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct agent_monitor *monitor = ctx;
	bool found = false;

	pthread_mutex_lock(&monitor->lock);
	for (size_t i = 0; i < monitor->n && !found; i++)
		if (monitor->streams[i] == call) {
			monitor->streams[i] = monitor->streams[--monitor->n];
			found = true;
		}
	pthread_mutex_unlock(&monitor->lock);
	if (found)
		stow_rpc_unref(call);
}

static const struct stow_rpc_stream_ops stream = { .open = on_open, .closed = on_closed };

static const struct stow_rpc_method methods[] = { { "NodeWatchResources", .stream = &stream } };

static const struct stow_rpc_service services[] = {
	{ .descriptor = &dra_health_draresource_health__descriptor,
	  .methods = methods,
	  .n_methods = STOW_ARRAY_SIZE(methods),
	  .may = agent_calls_may },
	{ .descriptor = &dra_health_v1alpha1_draresource_health__descriptor,
	  .methods = methods,
	  .n_methods = STOW_ARRAY_SIZE(methods),
	  .may = agent_calls_may },
};

int agent_monitor_add(struct agent_monitor *monitor, struct stow_rpc_server *server,
		      struct stow_err *err)
{
	int r = 0;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(services) && r == 0; i++)
		r = stow_rpc_server_add(server, &services[i], monitor, err);
	return r;
}

void agent_monitor_close(struct agent_monitor *monitor)
{
	pthread_mutex_lock(&monitor->lock);
	for (size_t i = 0; i < monitor->n; i++)
		stow_rpc_close(monitor->streams[i], NULL);
	pthread_mutex_unlock(&monitor->lock);
}

/* --- making and freeing --------------------------------------------------- */

int agent_monitor_new(struct agent_publisher *publisher, const char *pool,
		      struct agent_monitor **ret, struct stow_err *err)
{
	struct agent_monitor *monitor = calloc(1, sizeof(*monitor));
	int r;

	if (!monitor)
		return stow_err_set(err, ENOMEM, "out of memory");
	monitor->publisher = publisher;
	monitor->pool = strdup(pool);
	pthread_mutex_init(&monitor->lock, NULL);
	stow_clock_cond_init(&monitor->wake);
	r = monitor->pool ? pthread_create(&monitor->thread, NULL, run, monitor) : ENOMEM;
	if (r) {
		agent_monitor_free(monitor);
		return stow_err_sys(err, r, "cannot start a thread");
	}
	monitor->started = true;
	agent_publisher_follow(publisher, on_report, monitor);
	*ret = monitor;
	return 0;
}

void agent_monitor_free(struct agent_monitor *monitor)
{
	if (!monitor)
		return;
	if (monitor->started) {
		agent_publisher_unfollow(monitor->publisher, monitor);
		pthread_mutex_lock(&monitor->lock);
		monitor->stop = true;
		pthread_cond_signal(&monitor->wake);
		pthread_mutex_unlock(&monitor->lock);
		pthread_join(monitor->thread, NULL);
	}
	agent_health_done(&monitor->health);
	pthread_cond_destroy(&monitor->wake);
	pthread_mutex_destroy(&monitor->lock);
	free(monitor->pool);
	free(monitor);
}

void agent_monitor_render(struct agent_monitor *monitor, FILE *out)
{
	size_t n = 0, unhealthy = 0;

	if (monitor) {
		pthread_mutex_lock(&monitor->lock);
		n = monitor->n;
		unhealthy = monitor->unhealthy;
		pthread_mutex_unlock(&monitor->lock);
	}
	stow_metric_head(out, "numastow_agent_health_streams", "gauge",
			 "Streams on which the health of NUMA nodes is sent to kubelet.");
	stow_metric(out, "numastow_agent_health_streams", (double)n, NULL);
	stow_metric_head(out, "numastow_agent_unhealthy_devices", "gauge",
			 "NUMA nodes that are reported to kubelet as unhealthy.");
	stow_metric(out, "numastow_agent_unhealthy_devices", (double)unhealthy, NULL);
}
