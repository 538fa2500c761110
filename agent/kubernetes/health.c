/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/health.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENOUGH 64 /* 1/ENOUGH of the memory ends the state of being under the watermarks */

static const PbNumaNode *find(const PbNodeReport *report, int node)
{
	for (size_t i = 0; i < report->n_numa_nodes; i++)
		if (report->numa_nodes[i]->id == (uint32_t)node)
			return report->numa_nodes[i];
	return NULL;
}

/* Note the NUMA nodes of a report, and those on which claims are: one may be gone since. */
static void note_seen(struct agent_health *health, const PbNodeReport *report)
{
	for (size_t i = 0; i < report->n_numa_nodes; i++)
		if (report->numa_nodes[i]->id < STOW_IDSET_MAX)
			stow_idset_add(&health->seen, (int)report->numa_nodes[i]->id);
	for (size_t i = 0; i < report->n_containers; i++) {
		const PbContainer *container = report->containers[i];

		for (size_t p = 0; container->claim && p < container->n_parts; p++)
			if (container->parts[p]->numa_node < STOW_IDSET_MAX)
				stow_idset_add(&health->seen, (int)container->parts[p]->numa_node);
	}
}

static bool is_tight(struct agent_health *health, const PbNumaNode *node)
{
	if (node->memory_total > 0 && node->memory_available == 0)
		stow_idset_add(&health->tight, (int)node->id);
	else if (node->memory_available >= node->memory_total / ENOUGH)
		stow_idset_del(&health->tight, (int)node->id);
	return stow_idset_has(&health->tight, (int)node->id);
}

/* Return what is wrong with a NUMA node, as a format with its number; NULL: nothing. */
static const char *fault_of(struct agent_health *health, const PbNumaNode *node)
{
	bool tight = node && is_tight(health, node); /* updates the state, whatever is returned */

	if (!node)
		return "NUMA node %d is offline, or was removed";
	if (node->state == PB_NUMA_NODE_STATE_DRAINING)
		return "the memory of NUMA node %d is being drained";
	if (node->state == PB_NUMA_NODE_STATE_FENCED)
		return "NUMA node %d is fenced: nothing new is placed there";
	if (node->blocks && node->blocks->present > 0 && node->blocks->online == 0 &&
	    node->memory_total == 0)
		return "all memory of NUMA node %d is offline";
	return tight ? "NUMA node %d is under its watermarks: its memory is in use" : NULL;
}

static void judge(struct agent_health *health, const PbNodeReport *report, const char *error,
		  struct agent_health_device *ret)
{
	const char *fault;

	if (error) {
		ret->status = DRA_HEALTH_UNKNOWN;
		snprintf(ret->message, sizeof(ret->message),
			 "the agent cannot read the machine's state");
		return;
	}
	fault = fault_of(health, find(report, ret->node));
	ret->status = fault ? DRA_HEALTH_UNHEALTHY : DRA_HEALTH_HEALTHY;
	if (fault) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(ret->message, sizeof(ret->message), fault, ret->node);
#pragma GCC diagnostic pop
	}
}

static bool differ(const struct agent_health *health, const struct agent_health_device *devices,
		   size_t n)
{
	bool same = n == health->n;

	for (size_t i = 0; i < n && same; i++)
		same = devices[i].node == health->devices[i].node &&
		       devices[i].status == health->devices[i].status &&
		       strcmp(devices[i].message, health->devices[i].message) == 0;
	return !same;
}

int agent_health_update(struct agent_health *health, const PbNodeReport *report, const char *error)
{
	struct agent_health_device *devices;
	size_t n = 0;
	int changed;

	if (!error)
		note_seen(health, report);
	devices = calloc((size_t)stow_idset_count(&health->seen) + 1, sizeof(*devices));
	if (!devices)
		return -ENOMEM;
	STOW_IDSET_FOR(node, &health->seen) {
		devices[n].node = node;
		judge(health, report, error, &devices[n++]);
	}
	changed = differ(health, devices, n);
	free(health->devices);
	health->devices = devices;
	health->n = n;
	return changed;
}

void agent_health_done(struct agent_health *health)
{
	free(health->devices);
	*health = (struct agent_health){ 0 };
}
