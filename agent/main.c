/* SPDX-License-Identifier: Apache-2.0 */
/* numastow-agent: one for each machine. See numastow-agent(8). This file creates the modules,
 * and passes to each one the other modules that it uses (agent/README.md). */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/config.h"
#include "agent/directive.h"
#include "agent/drain.h"
#include "agent/kubernetes/access.h"
#include "agent/kubernetes/dra.h"
#include "agent/kubernetes/kubernetes.h"
#include "agent/kubernetes/pods.h"
#include "agent/kubernetes/topology.h"
#include "agent/link.h"
#include "agent/local.h"
#include "agent/lock.h"
#include "agent/loop.h"
#include "agent/machine.h"
#include "agent/metrics.h"
#include "agent/policy.h"
#include "agent/probe.h"
#include "agent/publisher.h"
#include "agent/repin.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "cgroup/numa_own.h"
#include "grant/pods.h"
#include "rpc/log.h"
#include "rpc/metrics.h"
#include "rpc/signals.h"

/* From SIGTERM to the forced exit. Until then a running drain is undone as far as possible. */
#define GRACE	     (110 * STOW_SECOND)
#define LOCK_POLL_MS 200 /* while another agent has the lock */
#define HELP_COLUMN  30
#define TRIM_EVERY   (10 * STOW_SECOND)

enum { HELP, VERSION, CHECK };
static const char *const own[] = { "help", "version", "check-config", NULL };

/* In the order of creation; each module uses only those above it. The main thread owns this
 * struct and `config`. */
struct program {
	int argc;
	char **argv;
	char *sysroot;
	struct agent_config config;
	int signals;

	struct stow_root *root;
	int lock; /* STOW_AGENT_LOCK_PATH, held */
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_loop *loop;
	uint64_t next_trim;
	struct agent_machine *machine;
	struct agent_drains *drains;
	struct agent_repins *repins;
	struct stow_rpc_loop *rpc;
	struct agent_local *local;
	struct agent_probe *probe;
	struct agent_directive_parts directives;
	struct agent_link *link;
	struct agent_kubernetes *kubernetes; /* NULL: off */
	struct agent_dra *dra;		     /* NULL: off */
	struct agent_topology *topology;     /* NULL: off */
	struct agent_pods *pods;	     /* NULL: off */
	struct agent_metrics_parts metrics_parts;
	struct stow_metrics *metrics;
};

/* --- settings ------------------------------------------------------------- */

/* Remove --sysroot from the arguments: it is not a setting, but determines which file is read. */
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

/* Read the file, then the flags, which take precedence. */
static int read_config(const struct program *p, struct agent_config *config, bool *given,
		       struct stow_err *err)
{
	struct agent_config ignored;
	const char *path = NULL;
	char fallback[4200];
	int r;

	agent_config_defaults(&ignored);
	r = stow_settings_flags(agent_settings, &ignored, p->argc, p->argv, own, given, &path, err);
	agent_config_done(&ignored);
	agent_config_defaults(config);
	snprintf(fallback, sizeof(fallback), "%s%s", strcmp(p->sysroot, "/") == 0 ? "" : p->sysroot,
		 AGENT_CONFIG_PATH);
	if (r == 0)
		r = stow_settings_load(agent_settings, config, path ? path : fallback, !path, err);
	if (r == 0)
		r = stow_settings_flags(agent_settings, config, p->argc, p->argv, own, given, &path,
					err);
	if (r == 0)
		r = agent_config_finish(config, err);
	return r;
}

/* Compare two texts, of which NULL is the empty one. */
static bool differ(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") != 0;
}

