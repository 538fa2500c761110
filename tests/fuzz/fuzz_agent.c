// SPDX-License-Identifier: Apache-2.0
/*
 * An agent on a copied tree: a scheduler's directives, and what comes over the local socket. What
 * it reports after that, a scheduler must be able to read.
 */
#include "fuzz.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#include "agent/directive.h"
#include "agent/drain_internal.h"
#include "agent/local.h"
#include "agent/repin.h"
#include "grant/lease.h"
#include "program.h"
#include "rpc/log.h"
#include "scheduler/fleet/report.h"

enum { DIRECTIVE, REPIN, EXPLAIN, LIST, DRAIN, LIST_DRAINS, CANCEL_DRAIN, SHOW, WATCH, KINDS };

#define MEMORY "/sys/devices/system/memory"

static struct {
	struct agent_config config;
	struct stow_root *root;
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_loop *loop;
	struct agent_machine *machine;
	struct agent_drains *drains;
	struct agent_repins *repins;
	struct agent_local *local;
	struct agent_directive_parts directives;
	struct agent_directive_state state;
	struct stow_rpc_call *watcher;
} agent;

static void file(const char *path, const char *text)
{
	fuzz_file(path, text, strlen(text));
}

/* Two NUMA nodes of four CPUs, 16 GiB and a pool of 2 MiB pages. */
static void make_machine(void)
{
	static const char *const distances[] = { "10 20\n", "20 10\n" };

	file("/proc/self/mountinfo", "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	file("/sys/fs/cgroup/cpuset.cpus.effective", "0-7\n");
	file("/sys/devices/system/cpu/online", "0-7\n");
	file("/sys/devices/system/node/online", "0-1\n");
	for (int i = 0; i < 2; i++) {
		char path[160], text[160];

#define NODE(name) (snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/" name, i), path)
		snprintf(text, sizeof(text), "%d-%d\n", 4 * i, 4 * i + 3);
		file(NODE("cpulist"), text);
		snprintf(text, sizeof(text),
			 "Node %d MemTotal: 16777216 kB\nNode %d MemFree: 16000000 kB\n", i, i);
		file(NODE("meminfo"), text);
		file(NODE("distance"), distances[i]);
		file(NODE("hugepages/hugepages-2048kB/nr_hugepages"), "16\n");
		file(NODE("hugepages/hugepages-2048kB/free_hugepages"), "16\n");
		file(NODE("hugepages/hugepages-2048kB/surplus_hugepages"), "0\n");
#undef NODE
	}
	file("/run/numastow/.keep", "");
}

/* Two blocks of each node, which belong to a DIMM on the second. */
static void make_blocks(void)
{
	file(MEMORY "/block_size_bytes", "8000000\n");
	file("/sys/devices/LNXSYSTM:00/PNP0C80:00/uid", "0x00\n");
	file("/sys/devices/LNXSYSTM:00/PNP0C80:00/eject", "");
	for (int i = 0; i < 4; i++) {
		char path[160], name[512];

#define BLOCK(name) (snprintf(path, sizeof(path), MEMORY "/memory%d/" name, i), path)
		file(BLOCK("state"), "online\n");
		file(BLOCK("removable"), "1\n");
		file(BLOCK("valid_zones"), i < 2 ? "Normal\n" : "Movable\n");
		if (i >= 2) {
			snprintf(name, sizeof(name), "%s%s", fuzz_folder(), BLOCK("firmware_node"));
			(void)!symlink("../../../LNXSYSTM:00/PNP0C80:00", name);
		}
#undef BLOCK
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/memory%d/state",
			 i / 2, i);
		file(path, "online\n");
	}
}

static int add_drains(void *ctx, PbNodeReport *report)
{
	return agent_drain_report(agent.drains, report);
}

static void notify(void *ctx, const PbDrainProgress *progress)
{
}

static int start_machine(struct stow_err *err)
{
	static const struct agent_machine_ops ops = { .report = add_drains };
	const struct agent_publisher_identity identity = { agent.config.node, "", "" };
	struct agent_drain_parts parts = { .notify = notify };
	int r;

	r = stow_root_open(fuzz_folder(), &agent.root, err);
	if (r == 0)
		r = agent_policy_new(agent.root, &agent.config, &agent.policy, err);
	if (r == 0)
		r = agent_publisher_new(&identity, &agent.publisher, err);
	if (r == 0)
		r = agent_loop_new(&agent.loop, err);
	if (r == 0)
		r = agent_machine_new(agent.policy, agent.publisher, &agent.config, &agent.machine,
				      err);
	if (r < 0)
		return r;
	parts.machine = agent.machine;
	parts.policy = agent.policy;
	parts.publisher = agent.publisher;
	parts.loop = agent_loop_handle(agent.loop);
	r = agent_drain_new(&parts, &agent.drains, err);
	return r == 0 ? agent_machine_start(agent.machine, agent.loop, &ops, NULL, err) : r;
}

