// SPDX-License-Identifier: Apache-2.0
#include "scheduler/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"

#include "rpc/address.h"
#include "rpc/log.h"
#include "scheduler/drain/delivery_queue.h"
#include "scheduler/drain/event.h"
#include "scheduler/service/roles.h"

#define AT(field) offsetof(struct scheduler_config, field)
#define MS	  STOW_MILLISECOND
#define S	  STOW_SECOND

static const char *const durabilities[] = { "crash", "power-loss", NULL };
static const char *const formats[] = { "text", "json", NULL };
static const char *const strategies[] = { "tight", "spread", NULL };

const struct stow_setting scheduler_settings[] = {
	{ "listen", STOW_SETTING_TEXT, AT(listen), 0, 0, NULL, "ADDRESS",
	  "where agents and clients come (127.0.0.1:7200)" },
	{ "ca", STOW_SETTING_TEXT, AT(ca), 0, 0, NULL, "FILE", "CA certificates, PEM" },
	{ "certificate", STOW_SETTING_TEXT, AT(certificate), 0, 0, NULL, "FILE",
	  "the scheduler's certificate, PEM" },
	{ "key", STOW_SETTING_TEXT, AT(key), 0, 0, NULL, "FILE", "its private key, PEM" },
	{ "insecure", STOW_SETTING_SWITCH, AT(insecure), 0, 0, NULL, NULL,
	  "without TLS also beyond loopback: everybody may do everything" },
	{ "role", STOW_SETTING_LIST, AT(roles), 0, 0, NULL, "NAME=ROLE,...",
	  "what a certificate's name may: agent/NODE, read, place or drain" },
	{ "data", STOW_SETTING_TEXT, AT(data), 0, 0, NULL, "DIR",
	  "the same as store: sqlite:DIR, where that is not set (/var/lib/numastow)" },
	{ "store", STOW_SETTING_TEXT, AT(store), 0, 0, NULL, "WHERE",
	  "where the fleet's state is: sqlite:DIR, or etcd:https://HOST:2379,... "
	  "(sqlite:/var/lib/numastow)" },
	{ "store-ca", STOW_SETTING_TEXT, AT(store_ca), 0, 0, NULL, "FILE",
	  "CA certificates of etcd, PEM" },
	{ "store-certificate", STOW_SETTING_TEXT, AT(store_certificate), 0, 0, NULL, "FILE",
	  "the certificate that etcd is shown, PEM" },
	{ "store-key", STOW_SETTING_TEXT, AT(store_key), 0, 0, NULL, "FILE",
	  "its private key, PEM" },
	{ "store-prefix", STOW_SETTING_TEXT, AT(store_prefix), 0, 0, NULL, "TEXT",
	  "of all keys in etcd (/numastow/)" },
	{ "store-lease", STOW_SETTING_DURATION, AT(store_lease), 3 * S, 60 * S, NULL, "TIME",
	  "how long etcd takes a silent scheduler for the leader (5s)" },
	{ "durability", STOW_SETTING_WORD, AT(durability), 0, 0, durabilities, "WORD",
	  "what an answered reservation survives: crash or power-loss (crash)" },
	{ "metrics", STOW_SETTING_TEXT, AT(metrics), 0, 0, NULL, "ADDRESS",
	  "Prometheus metrics and /healthz; \"\" for none (127.0.0.1:7202)" },
	{ "log-level", STOW_SETTING_TEXT, AT(log_level), 0, 0, NULL, "LEVEL",
	  "error, warning, notice, info or debug (info)" },
	{ "log-format", STOW_SETTING_WORD, AT(log_format), 0, 0, formats, "FORMAT",
	  "text or json (text)" },
	{ "strategy", STOW_SETTING_WORD, AT(strategy), 0, 0, strategies, "WORD",
	  "for requests that do not say: tight or spread (tight)" },
	{ "stale-after", STOW_SETTING_DURATION, AT(stale_after), 500 * MS, 3600 * S, NULL, "TIME",
	  "silence after which a node gets nothing new (15s)" },
	{ "forget-after", STOW_SETTING_DURATION, AT(forget_after), 0, 8760 * 3600 * S, NULL, "TIME",
	  "silence after which a node is no longer listed; 0 for never (24h)" },
	{ "max-reports", STOW_SETTING_NUMBER, AT(max_reports), 1, 100000, NULL, "N",
	  "a second, of one node; what comes faster waits (200)" },
	{ "lifetime", STOW_SETTING_DURATION, AT(lifetime), S, 24 * 3600 * S, NULL, "TIME",
	  "of a reservation that no container takes (5m)" },
	{ "confirm-within", STOW_SETTING_DURATION, AT(confirm_within), 100 * MS, 60 * S, NULL,
	  "TIME", "how long an agent may take to confirm (3s)" },
	{ "remember", STOW_SETTING_DURATION, AT(remember), S, 24 * 3600 * S, NULL, "TIME",
	  "how long a request_id keeps its answer (10m)" },
	{ "max-drains", STOW_SETTING_NUMBER, AT(max_drains), 1, 1000, NULL, "N",
	  "of memory, at a time (4)" },
	{ "max-drains-per-domain", STOW_SETTING_NUMBER, AT(max_drains_per_domain), 1, 1000, NULL,
	  "N", "... in one failure domain (1)" },
	{ "drain-wait", STOW_SETTING_DURATION, AT(drain_wait), S, 24 * 3600 * S, NULL, "TIME",
	  "how long a drain waits for reservations on what it fences (10m)" },
	{ "webhook", STOW_SETTING_LIST, AT(webhooks), 0, 0, NULL, "URL,...",
	  "who is told of drains" },
	{ "webhook-secret", STOW_SETTING_TEXT, AT(webhook_secret), 0, 0, NULL, "FILE",
	  "what webhooks are signed with" },
	{ "webhook-ca", STOW_SETTING_TEXT, AT(webhook_ca), 0, 0, NULL, "FILE",
	  "CA certificates of webhooks, PEM; not the system's then" },
	{ "webhook-timeout", STOW_SETTING_DURATION, AT(webhook_timeout), 100 * MS, 300 * S, NULL,
	  "TIME", "how long a webhook may take to answer (10s)" },
	{ "webhook-retry", STOW_SETTING_DURATION, AT(webhook_retry), 10 * MS, 300 * S, NULL, "TIME",
	  "before the second try; doubles up to 5m (1s)" },
	{ "webhook-expire", STOW_SETTING_DURATION, AT(webhook_expire), S, 720 * 3600 * S, NULL,
	  "TIME", "after which no more is tried (24h)" },
	STOW_RPC_LIMIT_SETTINGS(AT(limits), "32768", "65536"),
	STOW_RPC_AGE_SETTING(AT(limits)),
	{ "threads", STOW_SETTING_NUMBER, AT(threads), 1, 64, NULL, "N", "that serve (2)" },
	{ 0 },
};

