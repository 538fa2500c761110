/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "place/request.h"
#include "rpc/address.h"
#include "rpc/log.h"
#include "rpc/rpc.h"

#define AT(field) offsetof(struct agent_config, field)
#define MS	  STOW_MILLISECOND
#define S	  STOW_SECOND

static const char *const modes[] = { "enforce", "observe", NULL };

const struct stow_setting agent_settings[] = {
	{ "node", STOW_SETTING_TEXT, AT(node), 0, 0, NULL, "NAME",
	  "name of this machine (the host name)" },
	{ "failure-domain", STOW_SETTING_TEXT, AT(failure_domain), 0, 0, NULL, "NAME",
	  "rack, row or zone of machines that fail together" },
	{ "scheduler", STOW_SETTING_LIST, AT(schedulers), 0, 0, NULL, "ADDRESS,...",
	  "schedulers to report to (none)" },
	{ "ca", STOW_SETTING_TEXT, AT(ca), 0, 0, NULL, "FILE", "CA certificates, PEM" },
	{ "certificate", STOW_SETTING_TEXT, AT(certificate), 0, 0, NULL, "FILE",
	  "this machine's certificate, PEM" },
	{ "key", STOW_SETTING_TEXT, AT(key), 0, 0, NULL, "FILE", "its private key, PEM" },
	{ "server-name", STOW_SETTING_TEXT, AT(server_name), 0, 0, NULL, "NAME",
	  "name in a scheduler's certificate (its address)" },
	{ "socket", STOW_SETTING_TEXT, AT(socket), 0, 0, NULL, "PATH",
	  "local socket (" AGENT_SOCKET_PATH ")" },
	{ "readers", STOW_SETTING_TEXT, AT(readers), 0, 0, NULL, "GROUP",
	  "group that may list containers, like root" },
	{ "metrics", STOW_SETTING_TEXT, AT(metrics), 0, 0, NULL, "ADDRESS",
	  "Prometheus metrics, /healthz and /livez; \"\" for none (127.0.0.1:7201)" },
	STOW_LOG_SETTINGS(AT(log_level), AT(log_format)),
	{ "mode", STOW_SETTING_WORD, AT(mode), 0, 0, modes, "MODE",
	  "enforce, or observe: only log what would be done (enforce)" },
	{ "poll-interval", STOW_SETTING_DURATION, AT(poll_interval), 100 * MS, 60 * S, NULL, "TIME",
	  "how often to check hugepage pools and free memory (1s)" },
	{ "reconcile-interval", STOW_SETTING_DURATION, AT(reconcile_interval), 100 * MS, 3600 * S,
	  NULL, "TIME", "how often to check containers' CPU sets (1s)" },
	{ "usage-interval", STOW_SETTING_DURATION, AT(usage_interval), S, 3600 * S, NULL, "TIME",
	  "how often to measure what containers use (10s)" },
	{ "gc-interval", STOW_SETTING_DURATION, AT(gc_interval), S, 3600 * S, NULL, "TIME",
	  "how often to reclaim what ended containers left (30s)" },
	{ "memory-step", STOW_SETTING_SIZE, AT(memory_step), 0, 0, NULL, "SIZE",
	  "smallest change of free memory to report (64Mi)" },
	{ "max-reservations", STOW_SETTING_NUMBER, AT(max_reservations), 0, 1000000, NULL, "N",
	  "reservations that schedulers may hold here (1000)" },
	{ "max-fenced", STOW_SETTING_NUMBER, AT(max_fenced), 0, 100, NULL, "PERCENT",
	  "NUMA nodes that schedulers may fence (100)" },
	{ "repin-batch", STOW_SETTING_SIZE, AT(repin_batch), 0, UINT64_C(1) << 40, NULL, "SIZE",
	  "how much a repin moves between pauses; 0: about 100ms (0)" },
	{ "repin-pause", STOW_SETTING_DURATION, AT(repin_pause), 0, 10 * S, NULL, "TIME",
	  "pause between two batches of a repin (1ms)" },
	{ "max-drain", STOW_SETTING_NUMBER, AT(max_drain), 0, 100, NULL, "PERCENT",
	  "memory that schedulers may have offline at a time (50)" },
	{ "drain-rate", STOW_SETTING_SIZE, AT(drain_rate), 0, UINT64_C(1) << 50, NULL, "SIZE",
	  "drained per second; 0: no limit (0)" },
	{ "drain-block-timeout", STOW_SETTING_DURATION, AT(drain_block_timeout), S / 10, 3600 * S,
	  NULL, "TIME", "limit for one memory block to go offline (10s)" },
	{ "drain-timeout", STOW_SETTING_DURATION, AT(drain_timeout), S, 86400 * S, NULL, "TIME",
	  "limit for a drain, without the wait for removal (10m)" },
	{ "removal-timeout", STOW_SETTING_DURATION, AT(removal_timeout), S, 86400 * S, NULL, "TIME",
	  "limit for the removal of offline memory (5m)" },
	{ "kubernetes", STOW_SETTING_SWITCH, AT(kubernetes), 0, 0, NULL, NULL,
	  "publish NUMA nodes to Kubernetes as devices (false)" },
	{ "node-resource-topology", STOW_SETTING_SWITCH, AT(node_resource_topology), 0, 0, NULL,
	  NULL, "publish a NodeResourceTopology object (false)" },
	{ "kubeconfig", STOW_SETTING_TEXT, AT(kubeconfig), 1, 0, NULL, "FILE",
	  "kubeconfig for the API server (the pod's service account)" },
	{ "list-attributes", STOW_SETTING_SWITCH, AT(list_attributes), 0, 0, NULL, NULL,
	  "publish PCIe roots; needs the gate DRAListTypeAttributes (false)" },
	{ "binding-conditions", STOW_SETTING_SWITCH, AT(binding_conditions), 0, 0, NULL, NULL,
	  "prepare claims before their pods are bound (false)" },
	{ "kubelet-folder", STOW_SETTING_TEXT, AT(kubelet_folder), 1, 0, NULL, "PATH",
	  "kubelet's folder (" AGENT_KUBELET_FOLDER ")" },
	{ "cdi-folder", STOW_SETTING_TEXT, AT(cdi_folder), 1, 0, NULL, "PATH",
	  "for the CDI files of claims (" AGENT_CDI_FOLDER ")" },
	{ "claims-hook", STOW_SETTING_TEXT, AT(claims_hook), 1, 0, NULL, "PATH",
	  "numastow-hook on the machine, for claims (as installed)" },
	{ "pod-uid", STOW_SETTING_TEXT, AT(pod_uid), 1, 36, NULL, "UID",
	  "of the agent's own pod, to tell its sockets apart (none)" },
	STOW_RPC_LIMIT_SETTINGS(AT(limits), "1024", "2048", "128", "96Mi", "48Mi"),
	{ 0 },
};

