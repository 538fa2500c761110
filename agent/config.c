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

#define AT(field) offsetof(struct agent_config, field)
#define MS	  STOW_MILLISECOND
#define S	  STOW_SECOND

static const char *const modes[] = { "enforce", "observe", NULL };
static const char *const formats[] = { "text", "json", NULL };

const struct stow_setting agent_settings[] = {
	{ "node", STOW_SETTING_TEXT, AT(node), 0, 0, NULL, "NAME",
	  "what this machine is called (the host name)" },
	{ "failure-domain", STOW_SETTING_TEXT, AT(failure_domain), 0, 0, NULL, "NAME",
	  "the rack, row or zone that fails as one" },
	{ "scheduler", STOW_SETTING_LIST, AT(schedulers), 0, 0, NULL, "ADDRESS,...",
	  "schedulers to report to; the active one is found (none)" },
	{ "ca", STOW_SETTING_TEXT, AT(ca), 0, 0, NULL, "FILE", "CA certificates, PEM" },
	{ "certificate", STOW_SETTING_TEXT, AT(certificate), 0, 0, NULL, "FILE",
	  "this machine's certificate, PEM" },
	{ "key", STOW_SETTING_TEXT, AT(key), 0, 0, NULL, "FILE", "its private key, PEM" },
	{ "server-name", STOW_SETTING_TEXT, AT(server_name), 0, 0, NULL, "NAME",
	  "what a scheduler's certificate must say (its address)" },
	{ "socket", STOW_SETTING_TEXT, AT(socket), 0, 0, NULL, "PATH",
	  "local socket (" AGENT_SOCKET_PATH ")" },
	{ "readers", STOW_SETTING_TEXT, AT(readers), 0, 0, NULL, "GROUP",
	  "group that may list containers, beside root" },
	{ "metrics", STOW_SETTING_TEXT, AT(metrics), 0, 0, NULL, "ADDRESS",
	  "Prometheus metrics and /healthz; \"\" for none (127.0.0.1:7201)" },
	{ "log-level", STOW_SETTING_TEXT, AT(log_level), 0, 0, NULL, "LEVEL",
	  "error, warning, notice, info or debug (info)" },
	{ "log-format", STOW_SETTING_WORD, AT(log_format), 0, 0, formats, "FORMAT",
	  "text or json (text)" },
	{ "mode", STOW_SETTING_WORD, AT(mode), 0, 0, modes, "MODE",
	  "enforce, or observe: say what would be done (enforce)" },
	{ "poll-interval", STOW_SETTING_DURATION, AT(poll_interval), 100 * MS, 60 * S, NULL, "TIME",
	  "between looks at hugepage pools and free memory (1s)" },
	{ "reconcile-interval", STOW_SETTING_DURATION, AT(reconcile_interval), 100 * MS, 3600 * S,
	  NULL, "TIME", "between looks at containers' CPU sets (1s)" },
	{ "usage-interval", STOW_SETTING_DURATION, AT(usage_interval), S, 3600 * S, NULL, "TIME",
	  "between looks at what containers use (10s)" },
	{ "gc-interval", STOW_SETTING_DURATION, AT(gc_interval), S, 3600 * S, NULL, "TIME",
	  "between collections of what ended containers left (30s)" },
	{ "memory-step", STOW_SETTING_SIZE, AT(memory_step), 0, 0, NULL, "SIZE",
	  "free memory is reported when it differs by this (64Mi)" },
	{ "max-reservations", STOW_SETTING_NUMBER, AT(max_reservations), 0, 1000000, NULL, "N",
	  "reservations that schedulers may hold here (1000)" },
	{ "max-fenced", STOW_SETTING_NUMBER, AT(max_fenced), 0, 100, NULL, "PERCENT",
	  "of the NUMA nodes, that schedulers may fence (100)" },
	{ "repin-batch", STOW_SETTING_SIZE, AT(repin_batch), 0, UINT64_C(1) << 40, NULL, "SIZE",
	  "moved between two pauses of a repin; 0: what takes 100ms (0)" },
	{ "repin-pause", STOW_SETTING_DURATION, AT(repin_pause), 0, 10 * S, NULL, "TIME",
	  "between two batches of a repin (1ms)" },
	{ "max-drain", STOW_SETTING_NUMBER, AT(max_drain), 0, 100, NULL, "PERCENT",
	  "of the memory, that schedulers may have off at a time (50)" },
	{ "drain-rate", STOW_SETTING_SIZE, AT(drain_rate), 0, UINT64_C(1) << 50, NULL, "SIZE",
	  "drained per second; 0: as fast as it goes (0)" },
	{ "drain-block-timeout", STOW_SETTING_DURATION, AT(drain_block_timeout), S / 10, 3600 * S,
	  NULL, "TIME", "for one memory block to go offline (10s)" },
	{ "drain-timeout", STOW_SETTING_DURATION, AT(drain_timeout), S, 86400 * S, NULL, "TIME",
	  "for a drain, without the wait for removal (10m)" },
	{ "removal-timeout", STOW_SETTING_DURATION, AT(removal_timeout), S, 86400 * S, NULL, "TIME",
	  "for the memory to be pulled once it is offline (5m)" },
	STOW_RPC_LIMIT_SETTINGS(AT(limits), "1024", "2048"),
	{ 0 },
};

void agent_config_defaults(struct agent_config *config)
{
	*config = (struct agent_config){
		.socket = strdup(AGENT_SOCKET_PATH),
		.metrics = strdup("127.0.0.1:7201"),
		.failure_domain = strdup(""),
		.log_level = strdup("info"),
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
	int tls = !!config->ca + !!config->certificate + !!config->key;
	struct sockaddr_storage address;
	char target[300];
	enum stow_log_level level;
	socklen_t len;
	int r = 0;

	if (!config->node)
		r = host_name(&config->node, err);
	if (r == 0)
		r = check_name(config->node, err);
	if (r < 0)
		return r;
	if (tls != 0 && tls != 3)
		return stow_err_set(err, EINVAL,
				    "%s: missing; ca, certificate and key belong together",
				    !config->ca		   ? "ca"
				    : !config->certificate ? "certificate"
							   : "key");
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
	r = stow_log_level_parse(config->log_level, &level, err);
	if (r < 0)
		return stow_err_wrap(err, r, "log-level");
	return 0;
}

void agent_config_done(struct agent_config *config)
{
	stow_settings_done(agent_settings, config);
}
