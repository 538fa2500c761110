/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The scheduler's settings: /etc/numastow/scheduler.yaml and flags, see numastow-scheduler.yaml(5).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "rpc/limits.h"
#include "rpc/settings.h"
#include "scheduler/store/store.h"

#define SCHEDULER_CONFIG_PATH  "/etc/numastow/scheduler.yaml"
#define SCHEDULER_WEBHOOKS_MAX 16

struct scheduler_config {
	char *listen;
	char *ca, *certificate, *key;
	bool insecure; /* without TLS beyond loopback */
	char **roles;  /* "NAME=ROLE": a certificate's name, and what it may */
	char *data;    /* directory of the store, where that is not set */
	char *store;   /* "sqlite:DIR", "etcd:URL,..." */
	char *store_ca, *store_certificate, *store_key; /* files, for etcd */
	char *store_prefix;
	uint64_t store_lease; /* ns */
	int durability;	      /* 0: crash, 1: power-loss */
	char *metrics;
	int log_level, log_format; /* stow_log_levels, enum stow_log_format */
	int strategy;		   /* 0: tight, 1: spread */
	uint64_t stale_after;	   /* ns */
	uint64_t forget_after;	   /* ns; 0: never */
	uint64_t max_reports;	   /* a second, of one node */
	uint64_t lifetime;	   /* ns of a reservation that nobody takes */
	uint64_t confirm_within;   /* ns */
	uint64_t remember;	   /* ns that answers are kept for callers who ask again */
	uint64_t threads;
	uint64_t max_drains, max_drains_per_domain; /* at a time */
	uint64_t drain_wait;			    /* ns for reservations on what is fenced */
	char **webhooks;			    /* URLs */
	char *webhook_secret, *webhook_ca;	    /* files */
	uint64_t webhook_timeout, webhook_retry, webhook_expire; /* ns */
	char *admission; /* address of the admission webhook, or NULL */
	char *admission_certificate, *admission_key, *admission_ca; /* files */
	char *extender, *extender_ca; /* address of kube-scheduler's extender, or NULL; file */
	bool kubernetes;	      /* run its controllers */
	char *kubeconfig, *lease_namespace;
	uint64_t prepare_deadline, unused_templates; /* ns */
	struct stow_rpc_limits limits;		     /* of who connects */
};

extern const struct stow_setting scheduler_settings[];

void scheduler_config_defaults(struct scheduler_config *config);
int scheduler_config_finish(const struct scheduler_config *config, struct stow_err *err);
/* Points into the settings. */
struct stow_store_options scheduler_config_store(const struct scheduler_config *config);
void scheduler_config_done(struct scheduler_config *config);