/* Replace the settings, except for those that other modules have copied. */
static void replace_config(struct program *p, struct agent_config *fresh)
{
	struct agent_config old = p->config;

	if (strcmp(fresh->node, old.node) != 0 || strcmp(fresh->socket, old.socket) != 0 ||
	    strcmp(fresh->metrics, old.metrics) != 0 || differ(fresh->readers, old.readers) ||
	    fresh->kubernetes != old.kubernetes ||
	    fresh->node_resource_topology != old.node_resource_topology ||
	    fresh->list_attributes != old.list_attributes ||
	    fresh->binding_conditions != old.binding_conditions ||
	    differ(fresh->kubeconfig, old.kubeconfig) ||
	    differ(fresh->kubelet_folder, old.kubelet_folder) ||
	    differ(fresh->cdi_folder, old.cdi_folder) ||
	    differ(fresh->claims_hook, old.claims_hook) || differ(fresh->pod_uid, old.pod_uid))
		stow_log(STOW_LOG_WARNING,
			 "node, socket, readers, metrics and those of Kubernetes need a restart to "
			 "change");
	p->config = *fresh;
	p->config.node = old.node;
	p->config.socket = old.socket;
	p->config.metrics = old.metrics;
	old.node = fresh->node;
	old.socket = fresh->socket;
	old.metrics = fresh->metrics;
	agent_config_done(&old);
}

/* Apply all settings except sockets and names at once. The link reconnects with the new
 * certificates and schedulers. An invalid file changes nothing. */
static void reload(void *ctx)
{
	bool given[STOW_ARRAY_SIZE(own)] = { false };
	struct stow_config *placing = NULL;
	struct agent_config fresh = { 0 };
	struct program *p = ctx;
	struct stow_err err = { 0 };

	sd_notify(0, "RELOADING=1");
	if (read_config(p, &fresh, given, &err) < 0 ||
	    stow_config_read(p->root, &placing, &err) < 0 ||
	    agent_publisher_set_failure_domain(p->publisher, fresh.failure_domain, &err) < 0) {
		stow_log(STOW_LOG_ERR, "not reloaded", stow_why(&err));
		agent_policy_set_broken(p->policy, true);
		stow_config_free_ptr(&placing);
		agent_config_done(&fresh);
		sd_notify(0, "READY=1");
		return;
	}
	agent_link_redial(p->link);
	replace_config(p, &fresh);
	agent_policy_replace(p->policy, placing, &p->config);
	stow_log_configure(STOW_LOG_ERR + p->config.log_level, p->config.log_format);
	agent_machine_reloaded(p->machine);
	agent_policy_set_broken(p->policy, false);
	stow_log(STOW_LOG_NOTICE, "reloaded");
	sd_notify(0, "READY=1");
}

/* Options that are no settings, for --help. */
static const struct stow_setting other_options[] = {
	{ .name = "config", .arg = "FILE", .help = "settings (" AGENT_CONFIG_PATH ")" },
	{ .name = "check-config", .help = "check the settings and exit" },
	{ .name = "sysroot", .arg = "DIR", .help = "another machine's /sys, /proc, /run and /etc" },
	{ 0 },
};

static void print_help(void)
{
	printf("Usage: numastow-agent [OPTION]...\n"
	       "\n"
	       "Report the machine's NUMA nodes, and keep its placements in force.\n"
	       "\n");
	stow_settings_help(other_options, HELP_COLUMN, stdout);
	stow_settings_help(agent_settings, HELP_COLUMN, stdout);
	printf("  -h, --help\n"
	       "  -V, --version\n");
}

/* --- callbacks to modules that are created later -------------------------- */

static int add_drains(void *ctx, PbNodeReport *report)
{
	struct program *p = ctx;

	return agent_drain_report(p->drains, report);
}

static void recover_drains(void *ctx)
{
	struct program *p = ctx;

	agent_drain_recover(p->drains);
}

static void notify_scheduler(void *ctx, const PbDrainProgress *progress)
{
	struct program *p = ctx;

	if (p->link)
		agent_link_notify(p->link, progress);
}

static const struct agent_machine_ops machine_ops = { .report = add_drains,
						      .collected = recover_drains };

