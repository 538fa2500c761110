// SPDX-License-Identifier: Apache-2.0
/*
 * An agent on a copied tree: a scheduler's directives, and what comes over the local socket. What
 * it reports after that, a scheduler must be able to read.
 */
#include "fuzz.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/directive.h"
#include "agent/drain_internal.h"
#include "agent/repin.h"
#include "grant/lease.h"
#include "program.h"
#include "rpc/say.h"
#include "scheduler/fleet/report.h"

enum { DIRECTIVE, REPIN, EXPLAIN, LIST, DRAIN, LIST_DRAINS, CANCEL_DRAIN, SHOW, KINDS };

#define MEMORY "/sys/devices/system/memory"

static struct agent agent;

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

static void start(void)
{
	struct stow_err err = { 0 };

	stow_say_configure(STOW_LOG_ERR, STOW_SAY_TEXT);
	make_machine();
	make_blocks();
	agent_config_defaults(&agent.config);
	agent.config.node = strdup("web-3");
	agent.config.removal_timeout = 10000000;
	agent.config.drain_timeout = 200000000;
	if (agent_config_finish(&agent.config, &err) < 0 ||
	    agent_start(&agent, fuzz_folder(), &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
}

/* The machine as a scheduler would be told. */
static void look(void)
{
	struct stow_report *update = NULL;
	struct stow_err err = { 0 };
	PbNodeReport *now, whole;

	FUZZ_CHECK(agent_source_report(agent.source, AGENT_LOOK_LEDGER | AGENT_LOOK_MEMORY,
				       agent.current, agent.config.memory_step, &now, &err) == 0);
	stow_rpc_message_free(agent.current);
	agent.current = now;
	agent.new_leases = 0;
	whole = *now;
	whole.full = true;
	agent_sign(&agent, &whole);
	FUZZ_CHECK(stow_report_decode(&whole, &update, &err) == 0);
	for (size_t i = 0; i < whole.n_numa_nodes; i++) {
		const PbNumaNode *node = whole.numa_nodes[i];

		FUZZ_CHECK(node->cpus_free <= node->cpus_total);
		FUZZ_CHECK(node->memory_allocatable <= node->memory_total);
		FUZZ_CHECK(node->memory_promised <= node->memory_total);
	}
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
	int r = agent_repin_start(&agent, call, request, &err);

	FUZZ_CHECK_ERR(r, &err);
	agent_repin_stop(&agent); /* waits for it */
	FUZZ_CHECK(fuzz_call_answers(call) == (r == 0));
	fuzz_call_free(call);
}

/* What the drains' threads have posted. */
static void run_tasks(void)
{
	struct agent_task *task;

	do {
		pthread_mutex_lock(&agent.tasks_lock);
		task = agent.tasks;
		if (task) {
			agent.tasks = task->next;
			if (!agent.tasks)
				agent.tasks_end = &agent.tasks;
		}
		pthread_mutex_unlock(&agent.tasks_lock);
		if (task)
			task->run(&agent, task->arg);
		free(task);
	} while (task);
}

/* Until nothing is at work; what takes long is cancelled. */
static void wait_for_drains(void)
{
	struct agent_drains *drains = agent.drains;

	pthread_mutex_lock(&drains->lock);
	while (drains->threads > 0) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 50000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		if (pthread_cond_timedwait(&drains->changed, &drains->lock, &until) == ETIMEDOUT &&
		    drains->worker)
			drains->worker->cancelled = true;
	}
	pthread_mutex_unlock(&drains->lock);
	run_tasks();
}

static void drain(const PbAgentDrainRequest *request)
{
	struct stow_rpc_call *call = fuzz_call_new(&pb_agent__descriptor, "DrainMemory");
	struct stow_err err = { 0 };
	int r = agent_drain_start(&agent, call, request, &err);

	FUZZ_CHECK_ERR(r, &err);
	wait_for_drains();
	FUZZ_CHECK(fuzz_call_answers(call) == (r == 0));
	fuzz_call_free(call);
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
		r = agent_obey(&agent, (PbDirective *)in, &err);
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
	};
	struct stow_idset none = { 0 };
	struct stow_err err = { 0 };
	struct fuzz_step step;

	if (!agent.source)
		start();
	while (fuzz_step(&data, &size, &step))
		step_with(&step, types[step.kind % KINDS]);
	/* The next input finds the machine as this one did. */
	FUZZ_CHECK(stow_lease_keep_only(&agent.context, NULL, 0, &err) >= 0);
	FUZZ_CHECK(stow_ledger_fence_set(agent.ledger, "scheduler", &none, &err) == 0);
	agent_drains_welcome(&agent, NULL, 0);
	FUZZ_CHECK(agent.drains->threads == 0 && !agent.drains->worker);
	FUZZ_CHECK(stow_ledger_fenced(agent.ledger, NULL, &none, &err) == 0);
	FUZZ_CHECK(stow_idset_empty(&none)); /* however a drain ended */
	make_blocks();
	look();
	FUZZ_CHECK(agent.current->n_containers == 0);
	return 0;
}