void agent_config_defaults(struct agent_config *config)
{
	*config = (struct agent_config){
		.socket = strdup(AGENT_SOCKET_PATH),
		.metrics = strdup("127.0.0.1:7201"),
		.failure_domain = strdup(""),
		.kubelet_folder = strdup(AGENT_KUBELET_FOLDER),
		.cdi_folder = strdup(AGENT_CDI_FOLDER),
		.log_level = STOW_LOG_LEVEL_DEFAULT,
		.poll_interval = S,
		.reconcile_interval = S,
		.usage_interval = 10 * S,
		.gc_interval = 30 * S,
		.memory_step = UINT64_C(64) << 20,
		.max_reservations = 1000,
		.max_fenced = 100,
		.repin_pause = MS,
		.max_drain = 50,
		.drain_block_timeout = 10 * S,
		.drain_timeout = 600 * S,
		.removal_timeout = 300 * S,
	};
	stow_rpc_limits_defaults(&config->limits, 1024);
	/* All that peers may cause is less than MemoryMax= of the unit (docs/security.md). */
	config->limits.max_receiving_total = 96 << 20;
	config->limits.max_queued_total = 48 << 20;
	config->limits.connection_age = 0; /* what the kernel says of a process stays true */
}

/* A DNS subdomain name, as Kubernetes names nodes: it becomes part of annotations. */
static int check_name(const char *name, struct stow_err *err)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) &&
		    (!strchr("-.", name[i]) || i == 0 || i == len - 1))
			len = 0;
	if (len == 0 || len > STOW_NAME_MAX)
		return stow_err_set(err, EINVAL,
				    "node: \"%.64s\" is not a name of lower-case letters, digits, "
				    "\"-\" and \".\"",
				    name);
	return 0;
}

static int host_name(char **ret, struct stow_err *err)
{
	char name[256] = "";

	if (gethostname(name, sizeof(name) - 1) < 0)
		return stow_err_sys(err, errno, "node: cannot read the host name");
	for (char *p = name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	*ret = strdup(name);
	return *ret ? 0 : stow_err_set(err, ENOMEM, "out of memory");
}

int agent_config_finish(struct agent_config *config, struct stow_err *err)
{
	const struct stow_rpc_tls tls = { config->certificate, config->key, config->ca };
	struct sockaddr_storage address;
	char target[300];
	socklen_t len;
	int r = 0;

	if (!config->node)
		r = host_name(&config->node, err);
	if (r == 0)
		r = check_name(config->node, err);
	if (r == 0)
		r = stow_rpc_tls_given(&tls, err);
	if (r < 0)
		return r;
	for (size_t i = 0; config->schedulers && config->schedulers[i]; i++) {
		r = stow_target_complete(config->schedulers[i], AGENT_SCHEDULER_PORT, target,
					 sizeof(target), err);
		if (r < 0)
			return stow_err_wrap(err, r, "scheduler");
	}
	if (config->metrics[0]) {
		r = stow_address_parse(config->metrics, &address, &len, err);
		if (r < 0)
			return stow_err_wrap(err, r, "metrics");
	}
	return 0;
}

void agent_config_done(struct agent_config *config)
{
	stow_settings_done(agent_settings, config);
}
