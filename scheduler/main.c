// SPDX-License-Identifier: Apache-2.0
/* numastow-scheduler: one active for a fleet, standbys beside it. See numastow-scheduler(8). */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "rpc/log.h"
#include "rpc/signals.h"
#include "scheduler/probe.h"
#include "scheduler/scheduler.h"
#include "scheduler/store/copy.h"

#define LOOK_MS 200 /* between two attempts to become active */

#define HELP_COLUMN 30

#define GRACE (10 * STOW_SECOND) /* from SIGTERM to the forced exit */

enum { HELP, VERSION, CHECK, COPY };
static const char *const own[] = { "help", "version", "check-config", "copy-store", NULL };

/* `words` has room for `argc`; only --copy-store takes arguments. */
static int read_flags(int argc, char **argv, struct scheduler_config *config, bool *given,
		      const char **ret_path, const char **words, struct stow_err *err)
{
	size_t n = 0;
	int r = stow_settings_arguments(scheduler_settings, config, argc, argv, own, given,
					ret_path, words, &n, err);

	if (r == 0 && given[COPY] && n != 2)
		r = stow_err_set(err, EINVAL, "--copy-store: expected two stores, FROM and TO");
	else if (r == 0 && !given[COPY] && n)
		r = stow_err_set(err, EINVAL, "\"%.64s\": unexpected argument", words[0]);
	return r;
}

static int read_config(int argc, char **argv, struct scheduler_config *config, bool *given,
		       const char **words, struct stow_err *err)
{
	struct scheduler_config ignored;
	const char *path = NULL;
	int r;

	scheduler_config_defaults(&ignored);
	r = read_flags(argc, argv, &ignored, given, &path, words, err);
	scheduler_config_done(&ignored);
	scheduler_config_defaults(config);
	if (r == 0)
		r = stow_settings_load(scheduler_settings, config,
				       path ? path : SCHEDULER_CONFIG_PATH, !path, err);
	if (r == 0)
		r = read_flags(argc, argv, config, given, &path, words, err);
	if (r == 0)
		r = scheduler_config_finish(config, err);
	return r;
}

/* Options that are no settings, for --help. */
static const struct stow_setting other_options[] = {
	{ .name = "config", .arg = "FILE", .help = "settings (" SCHEDULER_CONFIG_PATH ")" },
	{ .name = "check-config", .help = "check the settings and exit" },
	{ .name = "copy-store", .arg = "FROM TO", .help = "copy a fleet's state to another store" },
	{ 0 },
};

static void print_help(void)
{
	printf("Usage: numastow-scheduler [OPTION]...\n"
	       "\n"
	       "Place pods on the NUMA nodes of a fleet.\n"
	       "\n");
	stow_settings_help(other_options, HELP_COLUMN, stdout);
	stow_settings_help(scheduler_settings, HELP_COLUMN, stdout);
	printf("  -h, --help\n"
	       "  -V, --version\n");
}

/* Apply times, limits of drains and log settings. Addresses and the store need a restart.
 * Certificates are reloaded automatically. */
static void reload(struct scheduler *s, int argc, char **argv)
{
	bool given[STOW_ARRAY_SIZE(own)] = { false };
	_cleanup_free_ const char **words = calloc((size_t)argc + 1, sizeof(*words));
	struct scheduler_config fresh = { 0 };
	struct stow_err err = { 0 };

	sd_notify(0, "RELOADING=1");
	if (!words || read_config(argc, argv, &fresh, given, words, &err) < 0) {
		stow_log(STOW_LOG_ERR, "not reloaded", stow_why(&err));
	} else {
		stow_lock_take(&s->fleet->lock);
		s->config.stale_after = fresh.stale_after;
		s->config.forget_after = fresh.forget_after;
		s->config.max_reports = fresh.max_reports;
		s->config.lifetime = fresh.lifetime;
		s->config.confirm_within = fresh.confirm_within;
		s->config.remember = fresh.remember;
		s->config.strategy = fresh.strategy;
		s->config.max_drains = fresh.max_drains;
		s->config.max_drains_per_domain = fresh.max_drains_per_domain;
		s->config.drain_wait = fresh.drain_wait;
		scheduler_drains_look(s);
		stow_lock_give(&s->fleet->lock);
		stow_log_configure(STOW_LOG_ERR + fresh.log_level, fresh.log_format);
		stow_log(STOW_LOG_NOTICE, "reloaded");
	}
	scheduler_config_done(&fresh);
	sd_notify(0, "READY=1");
}

static void log_standby(const struct scheduler *s, const struct stow_err *why)
{
	stow_log(why->code ? STOW_LOG_WARNING : STOW_LOG_NOTICE,
		 why->code ? "standby: the store cannot be read"
			   : "standby: another scheduler is active",
		 stow_text("store", s->config.store ? s->config.store : s->config.data),
		 stow_text("error", why->msg));
}

/* Wait while another scheduler is active, or while the store cannot be reached. `ready`: this is
 * not the first attempt. */
static int stand_by(struct scheduler *s, bool *ready, struct stow_err *err)
{
	struct stow_err why = { 0 };
	bool followed = stow_store_follows(s->store, &why);
	int r = stow_store_lead(s->store, &why);

	if (r == 1) {
		r = scheduler_activate(s, err);
		if (r == 0)
			sd_notify(0, "READY=1\nSTATUS=active");
		return r;
	}
	if (r < 0 && r != -ENOTCONN && r != -ETIMEDOUT) {
		*err = why;
		return r;
	}
	if (!*ready || followed != stow_store_follows(s->store, &why))
		log_standby(s, &why);
	if (!*ready)
		sd_notify(0, "READY=1\nSTATUS=standby");
	*ready = true;
	return 0;
}

