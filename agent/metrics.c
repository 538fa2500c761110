/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics: the report's numbers and the agent's counters, for Prometheus. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/drain.h"
#include "agent/probe.h"
#include "base/parse.h"
#include "rpc/metrics.h"

static const struct {
	const char *name, *help;
	size_t offset;
	bool wide; /* uint64_t, else uint32_t */
} numbers[] = {
	{ "numastow_cpus_total", "CPUs of a NUMA node that may be given.",
	  offsetof(PbNumaNode, cpus_total), false },
	{ "numastow_cpus_free", "CPUs not promised to anybody.", offsetof(PbNumaNode, cpus_free),
	  false },
	{ "numastow_cpus_exclusive", "CPUs given to one container each.",
	  offsetof(PbNumaNode, cpus_exclusive), false },
	{ "numastow_memory_total_bytes", "Memory of a NUMA node.",
	  offsetof(PbNumaNode, memory_total), true },
	{ "numastow_memory_available_bytes", "Memory that can be had above the watermarks.",
	  offsetof(PbNumaNode, memory_available), true },
	{ "numastow_memory_promised_bytes", "Memory given away.",
	  offsetof(PbNumaNode, memory_promised), true },
	{ "numastow_memory_allocatable_bytes", "Memory that may still be promised.",
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
	static const char *const names[] = { "numastow_hugepages_total", "numastow_hugepages_free",
					     "numastow_hugepages_promised" };
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
		{ "numastow_adopted_total", "Changed sets that were adopted.", c->adopted },
		{ "numastow_restored_total", "Changed sets that were put back.", c->restored },
		{ "numastow_refused_total", "Changed sets that were left, and reported.",
		  c->refused },
		{ "numastow_cpu_problems_total",
		  "Times that a container's CPUs were not as they must be.", c->problems },
		{ "numastow_reclaimed_total", "Grants of vanished containers.", c->reclaimed },
		{ "numastow_reclaimed_hugepages_total", "Pages taken out of pools.",
		  c->reclaimed_hugepages },
		{ "numastow_repins_total", "Repins.", c->repins },
		{ "numastow_reports_total", "Reports with a change.", c->reports },
		{ "numastow_dials_total", "Streams opened to a scheduler.", c->reconnects },
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
	stow_metric_head(out, "numastow_partitions", "gauge",
			 "Containers whose CPUs are to be a cpuset partition, by state.");
	stow_metric(out, "numastow_partitions", (double)valid, "state", "valid", NULL);
	stow_metric(out, "numastow_partitions", (double)invalid, "state", "invalid", NULL);
}

void agent_render_metrics(FILE *out, void *ctx)
{
	struct agent *agent = ctx;

	pthread_mutex_lock(&agent->lock);
	render_nodes(out, agent->current);
	render_pools(out, agent->current);
	render_partitions(out, agent->current);
	stow_metric_head(out, "numastow_containers", "gauge", "Containers with a grant, by state.");
	stow_metric(out, "numastow_containers",
		    (double)count(agent->current, PB_CONTAINER_STATE_ACTIVE), "state", "active",
		    NULL);
	stow_metric(out, "numastow_containers",
		    (double)count(agent->current, PB_CONTAINER_STATE_PENDING), "state", "pending",
		    NULL);
	stow_metric(out, "numastow_containers",
		    (double)count(agent->current, PB_CONTAINER_STATE_LEASE), "state", "lease",
		    NULL);
	stow_metric_head(out, "numastow_foreign", "gauge", "Containers left to kubelet.");
	stow_metric(out, "numastow_foreign", (double)agent->counters.foreign, NULL);
	stow_metric_head(out, "numastow_connected", "gauge", "1 while a scheduler listens.");
	stow_metric(out, "numastow_connected", atomic_load(&agent->connected) ? 1 : 0, NULL);
	render_counters(out, &agent->counters);
	pthread_mutex_unlock(&agent->lock);
	agent_drains_metrics(agent, out);
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
