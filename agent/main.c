/* SPDX-License-Identifier: Apache-2.0 */
/* numastow-agent: one for each machine. See numastow-agent(8). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/link.h"
#include "agent/local.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/metrics.h"
#include "rpc/say.h"
#include "rpc/signals.h"

/* From SIGTERM to the end, whatever it is at: a drain is taken back before, as far as it can be. */
#define GRACE (110 * STOW_SECOND)

enum { HELP, VERSION, CHECK };
static const char *const own[] = { "help", "version", "check-config", NULL };

static struct {
	int argc;
	char **argv;
	char *sysroot;
} start = { .sysroot = NULL };

/* --sysroot is no setting of the file: it says which file. Takes it out of the arguments. */
static const char *take_sysroot(int *argc, char **argv)
{
	const char *found = "/";
	int kept = 1;

	for (int i = 1; i < *argc; i++) {
		if (strcmp(argv[i], "--sysroot") == 0 && i + 1 < *argc)
			found = argv[++i];
		else if (strncmp(argv[i], "--sysroot=", 10) == 0)
			found = argv[i] + 10;
		else
			argv[kept++] = argv[i];
	}
	*argc = kept;
	argv[kept] = NULL;
	return found;
}

/* The file, then the flags, which win. */
static int read_config(struct agent_config *config, bool *given, struct stow_err *err)
{
	struct agent_config ignored;
	const char *path = NULL;
	char fallback[4200];
	int r;

	agent_config_defaults(&ignored);
	r = stow_settings_flags(agent_settings, &ignored, start.argc, start.argv, own, given, &path,
				err);
	agent_config_done(&ignored);
	agent_config_defaults(config);
	snprintf(fallback, sizeof(fallback), "%s%s",
		 strcmp(start.sysroot, "/") == 0 ? "" : start.sysroot, AGENT_CONFIG_PATH);
	if (r == 0)
		r = stow_settings_load(agent_settings, config, path ? path : fallback, !path, err);
	if (r == 0)
		r = stow_settings_flags(agent_settings, config, start.argc, start.argv, own, given,
					&path, err);
	if (r == 0)
		r = agent_config_finish(config, err);
	return r;
}

static void configure_log(const struct agent_config *config)
{
	enum stow_log_level level = STOW_LOG_INFO;

	(void)stow_say_level_parse(config->log_level, &level, NULL);
	stow_say_configure(level, (enum stow_say_format)config->log_format);
}

/* Everything that has no socket or name in it is taken over at once; the link dials again, with
 * whatever certificates and schedulers there are now. A bad file changes nothing. */
static void reload(struct agent *agent)
{
	struct stow_config *policy = NULL;
	struct agent_config fresh = { 0 }, old;
	bool given[STOW_ARRAY_SIZE(own)] = { false };
	struct stow_err err = { 0 };

	sd_notify(0, "RELOADING=1");
	if (read_config(&fresh, given, &err) < 0 ||
	    stow_config_read(agent->root, &policy, &err) < 0) {
		stow_say(STOW_LOG_ERR, "not reloaded", stow_why(&err));
		atomic_store(&agent->config_error, true);
		agent_config_done(&fresh);
		sd_notify(0, "READY=1");
		return;
	}
	if (strcmp(fresh.node, agent->config.node) != 0 ||
	    strcmp(fresh.socket, agent->config.socket) != 0 ||
	    strcmp(fresh.metrics, agent->config.metrics) != 0 ||
	    strcmp(fresh.readers ? fresh.readers : "",
		   agent->config.readers ? agent->config.readers : "") != 0)
		stow_say(STOW_LOG_WARNING,
			 "node, socket, readers and metrics need a restart to change");
	if (agent->link)
		agent_link_free(agent->link);
	agent->link = NULL;
	pthread_mutex_lock(&agent->lock);
	old = agent->config;
	agent->config = fresh;
	/* These are in use by others. */
	agent->config.node = old.node;
	agent->config.socket = old.socket;
	agent->config.metrics = old.metrics;
	old.node = fresh.node;
	old.socket = fresh.socket;
	old.metrics = fresh.metrics;
	pthread_mutex_unlock(&agent->lock);
	agent_set_policy(agent, policy);
	agent_config_done(&old);
	configure_log(&agent->config);
	if (agent->config.schedulers && agent->config.schedulers[0] &&
	    agent_link_new(agent, &agent->link, &err) < 0)
		stow_say(STOW_LOG_ERR, "cannot dial", stow_why(&err));
	agent_look(agent, AGENT_LOOK_ALL);
	atomic_store(&agent->config_error, false);
	stow_say(STOW_LOG_NOTICE, "reloaded");
	sd_notify(0, "READY=1");
}

