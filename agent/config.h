/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The agent's settings: /etc/numastow/agent.yaml and flags, see numastow-agent.yaml(5). What may be
 * placed and what is kept back is not here but in config.yaml, which the hook reads too. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "rpc/limits.h"
#include "rpc/settings.h"

#define AGENT_SCHEDULER_PORT 7200 /* of a scheduler whose address has none */
#define AGENT_CONFIG_PATH    "/etc/numastow/agent.yaml"
#define AGENT_SOCKET_PATH    "/run/numastow/agent.sock"
#define AGENT_KUBELET_FOLDER "/var/lib/kubelet"
#define AGENT_CDI_FOLDER     "/var/run/cdi"

enum agent_mode { AGENT_ENFORCE, AGENT_OBSERVE };

struct agent_config {
	char *node; /* the machine's name; NULL until agent_config_finish(): the host name */
	char *failure_domain;	      /* "" for none */
	char **schedulers;	      /* addresses; NULL: none, the agent works alone */
	char *ca, *certificate, *key; /* PEM files; all or none */
	char *server_name;	      /* in the schedulers' certificate; NULL: the address' host */
	char *socket;
	char *readers;		     /* group that may list containers; NULL: root only */
	char *metrics;		     /* address, "" for none */
	int log_level, log_format;   /* stow_log_levels, enum stow_log_format */
	int mode;		     /* enum agent_mode */
	uint64_t poll_interval;	     /* ns: hugepage pools, free memory */
	uint64_t reconcile_interval; /* ns */
	uint64_t usage_interval;     /* ns: what containers use */
	uint64_t gc_interval;	     /* ns */
	uint64_t memory_step;	     /* bytes that free memory must differ by to be reported */
	uint64_t max_reservations;   /* leases of a scheduler's at a time */
	uint64_t max_fenced;	     /* percent of the NUMA nodes that a scheduler may fence */
	uint64_t repin_batch;	     /* bytes; 0: by time */
	uint64_t repin_pause;	     /* ns */
	uint64_t max_drain;  /* percent of the memory that schedulers may have off at a time */
	uint64_t drain_rate; /* bytes a second; 0: any */
	uint64_t drain_block_timeout;  /* ns */
	uint64_t drain_timeout;	       /* ns */
	uint64_t removal_timeout;      /* ns */
	bool kubernetes;	       /* publish to the API server */
	bool node_resource_topology;   /* publish a NodeResourceTopology object */
	char *kubeconfig;	       /* NULL: the pod's service account */
	bool list_attributes;	       /* publish attributes that are lists */
	bool binding_conditions;       /* prepare claims before their pods are bound */
	char *kubelet_folder;	       /* kubelet's --root-dir */
	char *cdi_folder;	       /* where the runtime looks for CDI files */
	char *claims_hook;	       /* numastow-hook's path on the machine; NULL: as installed */
	char *pod_uid;		       /* of the agent's pod; NULL: it is in none */
	struct stow_rpc_limits limits; /* of the socket's peers */
};

extern const struct stow_setting agent_settings[];

void agent_config_defaults(struct agent_config *config);
/* Check the settings together, and fill in the host name. */
int agent_config_finish(struct agent_config *config, struct stow_err *err);
void agent_config_done(struct agent_config *config);
