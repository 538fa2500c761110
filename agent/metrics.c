/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics: the report's numbers and the agent's counters, for Prometheus. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/drain.h"
#include "agent/local.h"
#include "agent/probe.h"
#include "base/parse.h"
#include "rpc/metrics.h"

static const struct {
	const char *name, *help;
	size_t offset;
	bool wide; /* uint64_t, else uint32_t */
} numbers[] = {
	{ "numastow_agent_cpus", "CPUs of a NUMA node that may be given.",
	  offsetof(PbNumaNode, cpus_total), false },
	{ "numastow_agent_cpus_free", "CPUs not promised to anybody.",
	  offsetof(PbNumaNode, cpus_free), false },
	{ "numastow_agent_cpus_exclusive", "CPUs given to one container each.",
	  offsetof(PbNumaNode, cpus_exclusive), false },
	{ "numastow_agent_memory_bytes", "Memory of a NUMA node.",
	  offsetof(PbNumaNode, memory_total), true },
	{ "numastow_agent_memory_available_bytes", "Memory that can be had above the watermarks.",
	  offsetof(PbNumaNode, memory_available), true },
	{ "numastow_agent_memory_promised_bytes", "Memory given away.",
	  offsetof(PbNumaNode, memory_promised), true },
	{ "numastow_agent_memory_allocatable_bytes", "Memory that may still be promised.",
	  offsetof(PbNumaNode, memory_allocatable), true },
};

static void render_nodes(FILE *out, const PbNodeReport *report)
{
	char id[16];

	for (size_t m = 0; m < sizeof(numbers) / sizeof(*numbers); m++) {
		stow_metric_head(out, numbers[m].name, "gauge", numbers[m].help);
		for (size_t i = 0; i < report->n_numa_nodes; i++) {
			const char *at = (const char *)report->numa_nodes[i] + numbers[m].offset;
			uint32_t narrow;
			uint64_t wide;

			memcpy(&narrow, at, sizeof(narrow));
			memcpy(&wide, at, numbers[m].wide ? sizeof(wide) : sizeof(narrow));
			snprintf(id, sizeof(id), "%u", report->numa_nodes[i]->id);
			stow_metric(out, numbers[m].name,
				    numbers[m].wide ? (double)wide : (double)narrow, "numa_node",
				    id, NULL);
		}
	}
}

static void render_pools(FILE *out, const PbNodeReport *report)
{
	static const char *const names[] = { "numastow_agent_hugepages",
					     "numastow_agent_hugepages_free",
					     "numastow_agent_hugepages_promised" };
	static const char *const help[] = { "Pages in a pool.", "Pages that nobody has faulted in.",
					    "Pages promised to containers." };

	for (size_t m = 0; m < 3; m++) {
		stow_metric_head(out, names[m], "gauge", help[m]);
		for (size_t i = 0; i < report->n_numa_nodes; i++)
			for (size_t p = 0; p < report->numa_nodes[i]->n_hugepages; p++) {
				const PbHugepagePool *pool = report->numa_nodes[i]->hugepages[p];
				char id[16], size[32];

				snprintf(id, sizeof(id), "%u", report->numa_nodes[i]->id);
				stow_metric(out, names[m],
					    (double)(m == 0   ? pool->total
						     : m == 1 ? pool->free
							      : pool->promised),
					    "numa_node", id, "size",
					    stow_format_size(pool->page_size, size, sizeof(size)),
					    NULL);
			}
	}
}

static void render_counters(FILE *out, const PbAgentCounters *c)
{
	const struct {
		const char *name, *help;
		uint64_t value;
	} counters[] = {
		{ "numastow_agent_sets_adopted_total", "Changed sets that were adopted.",
		  c->adopted },
		{ "numastow_agent_sets_restored_total", "Changed sets that were put back.",
		  c->restored },
		{ "numastow_agent_sets_left_total", "Changed sets that were left, and reported.",
		  c->refused },
		{ "numastow_agent_cpu_problems_total",
		  "Times that a container's CPUs were not as they must be.", c->problems },
		{ "numastow_agent_reclaimed_total", "Grants of vanished containers.",
		  c->reclaimed },
		{ "numastow_agent_reclaimed_hugepages_total", "Pages taken out of pools.",
		  c->reclaimed_hugepages },
		{ "numastow_agent_repins_total", "Repins.", c->repins },
		{ "numastow_agent_reports_total", "Reports with a change.", c->reports },
		{ "numastow_agent_dials_total", "Streams opened to a scheduler.", c->reconnects },
	};

	for (size_t i = 0; i < sizeof(counters) / sizeof(*counters); i++) {
		stow_metric_head(out, counters[i].name, "counter", counters[i].help);
		stow_metric(out, counters[i].name, (double)counters[i].value, NULL);
	}
}

static size_t count(const PbNodeReport *report, PbContainerState state)
{
	size_t n = 0;

	for (size_t i = 0; i < report->n_containers; i++)
		n += report->containers[i]->state == state;
	return n;
}

static void render_partitions(FILE *out, const PbNodeReport *report)
{
	size_t valid = 0, invalid = 0;

	for (size_t i = 0; i < report->n_containers; i++) {
		valid += report->containers[i]->partition == PB_PARTITION_STATE_VALID;
		invalid += report->containers[i]->partition == PB_PARTITION_STATE_INVALID;
	}
	stow_metric_head(out, "numastow_agent_partitions", "gauge",
			 "Containers whose CPUs are to be a cpuset partition, by state.");
	stow_metric(out, "numastow_agent_partitions", (double)valid, "state", "valid", NULL);
	stow_metric(out, "numastow_agent_partitions", (double)invalid, "state", "invalid", NULL);
}