static int loop(struct scheduler *s, int signals, int argc, char **argv, struct stow_err *err)
{
	struct pollfd polls[] = { { .fd = signals, .events = POLLIN } };
	uint64_t watchdog = 0; /* us; notified three times within it */
	bool ready = false, stop_logged = false;

	if (sd_watchdog_enabled(0, &watchdog) <= 0)
		watchdog = 0;
	for (;;) {
		bool active = atomic_load(&s->active);
		int number, wait = active && watchdog ? (int)(watchdog / 3 / 1000) : LOOK_MS;
		char why[256];

		if (!active && stand_by(s, &ready, err) < 0)
			return -err->code;
		if (active && stow_store_lost(s->store, err)) {
			stow_log(STOW_LOG_ERR,
				 "lease lost: this scheduler exits, to become a standby",
				 stow_why(err));
			return -err->code;
		}
		if (active)
			stow_store_look(s->store);
		if (watchdog)
			stow_watchdog_notify(
				scheduler_probe_alive(s->probe, why, sizeof(why)) ? NULL : why,
				&stop_logged);
		(void)poll(polls, 1, wait);
		while ((number = stow_signals_next(signals))) {
			if (number != SIGHUP)
				return 0;
			reload(s, argc, argv);
		}
	}
}

static int run(struct scheduler *s, int argc, char **argv)
{
	const struct stow_metrics_options options = {
		.address = s->config.metrics,
		.render = scheduler_render_metrics,
		.healthy = scheduler_is_healthy,
		.alive = scheduler_is_alive,
		.ctx = s,
	};
	struct stow_metrics *metrics = NULL;
	struct stow_err err = { 0 };
	int signals = stow_signals_open(GRACE, &err), r;

	r = signals < 0 ? signals : scheduler_start(s, &err);
	if (r == 0 && s->config.metrics[0]) {
		r = stow_metrics_start(&options, &metrics, NULL, &err);
		if (r < 0)
			r = stow_err_wrap(&err, r, "metrics");
	}
	if (r == 0)
		r = scheduler_kubernetes_start(s, scheduler_is_healthy, &err);
	if (r == 0)
		r = loop(s, signals, argc, argv, &err);
	sd_notify(0, "STOPPING=1");
	stow_metrics_stop(metrics);
	scheduler_kubernetes_stop(s);
	scheduler_stop(s);
	if (signals >= 0)
		close(signals);
	if (r < 0)
		fprintf(stderr, "numastow-scheduler: %s\n", err.msg);
	return r < 0;
}

/* --check-config also reads the files that the settings name. */
static int check(const struct scheduler_config *config)
{
	struct stow_rpc_tls tls = { config->certificate, config->key, config->ca };
	struct scheduler_delivery_queue *delivery_queue = NULL;
	struct stow_err err = { 0 };
	int r = scheduler_delivery_queue_new(config, &delivery_queue, &err);

	scheduler_delivery_queue_free(delivery_queue);
	if (r == 0)
		r = scheduler_kubernetes_check(config, &err);
	if (r < 0 || (config->ca && stow_rpc_tls_check_valid(&tls, NULL, &err) < 0)) {
		fprintf(stderr, "numastow-scheduler: %s\n", err.msg);
		return 2;
	}
	printf("the settings are fine\n");
	return 0;
}

/* --copy-store uses the certificate files of the settings for etcd. */
static int copy_store(const struct scheduler_config *config, const char *const *words)
{
	struct stow_store_options from = scheduler_config_store(config), to = from;
	struct stow_err err = { 0 };
	size_t rows = 0;
	int r;

	from.where = words[0];
	to.where = words[1];
	r = scheduler_copy_store(&from, &to, &rows, &err);
	if (r < 0) {
		fprintf(stderr, "numastow-scheduler: %s\n", err.msg);
		return 1;
	}
	printf("%zu rows copied, read again, and the same\n", rows);
	return 0;
}

int main(int argc, char **argv)
{
	_cleanup_free_ const char **words = calloc((size_t)argc + 1, sizeof(*words));
	bool given[STOW_ARRAY_SIZE(own)] = { false };
	struct scheduler s = { 0 };
	struct stow_err err = { 0 };
	int r;

	r = words ? read_config(argc, argv, &s.config, given, words, &err)
		  : stow_err_set(&err, ENOMEM, "out of memory");
	if (given[HELP]) {
		print_help();
		r = 0;
	} else if (given[VERSION]) {
		printf("numastow-scheduler %s\n", STOW_VERSION);
		r = 0;
	} else if (r < 0) {
		fprintf(stderr, "numastow-scheduler: %s\n", err.msg);
		r = 2;
	} else if (given[CHECK]) {
		r = check(&s.config);
	} else if (given[COPY]) {
		stow_log_configure(STOW_LOG_ERR + s.config.log_level, s.config.log_format);
		r = copy_store(&s.config, words);
	} else {
		stow_log_configure(STOW_LOG_ERR + s.config.log_level, s.config.log_format);
		r = run(&s, argc, argv);
	}
	scheduler_config_done(&s.config);
	return r;
}
