// SPDX-License-Identifier: Apache-2.0
/* The health of NUMA nodes, made of reports. */
#include "unit.h"

#include <stdio.h>

#include "agent/kubernetes/health.h"

#define MIB  (UINT64_C(1) << 20)
#define NUMA 3

struct made {
	PbNodeReport report;
	PbNumaNode numa[NUMA], *list[NUMA];
	PbMemoryBlocks blocks;
	PbContainer container, *containers[1];
	PbContainerPart part, *parts[1];
	struct agent_health health;
};

static int set_up(void **state)
{
	struct made *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	pb_node_report__init(&m->report);
	m->report.numa_nodes = m->list;
	m->report.n_numa_nodes = NUMA;
	for (uint32_t i = 0; i < NUMA; i++) {
		m->list[i] = &m->numa[i];
		pb_numa_node__init(&m->numa[i]);
		m->numa[i].id = i;
		m->numa[i].state = PB_NUMA_NODE_STATE_READY;
		m->numa[i].memory_total = 6400 * MIB;
		m->numa[i].memory_available = 3200 * MIB;
	}
	pb_memory_blocks__init(&m->blocks);
	pb_container__init(&m->container);
	pb_container_part__init(&m->part);
	m->containers[0] = &m->container;
	m->container.parts = m->parts;
	m->container.n_parts = 1;
	m->parts[0] = &m->part;
	m->report.containers = m->containers;
	assert_int_equal(agent_health_update(&m->health, &m->report, NULL), 1);
	assert_int_equal(m->health.n, NUMA);
	*state = m;
	return 0;
}

static int tear_down(void **state)
{
	struct made *m = *state;

	agent_health_done(&m->health);
	free(m);
	return 0;
}

#define WITH_MADE(name) TEST_WITH(name, struct made *m, set_up, tear_down)

/* Update, and check what is said of NUMA node 1. `text`: NULL: healthy. */
static void expect(struct made *m, int changed, const char *text)
{
	const struct agent_health_device *device;

	assert_int_equal(agent_health_update(&m->health, &m->report, NULL), changed);
	device = &m->health.devices[1];
	assert_int_equal(device->node, 1);
	assert_int_equal(device->status, text ? DRA_HEALTH_UNHEALTHY : DRA_HEALTH_HEALTHY);
	assert_string_equal(device->message, text ? text : "");
	assert_int_equal(m->health.devices[0].status, DRA_HEALTH_HEALTHY);
}

WITH_MADE(fences_and_drains)
{
	expect(m, 0, NULL);
	m->numa[1].state = PB_NUMA_NODE_STATE_FENCED;
	expect(m, 1, "NUMA node 1 is fenced: nothing new is placed there");
	expect(m, 0, "NUMA node 1 is fenced: nothing new is placed there");
	m->numa[1].state = PB_NUMA_NODE_STATE_DRAINING;
	expect(m, 1, "the memory of NUMA node 1 is being drained");
	m->numa[1].state = PB_NUMA_NODE_STATE_READY;
	expect(m, 1, NULL);
}

/* A NUMA node at its watermarks does not change its health with each page. */
WITH_MADE(watermarks)
{
	static const char text[] = "NUMA node 1 is under its watermarks: its memory is in use";

	m->numa[1].memory_available = 1;
	expect(m, 0, NULL);
	m->numa[1].memory_available = 0;
	expect(m, 1, text);
	m->numa[1].memory_available = 99 * MIB;
	expect(m, 0, text);
	m->numa[1].memory_available = 100 * MIB;
	expect(m, 1, NULL);
	m->numa[1].memory_available = 1;
	expect(m, 0, NULL);
	/* A NUMA node without memory has nothing to be short of. */
	m->numa[1].memory_available = m->numa[1].memory_total = 0;
	expect(m, 0, NULL);
}

WITH_MADE(memory_that_is_offline)
{
	m->numa[1].blocks = &m->blocks;
	m->numa[1].memory_available = m->numa[1].memory_total = 0;
	expect(m, 0, NULL);
	m->blocks.present = 8;
	expect(m, 1, "all memory of NUMA node 1 is offline");
	m->blocks.online = 1;
	m->numa[1].memory_available = m->numa[1].memory_total = 128 * MIB;
	expect(m, 1, NULL);
}

/* A NUMA node that was there, or on which a claim is, stays in the message. */
WITH_MADE(removed_nodes)
{
	m->list[1] = &m->numa[2];
	m->report.n_numa_nodes = 2;
	expect(m, 1, "NUMA node 1 is offline, or was removed");
	assert_int_equal(m->health.n, NUMA);
	m->report.n_containers = 1;
	m->part.numa_node = 7;
	expect(m, 0, "NUMA node 1 is offline, or was removed");
	m->container.claim = true;
	expect(m, 1, "NUMA node 1 is offline, or was removed");
	assert_int_equal(m->health.n, NUMA + 1);
	assert_int_equal(m->health.devices[NUMA].node, 7);
	assert_int_equal(m->health.devices[NUMA].status, DRA_HEALTH_UNHEALTHY);
	/* No number of a NUMA node, whatever a report says. */
	m->part.numa_node = UINT32_MAX;
	expect(m, 0, "NUMA node 1 is offline, or was removed");
}

/* Without a look at the machine nothing is known. */
WITH_MADE(failures_to_look)
{
	assert_int_equal(agent_health_update(&m->health, &m->report, "no /sys"), 1);
	assert_int_equal(agent_health_update(&m->health, &m->report, "no /proc"), 0);
	for (size_t i = 0; i < NUMA; i++) {
		assert_int_equal(m->health.devices[i].status, DRA_HEALTH_UNKNOWN);
		assert_string_equal(m->health.devices[i].message,
				    "the agent cannot read the machine's state");
	}
	expect(m, 1, NULL);
}
