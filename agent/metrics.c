/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "rpc/metrics.h"

static const struct {
	const char *name, *help;
	size_t offset;
	bool wide; /* uint64_t, otherwise uint32_t */
} numbers[] = {
	{ "numastow_agent_cpus", "CPUs of a NUMA node that may be granted.",
	  offsetof(PbNumaNode, cpus_total), false },
	{ "numastow_agent_cpus_free", "CPUs that are not promised.",
	  offsetof(PbNumaNode, cpus_free), false },
	{ "numastow_agent_cpus_exclusive", "CPUs granted to one container each.",
	  offsetof(PbNumaNode, cpus_exclusive), false },
	{ "numastow_agent_memory_bytes", "Memory of a NUMA node.",
	  offsetof(PbNumaNode, memory_total), true },
	{ "numastow_agent_memory_available_bytes", "Memory that is available above the watermarks.",
	  offsetof(PbNumaNode, memory_available), true },
	{ "numastow_agent_memory_promised_bytes", "Promised memory.",
	  offsetof(PbNumaNode, memory_promised), true },
	{ "numastow_agent_memory_allocatable_bytes", "Memory that may still be promised.",
	  offsetof(PbNumaNode, memory_allocatable), true },
};

static void render_nodes(FILE *out, const PbNodeReport *report)
{
	char id[16];

	for (size_t m = 0; m < STOW_ARRAY_SIZE(numbers); m++) {
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
	static const char *const help[] = { "Pages in a pool.",
					    "Pages that no process has faulted in.",
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
		{ "numastow_agent_sets_restored_total", "Changed sets that were restored.",
		  c->restored },
		{ "numastow_agent_sets_left_total", "Changed sets that were left and reported.",
		  c->refused },
		{ "numastow_agent_cpu_problems_total", "How often a container had wrong CPUs.",
		  c->problems },
		{ "numastow_agent_reclaimed_total", "Reclaimed grants of ended containers.",
		  c->reclaimed },
		{ "numastow_agent_reclaimed_hugepages_total", "Pages removed from pools.",
		  c->reclaimed_hugepages },
		{ "numastow_agent_repins_total", "Repins.", c->repins },
		{ "numastow_agent_reports_total", "Reports with a change.", c->reports },
		{ "numastow_agent_dials_total", "Streams opened to a scheduler.", c->reconnects },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(counters); i++) {
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
			 "Containers whose CPUs should be a cpuset partition, by state.");
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

	stow_metric_head(out, name, "gauge", "1 when nothing new is placed on a NUMA node.");
	for (size_t i = 0; i < report->n_numa_nodes; i++) {
		PbNumaNodeState state = report->numa_nodes[i]->state;

		snprintf(id, sizeof(id), "%u", report->numa_nodes[i]->id);
		stow_metric(out, name,
			    state == PB_NUMA_NODE_STATE_FENCED ||
				    state == PB_NUMA_NODE_STATE_DRAINING,
			    "numa_node", id, NULL);
	}
}

/* Return the containers' memory on NUMA nodes outside of their grants. */
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

static void render_mode(FILE *out, const struct agent_published *published)
{
	static const char *const modes[] = { "enforce", "observe", "disabled" };
	const char *name = "numastow_agent_mode";
	int mode = published->mode == STOW_CHANGES_MADE	      ? 0
		   : published->mode == STOW_CHANGES_OBSERVED ? 1
							      : 2;

	stow_metric_head(out, name, "gauge", "1 for the agent's mode.");
	for (int i = 0; i < 3; i++)
		stow_metric(out, name, i == mode, "mode", modes[i], NULL);
	one(out, "numastow_agent_last_look_seconds",
	    "Time of the last successful look at the machine; seconds since the epoch.",
	    (double)published->looked / 1e9);
}

static void render_events(FILE *out, const struct agent_published *published)
{
	const char *name = "numastow_agent_ledger_events_total";

	stow_metric_head(out, name, "counter",
			 "Events of the ledger since the agent's start: placed and refused by the "
			 "hook, and others.");
	for (size_t i = 0; i < published->n_events; i++)
		stow_metric(out, name, (double)published->events[i].n, "kind",
			    published->events[i].kind, NULL);
}

static void render_containers(FILE *out, const PbNodeReport *report)
{
	const char *name = "numastow_agent_containers";

	stow_metric_head(out, name, "gauge", "Containers with a grant, by state.");
	stow_metric(out, name, (double)count(report, PB_CONTAINER_STATE_ACTIVE), "state", "active",
		    NULL);
	stow_metric(out, name, (double)count(report, PB_CONTAINER_STATE_PENDING), "state",
		    "pending", NULL);
	stow_metric(out, name, (double)count(report, PB_CONTAINER_STATE_LEASE), "state", "lease",
		    NULL);
}

void agent_metrics_render(FILE *out, void *ctx)
{
	const struct agent_metrics_parts *parts = ctx;
	struct agent_published published;

	stow_metrics_program(out, "numastow_agent_build_info");
	one(out, "numastow_agent_config_error",
	    "1 while the configuration has an error, or was rejected by a reload.",
	    agent_policy_is_broken(parts->policy));
	agent_publisher_borrow(parts->publisher, &published);
	render_mode(out, &published);
	render_events(out, &published);
	render_fences(out, published.report);
	one(out, "numastow_agent_memory_elsewhere_bytes",
	    "Memory of containers on NUMA nodes outside of their grants.",
	    (double)bytes_elsewhere(published.report));
	render_nodes(out, published.report);
	render_pools(out, published.report);
	render_partitions(out, published.report);
	render_containers(out, published.report);
	one(out, "numastow_agent_foreign_containers", "Containers that kubelet manages.",
	    (double)published.counters->foreign);
	one(out, "numastow_agent_connected", "1 while a scheduler is connected.",
	    published.connected ? 1 : 0);
	render_counters(out, published.counters);
	agent_publisher_return(parts->publisher);
	agent_drain_render(parts->drains, out);
	agent_local_render(parts->local, out);
	agent_link_render(parts->link, out);
	agent_kubernetes_render(parts->kubernetes, out);
	agent_dra_render(parts->dra, out);
	agent_topology_render(parts->topology, out);
}

bool agent_metrics_is_alive(void *ctx, char *why, size_t size)
{
	const struct agent_metrics_parts *parts = ctx;

	return agent_probe_loop_runs(parts->signs, why, size) &&
	       agent_probe_answered(parts->signs, why, size);
}

bool agent_metrics_is_healthy(void *ctx, char *why, size_t size)
{
	const struct agent_metrics_parts *parts = ctx;
	struct agent_published published;
	bool healthy;

	/* Before the lock, because a stuck thread may hold it. */
	if (!agent_probe_loop_runs(parts->signs, why, size))
		return false;
	agent_publisher_borrow(parts->publisher, &published);
	healthy = !published.error;
	snprintf(why, size, "%s", healthy ? "ok" : published.error);
	agent_publisher_return(parts->publisher);
	return healthy && agent_probe_answered(parts->signs, why, size);
}
