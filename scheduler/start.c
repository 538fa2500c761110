// SPDX-License-Identifier: Apache-2.0
/* Starting as a standby, becoming active, stopping. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rpc/log.h"
#include "scheduler/probe.h"
#include "scheduler/scheduler.h"

/* Format "HOST:PORT", as other machines know it; "" when the kernel chooses the port. */
static void name_by_port(const char *listen, char *name, size_t size)
{
	const char *port = strrchr(listen, ':');
	char host[256] = "?";

	(void)gethostname(host, sizeof(host) - 1);
	if (port && strcmp(port, ":0") != 0)
		snprintf(name, size, "%s%s", host, port);
	else
		name[0] = '\0';
}

int scheduler_start(struct scheduler *s, struct stow_err *err)
{
	const struct scheduler_config *config = &s->config;
	struct stow_rpc_tls tls = { config->certificate, config->key, config->ca };
	struct stow_rpc_server_options options = { .tls = config->ca ? &tls : NULL,
						   .limits = &config->limits,
						   .trusted = scheduler_service_trusted,
						   .ctx = s };
	struct stow_store_options store = scheduler_config_store(config);
	char name[300];
	int r;

	name_by_port(config->listen, name, sizeof(name));
	store.name = name[0] ? name : NULL;
	pthread_mutex_init(&s->news_lock, NULL);
	stow_clock_cond_init(&s->news_changed);
	s->audit.service = &scheduler_service;
	s->audit.changing = scheduler_service_changing;
	r = stow_store_new(&store, &s->store, err);
	if (r == 0)
		r = stow_fleet_new(&s->fleet, err);
	if (r == 0)
		r = scheduler_watch_new(s, err);
	if (r == 0)
		r = scheduler_drains_new(&s->drains, err);
	if (r == 0)
		r = scheduler_delivery_queue_new(config, &s->delivery_queue, err);
	if (r == 0)
		r = scheduler_explain_queue_new(s, err);
	if (r == 0)
		r = stow_rpc_loop_new((unsigned int)config->threads, &s->loop, err);
	if (r == 0)
		r = stow_rpc_server_new(s->loop, &options, &s->server, err);
	if (r < 0)
		return r;
	stow_rpc_server_set_serving(s->server, false);
	r = stow_rpc_server_add(s->server, &scheduler_service, s, err);
	if (r == 0)
		r = stow_rpc_server_listen(s->server, config->listen, &s->port, err);
	if (r == 0)
		r = stow_rpc_server_start(s->server, err);
	if (r == 0) {
		char host[256] = "?";

		(void)gethostname(host, sizeof(host) - 1);
		snprintf(s->name, sizeof(s->name), "%s:%d", host, s->port);
	}
	if (r == 0)
		r = scheduler_probe_new(s, &s->probe, err);
	if (r == 0)
		stow_log(STOW_LOG_INFO, "listening", stow_text("address", config->listen),
			 stow_number("port", (uint64_t)s->port),
			 stow_text("tls", config->ca ? "yes" : "no"));
	return r;
}

int scheduler_activate(struct scheduler *s, struct stow_err *err)
{
	size_t reservations, drains;
	int r;

	atomic_store(&s->loading, true);
	r = scheduler_load(s, err);
	atomic_store(&s->loading, false);
	if (r == 0)
		r = scheduler_delivery_queue_start(s->delivery_queue, s->store, err);
	if (r < 0)
		return r;
	/* Count them before the threads start, which change them. */
	reservations = s->fleet->reservations.n;
	drains = scheduler_drains_under_way(s);
	r = -pthread_create(&s->clock, NULL, scheduler_clock_run, s);
	s->clock_runs = r == 0;
	if (r == 0) {
		r = -pthread_create(&s->watch, NULL, scheduler_watch_run, s);
		s->watch_runs = r == 0;
	}
	if (r == 0)
		r = scheduler_explain_queue_start(s);
	if (r < 0)
		return stow_err_sys(err, -r, "cannot start a thread");
	s->since = stow_now();
	atomic_store(&s->active, true);
	stow_rpc_server_set_serving(s->server, true);
	stow_log(STOW_LOG_NOTICE, "leader elected", stow_text("leader", s->name),
		 stow_text("store", s->config.store ? s->config.store : s->config.data),
		 stow_number("epoch", stow_store_epoch(s->store)));
	stow_log(STOW_LOG_NOTICE, "numastow-scheduler is active",
		 stow_number("reservations", reservations), stow_number("drains", drains));
	return 0;
}

void scheduler_stop(struct scheduler *s)
{
	atomic_store(&s->stopping, true);
	pthread_mutex_lock(&s->news_lock);
	pthread_cond_broadcast(&s->news_changed);
	pthread_mutex_unlock(&s->news_lock);
	if (s->clock_runs)
		pthread_join(s->clock, NULL);
	if (s->watch_runs)
		pthread_join(s->watch, NULL);
	scheduler_explain_queue_stop(s);
	scheduler_probe_free(s->probe);
	s->probe = NULL;
	/* Queued calls are answered; new ones are refused. */
	atomic_store(&s->active, false);
	if (s->fleet) {
		stow_lock_take(&s->fleet->lock);
		scheduler_place_stop(s);
		stow_lock_give(&s->fleet->lock);
	}
	scheduler_delivery_queue_stop(s->delivery_queue);
	stow_store_stop(s->store);
	/* Places whose write the store has finished meanwhile wait for their agents now. */
	if (s->fleet) {
		stow_lock_take(&s->fleet->lock);
		scheduler_place_stop(s);
		scheduler_fence_stop(s);
		scheduler_drains_stop(s);
		stow_lock_give(&s->fleet->lock);
	}
	if (s->server)
		stow_rpc_server_stop(s->server, STOW_SECOND / 5);
	stow_rpc_server_free(s->server);
	stow_rpc_loop_free(s->loop);
	stow_store_close(s->store); /* methods may have used it until here */
	s->store = NULL;
	scheduler_drains_free(s);
	scheduler_delivery_queue_free(s->delivery_queue);
	scheduler_explain_queue_free(s);
	scheduler_watch_free(s);
	stow_fleet_free(s->fleet);
	pthread_cond_destroy(&s->news_changed);
	pthread_mutex_destroy(&s->news_lock);
}
