// SPDX-License-Identifier: Apache-2.0
#include "scheduler/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/address.h"
#include "rpc/log.h"
#include "rpc/rpc.h"
#include "scheduler/drain/event.h"
#include "scheduler/service/roles.h"

#define AT(field) offsetof(struct scheduler_config, field)
#define MS	  STOW_MILLISECOND
#define S	  STOW_SECOND

enum { CRASH, POWER_LOSS };
static const char *const durabilities[] = { [CRASH] = "crash", [POWER_LOSS] = "power-loss", NULL };
static const char *const strategies[] = { "tight", "spread", NULL };

const struct stow_setting scheduler_settings[] = {
	{ "listen", STOW_SETTING_TEXT, AT(listen), 0, 0, NULL, "ADDRESS",
	  "address for agents and clients (127.0.0.1:7200)" },
	{ "ca", STOW_SETTING_TEXT, AT(ca), 0, 0, NULL, "FILE", "CA certificates, PEM" },
	{ "certificate", STOW_SETTING_TEXT, AT(certificate), 0, 0, NULL, "FILE",
	  "the scheduler's certificate, PEM" },
	{ "key", STOW_SETTING_TEXT, AT(key), 0, 0, NULL, "FILE", "its private key, PEM" },
	{ "insecure", STOW_SETTING_SWITCH, AT(insecure), 0, 0, NULL, NULL,
	  "listen beyond loopback without TLS: every peer has all permissions" },
	{ "role", STOW_SETTING_LIST, AT(roles), 0, 0, NULL, "NAME=ROLE,...",
	  "roles by a certificate's name: agent/NODE, read, place or drain" },
	{ "data", STOW_SETTING_TEXT, AT(data), 0, 0, NULL, "DIR",
	  "the same as store: sqlite:DIR, if that is not set (/var/lib/numastow)" },
	{ "store", STOW_SETTING_TEXT, AT(store), 0, 0, NULL, "WHERE",
	  "where the fleet's state is: sqlite:DIR, or etcd:https://HOST:2379,... "
	  "(sqlite:/var/lib/numastow)" },
	{ "store-ca", STOW_SETTING_TEXT, AT(store_ca), 0, 0, NULL, "FILE",
	  "CA certificates of etcd, PEM" },
	{ "store-certificate", STOW_SETTING_TEXT, AT(store_certificate), 0, 0, NULL, "FILE",
	  "client certificate for etcd, PEM" },
	{ "store-key", STOW_SETTING_TEXT, AT(store_key), 0, 0, NULL, "FILE",
	  "its private key, PEM" },
	{ "store-prefix", STOW_SETTING_TEXT, AT(store_prefix), 0, 0, NULL, "TEXT",
	  "prefix of all keys in etcd (/numastow/)" },
	{ "store-lease", STOW_SETTING_DURATION, AT(store_lease), 3 * S, 60 * S, NULL, "TIME",
	  "time to live of the leader's lease in etcd (5s)" },
	{ "durability", STOW_SETTING_WORD, AT(durability), 0, 0, durabilities, "WORD",
	  "what answered reservations survive: crash or power-loss (crash)" },
	{ "metrics", STOW_SETTING_TEXT, AT(metrics), 0, 0, NULL, "ADDRESS",
	  "Prometheus metrics, /healthz and /livez; \"\" for none (127.0.0.1:7202)" },
	STOW_LOG_SETTINGS(AT(log_level), AT(log_format)),
	{ "strategy", STOW_SETTING_WORD, AT(strategy), 0, 0, strategies, "WORD",
	  "for requests without a strategy: tight or spread (tight)" },
	{ "stale-after", STOW_SETTING_DURATION, AT(stale_after), 500 * MS, 3600 * S, NULL, "TIME",
	  "silence after which a node gets nothing new (15s)" },
	{ "forget-after", STOW_SETTING_DURATION, AT(forget_after), 0, 8760 * 3600 * S, NULL, "TIME",
	  "silence after which a node is no longer listed; 0 for never (24h)" },
	{ "max-reports", STOW_SETTING_NUMBER, AT(max_reports), 1, 100000, NULL, "N",
	  "reports per second of one node; further ones wait (200)" },
	{ "lifetime", STOW_SETTING_DURATION, AT(lifetime), S, 24 * 3600 * S, NULL, "TIME",
	  "lifetime of an unused reservation (5m)" },
	{ "confirm-within", STOW_SETTING_DURATION, AT(confirm_within), 100 * MS, 60 * S, NULL,
	  "TIME", "how long an agent may take to confirm (3s)" },
	{ "remember", STOW_SETTING_DURATION, AT(remember), S, 24 * 3600 * S, NULL, "TIME",
	  "how long to keep the answer to a request_id (10m)" },
	{ "max-drains", STOW_SETTING_NUMBER, AT(max_drains), 1, 1000, NULL, "N",
	  "drains at a time (4)" },
	{ "max-drains-per-domain", STOW_SETTING_NUMBER, AT(max_drains_per_domain), 1, 1000, NULL,
	  "N", "drains at a time in one failure domain (1)" },
	{ "drain-wait", STOW_SETTING_DURATION, AT(drain_wait), S, 24 * 3600 * S, NULL, "TIME",
	  "how long a drain waits for reservations on its NUMA node (10m)" },
	{ "webhook", STOW_SETTING_LIST, AT(webhooks), 0, 0, NULL, "URL,...",
	  "URLs to notify of drains" },
	{ "webhook-secret", STOW_SETTING_TEXT, AT(webhook_secret), 0, 0, NULL, "FILE",
	  "file with the key for signing webhooks' messages" },
	{ "webhook-ca", STOW_SETTING_TEXT, AT(webhook_ca), 0, 0, NULL, "FILE",
	  "CA certificates of webhooks instead of the system's, PEM" },
	{ "webhook-timeout", STOW_SETTING_DURATION, AT(webhook_timeout), 100 * MS, 300 * S, NULL,
	  "TIME", "how long a webhook may take to answer (10s)" },
	{ "webhook-retry", STOW_SETTING_DURATION, AT(webhook_retry), 10 * MS, 300 * S, NULL, "TIME",
	  "pause before the second attempt; doubles up to 5m (1s)" },
	{ "webhook-expire", STOW_SETTING_DURATION, AT(webhook_expire), S, 720 * 3600 * S, NULL,
	  "TIME", "how long to retry an event (24h)" },
	{ "admission", STOW_SETTING_TEXT, AT(admission), 1, 0, NULL, "ADDRESS",
	  "HTTPS address of the admission webhook for Kubernetes (none)" },
	{ "admission-certificate", STOW_SETTING_TEXT, AT(admission_certificate), 1, 0, NULL, "FILE",
	  "its certificate, PEM" },
	{ "admission-key", STOW_SETTING_TEXT, AT(admission_key), 1, 0, NULL, "FILE",
	  "its private key, PEM" },
	{ "admission-ca", STOW_SETTING_TEXT, AT(admission_ca), 1, 0, NULL, "FILE",
	  "CA of the API server's client certificate, PEM" },
	{ "extender", STOW_SETTING_TEXT, AT(extender), 1, 0, NULL, "ADDRESS",
	  "HTTPS address of the extender for kube-scheduler (none)" },
	{ "extender-ca", STOW_SETTING_TEXT, AT(extender_ca), 1, 0, NULL, "FILE",
	  "CA of kube-scheduler's client certificate, PEM" },
	{ "kubernetes", STOW_SETTING_SWITCH, AT(kubernetes), 0, 0, NULL, NULL,
	  "run the controllers for claims of Kubernetes (false)" },
	{ "kubeconfig", STOW_SETTING_TEXT, AT(kubeconfig), 1, 0, NULL, "FILE",
	  "kubeconfig for the API server (the pod's service account)" },
	{ "lease-namespace", STOW_SETTING_TEXT, AT(lease_namespace), 1, 63, NULL, "NAME",
	  "namespace of the controllers' Lease (numastow-system)" },
	{ "prepare-deadline", STOW_SETTING_DURATION, AT(prepare_deadline), S, 24 * 3600 * S, NULL,
	  "TIME", "how long a claim may be refused until its pods are placed anew (60s)" },
	{ "unused-templates", STOW_SETTING_DURATION, AT(unused_templates), S, 720 * 3600 * S, NULL,
	  "TIME", "how long to keep templates of claims that no pod uses (1h)" },
	STOW_RPC_LIMIT_SETTINGS(AT(limits), "32768", "65536", "4096", "256Mi", "256Mi"),
	STOW_RPC_AGE_SETTING(AT(limits)),
	{ "threads", STOW_SETTING_NUMBER, AT(threads), 1, 64, NULL, "N",
	  "threads that serve calls (2)" },
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
		.log_level = STOW_LOG_LEVEL_DEFAULT,
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
		.lease_namespace = strdup("numastow-system"),
		.prepare_deadline = 60 * S,
		.unused_templates = 3600 * S,
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

/* A DNS label, which becomes part of a path. */
static int check_namespace(const char *name, struct stow_err *err)
{
	size_t len = strlen(name);

	if (len && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len && name[0] != '-' &&
	    name[len - 1] != '-')
		return 0;
	return stow_err_set(
		err, EINVAL,
		"lease-namespace: \"%.63s\" is not a name of lower-case letters, digits "
		"and \"-\"",
		name);
}

static int check_admission(const struct scheduler_config *config, struct stow_err *err)
{
	struct sockaddr_storage address;
	socklen_t len;
	int r;

	if (!config->admission)
		return 0;
	r = stow_address_parse(config->admission, &address, &len, err);
	if (r < 0)
		return stow_err_wrap(err, r, "admission");
	if (!config->admission_certificate || !config->admission_key)
		return stow_err_set(err, EINVAL, "%s: missing; the API server calls by HTTPS only",
				    config->admission_certificate ? "admission-key"
								  : "admission-certificate");
	return 0;
}

static int check_extender(const struct scheduler_config *config, struct stow_err *err)
{
	struct sockaddr_storage address;
	const char *missing = NULL;
	socklen_t len;
	int r;

	if (!config->extender)
		return 0;
	r = stow_address_parse(config->extender, &address, &len, err);
	if (r < 0)
		return stow_err_wrap(err, r, "extender");
	if (!config->extender_ca)
		missing = "extender-ca";
	else if (!config->admission_certificate)
		missing = "admission-certificate";
	else if (!config->admission_key)
		missing = "admission-key";
	return missing ? stow_err_set(err, EINVAL,
				      "%s: missing; the extender answers by HTTPS only, and only "
				      "clients with a certificate",
				      missing)
		       : 0;
}

int scheduler_config_finish(const struct scheduler_config *config, struct stow_err *err)
{
	const struct stow_rpc_tls tls = { config->certificate, config->key, config->ca };
	struct sockaddr_storage address;
	socklen_t len;
	struct stow_store_options store;
	int r = stow_rpc_tls_given(&tls, err);

	if (r < 0)
		return r;
	r = stow_address_parse(config->listen, &address, &len, err);
	if (r < 0)
		return stow_err_wrap(err, r, "listen");
	if (!config->ca && !config->insecure && !stow_address_is_loopback(&address))
		return stow_err_set(err, EINVAL,
				    "listen: %s is not loopback; that requires TLS (ca, "
				    "certificate, key), or insecure: true",
				    config->listen);
	if (config->metrics[0]) {
		r = stow_address_parse(config->metrics, &address, &len, err);
		if (r < 0)
			return stow_err_wrap(err, r, "metrics");
	}
	if (config->forget_after && config->forget_after <= config->stale_after)
		return stow_err_set(err, EINVAL,
				    "forget-after: %" PRIu64 " ms is not longer than stale-after, "
				    "%" PRIu64 " ms; expected more, or 0 for never",
				    config->forget_after / MS, config->stale_after / MS);
	for (size_t i = 0; config->roles && config->roles[i]; i++) {
		r = scheduler_role_check(config->roles[i], err);
		if (r < 0)
			return stow_err_wrap(err, r, "role");
	}
	store = scheduler_config_store(config);
	r = stow_store_check(&store, err);
	if (r < 0)
		return stow_err_wrap(err, r, "store");
	r = check_webhooks(config, err);
	if (r == 0)
		r = check_namespace(config->lease_namespace, err);
	if (r == 0)
		r = check_admission(config, err);
	return r < 0 ? r : check_extender(config, err);
}

struct stow_store_options scheduler_config_store(const struct scheduler_config *config)
{
	return (struct stow_store_options){
		.where = config->store,
		.dir = config->data,
		.power_loss = config->durability == POWER_LOSS,
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