static void print_help(void)
{
	printf("Usage: numastow-agent [OPTION]...\n"
	       "\n"
	       "Reports what the machine's NUMA nodes have, keeps what was given true.\n"
	       "\n");
	printf("  %-34s %s\n", "--config FILE", "settings (" AGENT_CONFIG_PATH ")");
	printf("  %-34s %s\n", "--check-config", "check them and end");
	printf("  %-34s %s\n", "--sysroot DIR", "another machine's /sys, /proc, /run and /etc");
	stow_settings_help(agent_settings, stdout);
	printf("  %-34s %s\n", "--help, --version", "");
}

static int fail(const struct stow_err *err)
{
	fprintf(stderr, "numastow-agent: %s\n", err->msg);
	return 1;
}

/* --check-config: the files that the settings name are read as well. */
static int check(const struct agent_config *config)
{
	struct stow_rpc_tls tls = { config->certificate, config->key, config->ca };
	struct stow_err err = { 0 };
	gid_t readers;

	if (agent_find_readers(config->readers, &readers, &err) < 0)
		return fail(&err) + 1;
	if (config->ca && stow_rpc_tls_check(&tls, &err) < 0)
		return fail(&err) + 1;
	printf("the settings are fine\n");
	return 0;
}

static int run(struct agent *agent)
{
	struct stow_metrics *metrics = NULL;
	struct stow_err err = { 0 };
	int signals = stow_signals_open(GRACE, &err), r;

	r = signals < 0 ? signals : agent_start(agent, start.sysroot, &err);
	if (r == 0 && agent->config.metrics[0]) {
		r = stow_metrics_start(agent->config.metrics, agent_render_metrics,
				       agent_is_healthy, agent, &metrics, NULL, &err);
		if (r < 0)
			r = stow_err_wrap(&err, r, "metrics");
	}
	if (r == 0) {
		stow_say(STOW_LOG_NOTICE, "numastow-agent is ready",
			 stow_text("node", agent->config.node), stow_text("version", STOW_VERSION),
			 stow_number("numa_nodes", agent->current->n_numa_nodes));
		sd_notify(0, "READY=1");
		agent_run(agent, signals, reload);
		sd_notify(0, "STOPPING=1");
		stow_say(STOW_LOG_NOTICE, "stopping; containers stay as they are");
	}
	stow_metrics_stop(metrics);
	agent_stop(agent);
	if (agent->left)
		_exit(r < 0 ? 1 : 0);
	if (signals >= 0)
		close(signals);
	return r < 0 ? fail(&err) : 0;
}

int main(int argc, char **argv)
{
	struct agent agent = { 0 };
	bool given[STOW_ARRAY_SIZE(own)] = { false };
	struct stow_err err = { 0 };
	int r;

	start.sysroot = strdup(take_sysroot(&argc, argv));
	start.argc = argc;
	start.argv = argv;
	r = read_config(&agent.config, given, &err);
	if (given[HELP]) {
		print_help();
		r = 0;
	} else if (given[VERSION]) {
		printf("numastow-agent %s\n", STOW_VERSION);
		r = 0;
	} else if (r < 0) {
		r = fail(&err) + 1; /* 2: a mistake of the caller's */
	} else if (given[CHECK]) {
		r = check(&agent.config);
	} else {
		configure_log(&agent.config);
		r = run(&agent);
	}
	agent_config_done(&agent.config);
	free(start.sysroot);
	return r;
}