/* --- start and end -------------------------------------------------------- */

static int make_publisher(struct program *p, struct stow_err *err)
{
	struct agent_publisher_identity identity = { .node = p->config.node,
						     .failure_domain = p->config.failure_domain };
	char boot_id[64];

	if (stow_root_read_buf(p->root, boot_id, sizeof(boot_id), NULL,
			       "/proc/sys/kernel/random/boot_id") < 0)
		boot_id[0] = '\0';
	identity.boot_id = boot_id;
	return agent_publisher_new(&identity, &p->publisher, err);
}

/* Several threads read the whole ledger, sometimes at once. glibc keeps what they free below
 * allocations that last. */
static uint64_t trim(void *ctx, uint64_t now)
{
	struct program *p = ctx;

	if (now >= p->next_trim) {
		p->next_trim = now + TRIM_EVERY;
		(void)malloc_trim(0);
	}
	return p->next_trim;
}

static int start_machine(struct program *p, struct stow_err *err)
{
	struct agent_drain_parts parts = { .notify = notify_scheduler, .ctx = p };
	int r;

	r = agent_loop_new(&p->loop, err);
	if (r == 0)
		r = agent_loop_signals(p->loop, p->signals, reload, p, err);
	if (r == 0)
		r = agent_loop_tick(p->loop, trim, p, err);
	if (r == 0)
		r = agent_machine_new(p->policy, p->publisher, &p->config, &p->machine, err);
	if (r < 0)
		return r;
	parts.machine = p->machine;
	parts.policy = p->policy;
	parts.publisher = p->publisher;
	parts.loop = agent_loop_handle(p->loop);
	parts.evicts = p->config.kubernetes;
	r = agent_drain_new(&parts, &p->drains, err);
	/* The first report must exist before callers can connect. */
	return r == 0 ? agent_machine_start(p->machine, p->loop, &machine_ops, p, err) : r;
}

static int start_kubernetes(struct program *p, struct stow_err *err)
{
	struct agent_dra_parts dra = { .root = p->root,
				       .policy = p->policy,
				       .publisher = p->publisher,
				       .drains = agent_drain_table(p->drains),
				       .rpc = p->rpc,
				       .config = &p->config };
	int r = 0;

	if (p->config.node_resource_topology)
		r = agent_topology_new(p->root, p->policy, p->publisher, &p->config, &p->topology,
				       err);
	/* Without Kubernetes the next garbage collection gives kubelet's cgroups back. */
	if (r == 0 && !p->config.kubernetes && agent_policy_changes(p->policy) == STOW_CHANGES_MADE)
		r = stow_pods_set(p->root, false, err);
	if (r < 0 || !p->config.kubernetes)
		return r;
	/* First, so that no claim has exclusive CPUs before pods are kept off them. */
	r = agent_pods_new(p->root, p->policy, &p->pods, err);
	if (r < 0)
		return r;
	r = agent_kubernetes_new(p->root, p->policy, p->publisher, &p->config, &p->kubernetes, err);
	dra.kubernetes = p->kubernetes;
	return r == 0 ? agent_dra_new(&dra, &p->dra, err) : r;
}

static int start_services(struct program *p, struct stow_err *err)
{
	struct agent_local_parts local = { .root = p->root,
					   .policy = p->policy,
					   .publisher = p->publisher,
					   .drains = agent_drain_table(p->drains) };
	struct agent_link_parts link = { .root = p->root,
					 .publisher = p->publisher,
					 .config = &p->config,
					 .directives = &p->directives };
	int r;

	p->directives = (struct agent_directive_parts){ .machine = p->machine,
							.drains = p->drains,
							.policy = p->policy,
							.config = &p->config };
	r = agent_repin_new(p->policy, p->publisher, &p->repins, err);
	if (r == 0)
		r = stow_rpc_loop_new(1, &p->rpc, err);
	local.repins = p->repins;
	link.rpc = p->rpc;
	if (r == 0)
		r = agent_local_new(&p->config, p->rpc, &local, &p->local, err);
	if (r == 0)
		r = agent_probe_new(p->loop, p->rpc, agent_local_path(p->local), &p->probe, err);
	if (r == 0)
		r = agent_link_new(p->loop, &link, &p->link, err);
	return r == 0 ? start_kubernetes(p, err) : r;
}