void scheduler_config_defaults(struct scheduler_config *config)
{
	*config = (struct scheduler_config){
		.listen = strdup("127.0.0.1:7200"),
		.data = strdup("/var/lib/numastow"),
		.store_prefix = strdup("/numastow/"),
		.store_lease = 5 * S,
		.metrics = strdup("127.0.0.1:7202"),
		.log_level = strdup("info"),
		.stale_after = 15 * S,
		.forget_after = 24 * 3600 * S,
		.max_reports = 200,
		.lifetime = 300 * S,
		.confirm_within = 3 * S,
		.remember = 600 * S,
		.threads = 2,
		.max_drains = 4,
		.max_drains_per_domain = 1,
		.drain_wait = 600 * S,
		.webhook_timeout = 10 * S,
		.webhook_retry = S,
		.webhook_expire = 24 * 3600 * S,
	};
	stow_rpc_limits_defaults(&config->limits, 32768);
}

static int check_webhooks(const struct scheduler_config *config, struct stow_err *err)
{
	for (size_t i = 0; config->webhooks && config->webhooks[i]; i++) {
		int r = i < SCHEDULER_WEBHOOKS_MAX
				? scheduler_event_url_check(config->webhooks[i], config->insecure,
							    err)
				: stow_err_set(err, EINVAL, "more than %d of them",
					       SCHEDULER_WEBHOOKS_MAX);

		if (r < 0)
			return stow_err_wrap(err, r, "webhook");
	}
	return 0;
}

int scheduler_config_finish(const struct scheduler_config *config, struct stow_err *err)
{
	int tls = !!config->ca + !!config->certificate + !!config->key;
	struct sockaddr_storage address;
	enum stow_log_level level;
	socklen_t len;
	struct stow_store_options store;
	int r;

	if (tls != 0 && tls != 3)
		return stow_err_set(err, EINVAL,
				    "%s: missing; ca, certificate and key belong together",
				    !config->ca		   ? "ca"
				    : !config->certificate ? "certificate"
							   : "key");
	r = stow_address_parse(config->listen, &address, &len, err);
	if (r < 0)
		return stow_err_wrap(err, r, "listen");
	if (!tls && !config->insecure && !stow_address_is_loopback(&address))
		return stow_err_set(err, EINVAL,
				    "listen: %s is not loopback; that wants TLS (ca, certificate, "
				    "key), or insecure: true",
				    config->listen);
	if (config->metrics[0]) {
		r = stow_address_parse(config->metrics, &address, &len, err);
		if (r < 0)
			return stow_err_wrap(err, r, "metrics");
	}
	if (config->forget_after && config->forget_after <= config->stale_after)
		return stow_err_set(err, EINVAL,
				    "forget-after: %" PRIu64 " ms is not longer than stale-after, "
				    "%" PRIu64 " ms; want more, or 0 for never",
				    config->forget_after / MS, config->stale_after / MS);
	r = stow_log_level_parse(config->log_level, &level, err);
	if (r < 0)
		return stow_err_wrap(err, r, "log-level");
	for (size_t i = 0; config->roles && config->roles[i]; i++) {
		r = scheduler_role_check(config->roles[i], err);
		if (r < 0)
			return stow_err_wrap(err, r, "role");
	}
	store = scheduler_config_store(config);
	r = stow_store_check(&store, err);
	if (r < 0)
		return stow_err_wrap(err, r, "store");
	return check_webhooks(config, err);
}

struct stow_store_options scheduler_config_store(const struct scheduler_config *config)
{
	return (struct stow_store_options){
		.where = config->store,
		.dir = config->data,
		.power_loss = config->durability == 1,
		.ca = config->store_ca,
		.certificate = config->store_certificate,
		.key = config->store_key,
		.prefix = config->store_prefix,
		.lease = config->store_lease,
	};
}

void scheduler_config_done(struct scheduler_config *config)
{
	stow_settings_done(scheduler_settings, config);
}