static void one(FILE *out, const char *name, const char *help, double value)
{
	stow_metric_head(out, name, "gauge", help);
	stow_metric(out, name, value, NULL);
}

static void render_fences(FILE *out, const PbNodeReport *report)
{
	const char *name = "numastow_agent_fenced";
	char id[16];

	stow_metric_head(out, name, "gauge", "1 when a NUMA node gets nothing new.");
	for (size_t i = 0; i < report->n_numa_nodes; i++) {
		PbNumaNodeState state = report->numa_nodes[i]->state;

		snprintf(id, sizeof(id), "%u", report->numa_nodes[i]->id);
		stow_metric(out, name,
			    state == PB_NUMA_NODE_STATE_FENCED ||
				    state == PB_NUMA_NODE_STATE_DRAINING,
			    "numa_node", id, NULL);
	}
}

/* Memory of containers on NUMA nodes that are not theirs. */
static uint64_t bytes_elsewhere(const PbNodeReport *report)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < report->n_containers; i++) {
		const PbContainer *c = report->containers[i];
		struct stow_idset own;

		if (!c->numa_nodes[0] || stow_idset_parse(c->numa_nodes, &own, NULL) < 0)
			continue;
		for (size_t p = 0; p < c->n_parts; p++)
			if (c->parts[p]->numa_node >= STOW_IDSET_MAX ||
			    !stow_idset_has(&own, (int)c->parts[p]->numa_node))
				bytes += c->parts[p]->memory_actual + c->parts[p]->hugepages_actual;
	}
	return bytes;
}

static void render_mode(FILE *out, const struct agent *agent)
{
	static const char *const modes[] = { "enforce", "observe", "disabled" };
	const char *name = "numastow_agent_mode";
	int mode = agent->told == STOW_CHANGES_DISABLED	  ? 2
		   : agent->told == STOW_CHANGES_OBSERVED ? 1
							  : 0;

	stow_metric_head(out, name, "gauge", "1 for the mode that the agent is in.");
	for (int i = 0; i < 3; i++)
		stow_metric(out, name, i == mode, "mode", modes[i], NULL);
	one(out, "numastow_agent_config_error",
	    "1 while the configuration is broken, or was not taken over by a reload.",
	    atomic_load(&agent->config_error));
	one(out, "numastow_agent_last_look_seconds",
	    "When the machine was looked at last without an error; seconds since the epoch.",
	    (double)agent->looked / 1e9);
}

static void render_hook(FILE *out, const struct agent *agent)
{
	const char *name = "numastow_agent_ledger_events_total";

	stow_metric_head(out, name, "counter",
			 "What the ledger says has happened since the agent's start: placed and "
			 "refused by the hook, and the rest.");
	for (size_t i = 0; i < agent->n_events; i++)
		stow_metric(out, name, (double)agent->events[i].n, "kind", agent->events[i].kind,
			    NULL);
}

void agent_render_metrics(FILE *out, void *ctx)
{
	struct agent *agent = ctx;

	stow_metrics_program(out, "numastow_agent_build_info");
	stow_audit_render(out, "numastow_agent_rpcs_total", &agent->audit);
	pthread_mutex_lock(&agent->lock);
	render_mode(out, agent);
	render_hook(out, agent);
	render_fences(out, agent->current);
	one(out, "numastow_agent_memory_elsewhere_bytes",
	    "Memory of containers on NUMA nodes that are not theirs.",
	    (double)bytes_elsewhere(agent->current));
	render_nodes(out, agent->current);
	render_pools(out, agent->current);
	render_partitions(out, agent->current);
	stow_metric_head(out, "numastow_agent_containers", "gauge",
			 "Containers with a grant, by state.");
	stow_metric(out, "numastow_agent_containers",
		    (double)count(agent->current, PB_CONTAINER_STATE_ACTIVE), "state", "active",
		    NULL);
	stow_metric(out, "numastow_agent_containers",
		    (double)count(agent->current, PB_CONTAINER_STATE_PENDING), "state", "pending",
		    NULL);
	stow_metric(out, "numastow_agent_containers",
		    (double)count(agent->current, PB_CONTAINER_STATE_LEASE), "state", "lease",
		    NULL);
	stow_metric_head(out, "numastow_agent_foreign_containers", "gauge",
			 "Containers left to kubelet.");
	stow_metric(out, "numastow_agent_foreign_containers", (double)agent->counters.foreign,
		    NULL);
	stow_metric_head(out, "numastow_agent_connected", "gauge", "1 while a scheduler listens.");
	stow_metric(out, "numastow_agent_connected", atomic_load(&agent->connected) ? 1 : 0, NULL);
	render_counters(out, &agent->counters);
	pthread_mutex_unlock(&agent->lock);
	agent_drains_metrics(agent, out);
	agent_local_render(agent->local, out);
}

bool agent_is_healthy(void *ctx, char *why, size_t size)
{
	struct agent *agent = ctx;
	bool healthy;

	/* Before the lock: whoever hangs may have it. */
	if (!agent_probe_comes_round(agent->probe, why, size))
		return false;
	pthread_mutex_lock(&agent->lock);
	healthy = !agent->last_error;
	snprintf(why, size, "%s", healthy ? "ok" : agent->last_error);
	pthread_mutex_unlock(&agent->lock);
	return healthy && agent_probe_answered(agent->probe, why, size);
}