static int start_services(struct stow_err *err)
{
	struct agent_local_parts parts = { .root = agent.root,
					   .policy = agent.policy,
					   .publisher = agent.publisher,
					   .drains = agent_drain_table(agent.drains) };
	int r = agent_repin_new(agent.policy, agent.publisher, &agent.repins, err);

	parts.repins = agent.repins;
	agent.directives = (struct agent_directive_parts){ agent.machine, agent.drains,
							   agent.policy, &agent.config };
	return r == 0 ? agent_local_new(&agent.config, NULL, &parts, &agent.local, err) : r;
}

static void start(void)
{
	struct stow_err err = { 0 };

	stow_log_configure(STOW_LOG_ERR, STOW_LOG_TEXT);
	make_machine();
	make_blocks();
	agent_config_defaults(&agent.config);
	agent.config.node = strdup("web-3");
	agent.config.removal_timeout = 10000000;
	agent.config.drain_timeout = 200000000;
	if (agent_config_finish(&agent.config, &err) < 0 || start_machine(&err) < 0 ||
	    start_services(&err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
}

/* The machine as a scheduler would be told. */
static void look(void)
{
	struct agent_published published;
	struct stow_report *update = NULL;
	struct stow_err err = { 0 };
	PbNodeReport whole;

	agent_machine_look(agent.machine, AGENT_LOOK_LEDGER | AGENT_LOOK_MEMORY);
	FUZZ_CHECK(agent_machine_publish(agent.machine) == 0);
	agent_publisher_borrow(agent.publisher, &published);
	agent_publisher_whole(agent.publisher, &whole);
	FUZZ_CHECK(stow_report_decode(&whole, &update, &err) == 0);
	for (size_t i = 0; i < whole.n_numa_nodes; i++) {
		const PbNumaNode *node = whole.numa_nodes[i];

		FUZZ_CHECK(node->cpus_free <= node->cpus_total);
		FUZZ_CHECK(node->memory_allocatable <= node->memory_total);
		FUZZ_CHECK(node->memory_promised <= node->memory_total);
	}
	agent_publisher_return(agent.publisher);
	stow_report_free(update);
}

static void unary(const struct stow_rpc_service *service, void *ctx, const char *name,
		  const void *request)
{
	struct stow_rpc_call *call = fuzz_call_new(service->descriptor, name);

	for (size_t i = 0; i < service->n_methods; i++)
		if (strcmp(service->methods[i].name, name) == 0)
			(void)fuzz_unary(call, service->methods[i].unary,
					 protobuf_c_service_descriptor_get_method_by_name(
						 service->descriptor, name)
						 ->output,
					 ctx, request);
	FUZZ_CHECK(fuzz_call_answers(call) == 1);
	fuzz_call_free(call);
}

static void repin(const PbRepinRequest *request)
{
	struct stow_rpc_call *call = fuzz_call_new(&pb_agent__descriptor, "Repin");
	struct stow_err err = { 0 };
	int r = agent_repin_start(agent.repins, call, request, &err);

	FUZZ_CHECK_ERR(r, &err);
	agent_repin_cancel_all(agent.repins); /* waits for it */
	FUZZ_CHECK(fuzz_call_answers(call) == (r == 0));
	fuzz_call_free(call);
}

/* Until nothing is at work; what takes long is cancelled. */
static void wait_for_drains(void)
{
	struct agent_drain_table *table = agent_drain_table(agent.drains);

	pthread_mutex_lock(&table->lock);
	while (table->threads > 0) {
		struct timespec until;

		until = stow_clock_in(50 * STOW_MILLISECOND);
		if (pthread_cond_timedwait(&table->changed, &table->lock, &until) == ETIMEDOUT &&
		    table->worker)
			table->worker->cancelled = true;
	}
	pthread_mutex_unlock(&table->lock);
	agent_loop_run_tasks(agent.loop);
}

static void drain(const PbAgentDrainRequest *request)
{
	struct stow_rpc_call *call = fuzz_call_new(&pb_agent__descriptor, "DrainMemory");
	struct stow_err err = { 0 };
	int r = agent_drain_start(agent_drain_table(agent.drains), call, request, &err);

	FUZZ_CHECK_ERR(r, &err);
	wait_for_drains();
	FUZZ_CHECK(fuzz_call_answers(call) == (r == 0));
	fuzz_call_free(call);
}

/* WatchNode; the second call ends the first. */
static void watch(const struct stow_rpc_service *service, void *ctx, const void *request)
{
	const struct stow_rpc_stream_ops *ops = NULL;
	struct stow_err err = { 0 };
	int r;

	for (size_t i = 0; i < service->n_methods; i++)
		if (strcmp(service->methods[i].name, "WatchNode") == 0)
			ops = service->methods[i].stream;
	if (agent.watcher) {
		ops->closed(agent.watcher, ctx, NULL);
		fuzz_call_free(agent.watcher);
		agent.watcher = NULL;
		return;
	}
	agent.watcher = fuzz_call_new(&pb_agent__descriptor, "WatchNode");
	r = ops->open(agent.watcher, ctx, request, &err);
	FUZZ_CHECK_ERR(r, &err);
	FUZZ_CHECK(r == 0);
}

static void step_with(const struct fuzz_step *step, const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage *in = fuzz_unpack(step, type);
	const struct stow_rpc_service *service;
	struct stow_err err = { 0 };
	void *ctx;
	int r;

	if (!in)
		return;
	service = fuzz_service(&ctx);
	switch (step->kind % KINDS) {
	case DIRECTIVE:
		do
			r = agent_directive_handle(&agent.directives, &agent.state,
						   (PbDirective *)in, 0, &err);
		while (r > 0);
		FUZZ_CHECK_ERR(r, &err);
		wait_for_drains();
		look();
		break;
	case REPIN:
		repin((PbRepinRequest *)in);
		break;
	case EXPLAIN:
		unary(service, ctx, "Explain", in);
		break;
	case DRAIN:
		drain((PbAgentDrainRequest *)in);
		break;
	case LIST_DRAINS:
		unary(service, ctx, "ListDrains", in);
		break;
	case CANCEL_DRAIN:
		unary(service, ctx, "CancelDrain", in);
		break;
	case WATCH:
		watch(service, ctx, in);
		break;
	case SHOW:
		unary(service, ctx, "ShowLedger", in);
		break;
	default:
		unary(service, ctx, "ListContainers", in);
		break;
	}
	protobuf_c_message_free_unpacked(in, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const ProtobufCMessageDescriptor *const types[KINDS] = {
		[DIRECTIVE] = &pb_directive__descriptor,
		[REPIN] = &pb_repin_request__descriptor,
		[EXPLAIN] = &pb_agent_explain_request__descriptor,
		[LIST] = &pb_list_containers_request__descriptor,
		[DRAIN] = &pb_agent_drain_request__descriptor,
		[LIST_DRAINS] = &pb_agent_list_drains_request__descriptor,
		[CANCEL_DRAIN] = &pb_agent_cancel_drain_request__descriptor,
		[SHOW] = &pb_show_ledger_request__descriptor,
		[WATCH] = &pb_watch_node_request__descriptor,
	};
	struct stow_idset none = { 0 };
	struct stow_err err = { 0 };
	struct agent_drain_table *table;
	struct stow_ledger *ledger;
	const struct stow_rpc_service *service;
	struct fuzz_step step;
	void *ctx;

	if (!agent.local)
		start();
	table = agent_drain_table(agent.drains);
	ledger = agent_machine_context(agent.machine)->ledger;
	while (fuzz_step(&data, &size, &step))
		step_with(&step, types[step.kind % KINDS]);
	service = fuzz_service(&ctx);
	if (agent.watcher)
		watch(service, ctx, NULL);
	/* The next input finds the machine as this one did. */
	FUZZ_CHECK(stow_lease_keep_only(agent_machine_context(agent.machine), NULL, 0, &err) >= 0);
	FUZZ_CHECK(stow_ledger_fence_set(ledger, "scheduler", &none, &err) == 0);
	agent_drain_welcome(agent.drains, NULL, 0);
	FUZZ_CHECK(table->threads == 0 && !table->worker);
	FUZZ_CHECK(stow_ledger_fenced(ledger, NULL, &none, &err) == 0);
	FUZZ_CHECK(stow_idset_empty(&none)); /* however a drain ended */
	make_blocks();
	look();
	FUZZ_CHECK(agent_machine_report(agent.machine)->n_containers == 0);
	return 0;
}