static int start_metrics(struct program *p, struct stow_err *err)
{
	const struct stow_metrics_options options = {
		.address = p->config.metrics,
		.render = agent_metrics_render,
		.healthy = agent_metrics_is_healthy,
		.alive = agent_metrics_is_alive,
		.ctx = &p->metrics_parts,
	};
	int r;

	if (!p->config.metrics[0])
		return 0;
	p->metrics_parts = (struct agent_metrics_parts){ .policy = p->policy,
							 .publisher = p->publisher,
							 .drains = agent_drain_table(p->drains),
							 .local = p->local,
							 .link = p->link,
							 .kubernetes = p->kubernetes,
							 .dra = p->dra,
							 .topology = p->topology,
							 .signs = agent_probe_signs(p->probe) };
	r = stow_metrics_start(&options, &p->metrics, NULL, err);
	return r < 0 ? stow_err_wrap(err, r, "metrics") : 0;
}

/* Take the lock. In a pod wait for it: a rolling update that surges ends the old pod only when the
 * new one runs. Return 1 when a signal ends the program meanwhile. */
static int take_lock(struct program *p, struct stow_err *err)
{
	struct pollfd signals = { .fd = p->signals, .events = POLLIN };
	struct stow_err why = { 0 };
	int number;

	for (bool waits = false;; waits = true) {
		p->lock = agent_lock_take(p->root, p->config.node, &why);
		if (p->lock >= 0)
			return 0;
		if (p->lock != -EBUSY || !p->config.pod_uid)
			return stow_err_set(err, -p->lock, "%s", why.msg);
		if (!waits)
			stow_log(STOW_LOG_NOTICE, "waiting until the other agent ends",
				 stow_text("reason", why.msg));
		(void)poll(&signals, 1, LOCK_POLL_MS);
		number = stow_signals_next(p->signals);
		if (number && number != SIGHUP)
			return 1;
	}
}

/* Warn where repins and drains by this program cannot use all NUMA nodes. */
static void check_mems(struct stow_root *root)
{
	struct stow_err why = { 0 };

	if (stow_own_mems_check(root, NULL, &why) < 0)
		stow_log(STOW_LOG_WARNING, "repins and drains cannot use all NUMA nodes",
			 stow_why(&why));
}

/* Start all modules. After a failure, or when it returns 1 because a signal has ended the program,
 * the caller calls stop(). */
static int start(struct program *p, struct stow_err *err)
{
	int r;

	p->signals = stow_signals_open(GRACE, err);
	if (p->signals < 0)
		return p->signals;
	r = stow_root_open(p->sysroot, &p->root, err);
	if (r < 0)
		return r;
	r = take_lock(p, err);
	if (r != 0)
		return r;
	check_mems(p->root);
	r = agent_policy_new(p->root, &p->config, &p->policy, err);
	if (r == 0)
		r = make_publisher(p, err);
	if (r == 0)
		r = start_machine(p, err);
	if (r == 0)
		r = start_services(p, err);
	return r == 0 ? start_metrics(p, err) : r;
}

/* Stop and free all modules. Return true, without freeing, when a drain is still running; then
 * the process must exit. */
