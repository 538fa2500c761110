// SPDX-License-Identifier: Apache-2.0
/*
 * An agent on a copied tree: a scheduler's directives, and what comes over the local socket. What
 * it reports after that, a scheduler must be able to read.
 */
#include "fuzz.h"

#include "agent/agent.h"
#include "agent/directive.h"
#include "agent/repin.h"
#include "grant/lease.h"
#include "program.h"
#include "rpc/say.h"
#include "scheduler/update.h"

enum { DIRECTIVE, REPIN, EXPLAIN, LIST, KINDS };

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

static void start(void)
{
	struct stow_err err = { 0 };

	stow_say_configure(STOW_LOG_ERR, STOW_SAY_TEXT);
	make_machine();
	agent_config_defaults(&agent.config);
	agent.config.node = strdup("web-3");
	if (agent_config_finish(&agent.config, &err) < 0 ||
	    agent_start(&agent, fuzz_folder(), &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
}

/* The machine as a scheduler would be told. */
static void look(void)
{
	struct stow_update *update = NULL;
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
	FUZZ_CHECK(stow_update_decode(&whole, &update, &err) == 0);
	for (size_t i = 0; i < whole.n_numa_nodes; i++) {
		const PbNumaNode *node = whole.numa_nodes[i];

		FUZZ_CHECK(node->cpus_free <= node->cpus_total);
		FUZZ_CHECK(node->memory_allocatable <= node->memory_total);
		FUZZ_CHECK(node->memory_promised <= node->memory_total);
	}
	stow_update_free(update);
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
		look();
		break;
	case REPIN:
		repin((PbRepinRequest *)in);
		break;
	case EXPLAIN:
		unary(service, ctx, "Explain", in);
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
	look();
	FUZZ_CHECK(agent.current->n_containers == 0);
	return 0;
}