static bool stop(struct program *p)
{
	bool left;

	stow_metrics_stop(p->metrics);
	agent_dra_close(p->dra); /* first, so that kubelet makes no more calls */
	agent_pods_free(p->pods);
	left = agent_drain_stop(p->drains);
	if (!left)
		agent_dra_free(p->dra);
	agent_kubernetes_free(p->kubernetes);
	agent_topology_free(p->topology);
	if (p->loop)
		agent_loop_run_tasks(p->loop); /* sends the outcomes, if there is time */
	agent_link_stop(p->link);
	agent_probe_free(p->probe);
	if (p->repins)
		agent_repin_cancel_all(p->repins);
	agent_local_free(p->local);
	if (left)
		return true;
	if (p->loop)
		agent_loop_run_tasks(p->loop); /* free what was posted meanwhile */
	agent_link_free(p->link);
	agent_repin_free(p->repins);
	agent_drain_free(p->drains);
	agent_machine_free(p->machine);
	agent_publisher_free(p->publisher); /* before the gRPC loop of its subscribers' calls */
	stow_rpc_loop_free(p->rpc);
	agent_loop_free(p->loop);
	agent_policy_free(p->policy);
	stow_close_ptr(&p->lock);
	stow_root_free_ptr(&p->root);
	stow_close_ptr(&p->signals);
	return false;
}

static int fail(const struct stow_err *err)
{
	fprintf(stderr, "numastow-agent: %s\n", err->msg);
	return 1;
}

/* --check-config also reads the files that the settings name. */
static int check(const char *sysroot, const struct agent_config *config)
{
	struct stow_rpc_tls tls = { config->certificate, config->key, config->ca };
	struct stow_err err = { 0 };
	gid_t readers;

	if (agent_local_find_readers(config->readers, &readers, &err) < 0)
		return fail(&err) + 1;
	if (config->ca && stow_rpc_tls_check_valid(&tls, NULL, &err) < 0)
		return fail(&err) + 1;
	if ((config->kubernetes || config->node_resource_topology) &&
	    agent_access_check(sysroot, config, &err) < 0)
		return fail(&err) + 1;
	printf("the settings are fine\n");
	return 0;
}

static int run(struct program *p)
{
	struct stow_err err = { 0 };
	int r = start(p, &err);

	if (r == 0) {
		stow_log(STOW_LOG_NOTICE, "numastow-agent is ready",
			 stow_text("node", p->config.node), stow_text("version", STOW_VERSION),
			 stow_number("numa_nodes", agent_machine_report(p->machine)->n_numa_nodes));
		sd_notify(0, "READY=1");
		r = agent_loop_run(p->loop, &err);
		sd_notify(0, "STOPPING=1");
		stow_log(STOW_LOG_NOTICE, "stopping; containers stay as they are");
	}
	if (stop(p))
		_exit(r < 0 ? 1 : 0);
	return r < 0 ? fail(&err) : 0;
}

int main(int argc, char **argv)
{
	struct program p = { .signals = -1, .lock = -1 };
	bool given[STOW_ARRAY_SIZE(own)] = { false };
	struct stow_err err = { 0 };
	int r;

	p.sysroot = strdup(take_sysroot(&argc, argv));
	p.argc = argc;
	p.argv = argv;
	r = read_config(&p, &p.config, given, &err);
	if (given[HELP]) {
		print_help();
		r = 0;
	} else if (given[VERSION]) {
		printf("numastow-agent %s\n", STOW_VERSION);
		r = 0;
	} else if (r < 0) {
		r = fail(&err) + 1; /* 2: a usage error */
	} else if (given[CHECK]) {
		r = check(p.sysroot, &p.config);
	} else {
		stow_log_configure(STOW_LOG_ERR + p.config.log_level, p.config.log_format);
		/* glibc gives threads arenas of their own, which keep what calls once needed:
		 * after 200 claims 25 MiB instead of 6. Calls are too few to wait for one. */
		(void)mallopt(M_ARENA_MAX, 1);
		/* Otherwise glibc raises it with each large array that is freed, and keeps as much.
		 */
		(void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
		r = run(&p);
	}
	agent_config_done(&p.config);
	free(p.sysroot);
	return r;
}
