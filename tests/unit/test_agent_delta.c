// SPDX-License-Identifier: Apache-2.0
/* What an agent says after its full report: changes that, put onto it by a scheduler, are the full
 * report again. */
#include "unit.h"

#include <stdio.h>

#include "agent/delta.h"
#include "base/cleanup.h"
#include "rpc/rpc.h"
#include "scheduler/fleet/fleet.h"

#define NUMA	   4
#define CONTAINERS 6
#define ROUNDS	   300

/* --- a made-up machine -------------------------------------------------------------------------- */

struct container {
	bool there;
	int node, drift;
	uint64_t actual;
	bool reserved;
};

struct machine {
	size_t n_numa;
	uint32_t free[NUMA];
	int state[NUMA];
	struct container containers[CONTAINERS];
};

static uint32_t seed;

static uint32_t any(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static char *text(const char *prefix, size_t i)
{
	char *s;

	if (asprintf(&s, "%s%zu", prefix, i) < 0)
		abort();
	return s;
}

static PbNumaNode *numa_node(const struct machine *m, size_t i)
{
	PbNumaNode *node = malloc(sizeof(*node));

	pb_numa_node__init(node);
	node->id = (uint32_t)i * 2; /* with holes */
	node->state = (PbNumaNodeState)m->state[i];
	node->cpus = text("", i);
	node->cpus_shared = text("", i);
	node->cpus_total = 1;
	node->cpus_free = m->free[i];
	node->memory_total = UINT64_C(1) << 30;
	node->memory_allocatable = UINT64_C(1) << 29;
	return node;
}

static PbContainer *container(const struct machine *m, size_t i)
{
	const struct container *from = &m->containers[i];
	PbContainer *c = malloc(sizeof(*c));

	pb_container__init(c);
	c->id = text("c", i);
	c->state = from->reserved && from->drift == 3 ? PB_CONTAINER_STATE_LEASE
						      : PB_CONTAINER_STATE_ACTIVE;
	c->drift = (PbDrift)from->drift;
	c->numa_nodes = text("", (size_t)from->node);
	c->parts = calloc(1, sizeof(*c->parts));
	c->n_parts = 1;
	c->parts[0] = malloc(sizeof(*c->parts[0]));
	pb_container_part__init(c->parts[0]);
	c->parts[0]->numa_node = (uint32_t)from->node;
	c->parts[0]->memory_actual = from->actual;
	if (from->reserved)
		c->reservation = text("00000000000000a", i);
	return c;
}

static PbNodeReport *report_of(const struct machine *m)
{
	PbNodeReport *r = malloc(sizeof(*r));

	pb_node_report__init(r);
	r->numa_nodes = calloc(NUMA, sizeof(*r->numa_nodes));
	r->containers = calloc(CONTAINERS, sizeof(*r->containers));
	r->reservations = calloc(CONTAINERS, sizeof(*r->reservations));
	for (size_t i = 0; i < m->n_numa; i++)
		r->numa_nodes[r->n_numa_nodes++] = numa_node(m, i);
	for (size_t i = 0; i < CONTAINERS; i++) {
		if (!m->containers[i].there)
			continue;
		r->containers[r->n_containers++] = container(m, i);
		if (m->containers[i].reserved)
			r->reservations[r->n_reservations++] = text("00000000000000a", i);
	}
	return r;
}

static void change(struct machine *m)
{
	struct container *c = &m->containers[any(CONTAINERS)];

	switch (any(8)) {
	case 0:
		c->there = !c->there;
		c->reserved = any(2);
		c->node = (int)any(NUMA);
		break;
	case 1:
		c->actual = any(3);
		break;
	case 2:
		c->drift = (int)any(4);
		break;
	case 3:
		m->free[any(NUMA)] = any(2);
		break;
	case 4:
		m->state[any(NUMA)] = 1 + (int)any(3);
		break;
	case 5:
		if (any(10) == 0) /* a node comes or goes */
			m->n_numa = 1 + any(NUMA);
		break;
	default:
		break; /* nothing */
	}
}

/* --- comparing ---------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
	const PbContainer *const *x = a, *const *y = b;

	return strcmp((*x)->id, (*y)->id);
}

/* NUMA nodes, containers and reservations as bytes, in one order. */
static uint8_t *essence(const PbNodeReport *report, size_t *ret_len)
{
	PbNodeReport only = PB_NODE_REPORT__INIT;
	uint8_t *bytes;

	only.numa_nodes = report->numa_nodes;
	only.n_numa_nodes = report->n_numa_nodes;
	only.containers = report->containers;
	only.n_containers = report->n_containers;
	only.reservations = report->reservations;
	only.n_reservations = report->n_reservations;
	if (only.n_containers)
		qsort(only.containers, only.n_containers, sizeof(*only.containers), by_id);
	bytes = malloc(pb_node_report__get_packed_size(&only) + 1);
	assert_non_null(bytes);
	*ret_len = pb_node_report__pack(&only, bytes);
	return bytes;
}

static void assert_same(const PbNodeReport *a, const PbNodeReport *b)
{
	_cleanup_free_ uint8_t *x = NULL, *y = NULL;
	size_t n, k;

	x = essence(a, &n);
	y = essence(b, &k);
	assert_int_equal(n, k);
	assert_memory_equal(x, y, n);
}

/* --- tests -------------------------------------------------------------------------------------- */

/* What the scheduler's table has of the machine, as it shows it. */
static PbNodeReport *shown(const struct stow_machine *machine)
{
	PbNodeReport *report;
	uint8_t *bytes;
	size_t len;

	bytes = stow_machine_report(machine, SIZE_MAX, &len);
	assert_non_null(bytes);
	report = pb_node_report__unpack(NULL, len, bytes);
	free(bytes);
	assert_non_null(report);
	return report;
}

static void hear(struct stow_fleet *fleet, struct stow_machine *machine, PbNodeReport said)
{
	struct stow_report *update;
	struct stow_err err;

	said.name = (char *)(uintptr_t) "web-3";
	if (stow_report_decode(&said, &update, &err) < 0)
		fail_msg("%s", err.msg);
	if (stow_fleet_apply(fleet, machine, update, &err) < 0)
		fail_msg("%s", err.msg);
	stow_report_free(update);
}

static void run(uint32_t start)
{
	struct machine m = { .n_numa = NUMA };
	struct stow_fleet *fleet;
	struct stow_machine *machine;
	PbNodeReport *before = NULL;
	unsigned int full = 0, silent = 0;

	seed = start;
	for (size_t i = 0; i < NUMA; i++)
		m.state[i] = 1;
	assert_int_equal(stow_fleet_new(&fleet, NULL), 0);
	assert_int_equal(stow_fleet_get(fleet, "web-3", &machine, NULL), 0);
	for (int round = 0; round < ROUNDS; round++) {
		PbNodeReport *now = report_of(&m), *there, delta;
		bool news = agent_delta(before, now, &delta);

		if (news)
			hear(fleet, machine, delta);
		else
			assert_same(before, now);
		full += news && delta.full;
		silent += !news;
		agent_delta_done(&delta);
		there = shown(machine);
		assert_same(there, now);
		stow_rpc_message_free(there);
		stow_rpc_message_free(before);
		before = now;
		for (uint32_t n = any(3); n > 0; n--)
			change(&m);
	}
	/* All three have been there. */
	assert_in_range(full, 1, ROUNDS / 2);
	assert_in_range(silent, 1, ROUNDS - full - 1);
	stow_rpc_message_free(before);
	stow_fleet_free(fleet);
}

TEST(changes_make_the_full_report_again)
{
	for (uint32_t start = 1; start <= 20; start++)
		run(start);
}

TEST(the_first_report_is_full)
{
	struct machine m = { .n_numa = 2 };
	PbNodeReport *now = report_of(&m), delta;

	assert_true(agent_delta(NULL, now, &delta));
	assert_true(delta.full);
	assert_int_equal(delta.n_numa_nodes, 2);
	agent_delta_done(&delta);
	stow_rpc_message_free(now);
}

TEST(no_change_is_no_delta)
{
	struct machine m = { .n_numa = 2, .containers[1] = { .there = true, .reserved = true } };
	PbNodeReport *before = report_of(&m), *now = report_of(&m), delta;

	assert_false(agent_delta(before, now, &delta));
	assert_false(delta.full);
	assert_int_equal(delta.n_numa_nodes + delta.n_containers + delta.n_gone, 0);
	agent_delta_done(&delta);
	stow_rpc_message_free(before);
	stow_rpc_message_free(now);
}

TEST(containers_come_and_go)
{
	struct machine m = { .n_numa = 2, .containers[1] = { .there = true } };
	PbNodeReport *before = report_of(&m), *now, delta;

	m.containers[1].there = false;
	m.containers[2] = (struct container){ .there = true, .reserved = true };
	now = report_of(&m);
	assert_true(agent_delta(before, now, &delta));
	assert_false(delta.full);
	assert_int_equal(delta.n_numa_nodes, 0);
	assert_int_equal(delta.n_containers, 1);
	assert_string_equal(delta.containers[0]->id, "c2");
	assert_int_equal(delta.n_gone, 1);
	assert_string_equal(delta.gone[0], "c1");
	assert_int_equal(delta.n_reservations, 1);
	agent_delta_done(&delta);
	stow_rpc_message_free(before);
	stow_rpc_message_free(now);
}

/* All reservations are in every message: a change that has none of them ends them all. */
TEST(every_delta_has_all_reservations)
{
	struct machine m = { .n_numa = 2, .containers[1] = { .there = true, .reserved = true } };
	PbNodeReport *before = report_of(&m), *now, delta;

	m.free[0] = 1;
	now = report_of(&m);
	assert_true(agent_delta(before, now, &delta));
	assert_int_equal(delta.n_numa_nodes, 1);
	assert_int_equal(delta.n_containers, 0);
	assert_int_equal(delta.n_reservations, 1);
	agent_delta_done(&delta);
	stow_rpc_message_free(before);
	stow_rpc_message_free(now);
}

/* Drains, too; and one that begins or is forgotten is a change. */
TEST(every_delta_has_all_drains)
{
	struct machine m = { .n_numa = 2 };
	PbNodeReport *before = report_of(&m), *now = report_of(&m), delta;

	now->drains = calloc(1, sizeof(*now->drains));
	assert_non_null(now->drains);
	now->drains[now->n_drains++] = text("00000000000000a", 1);
	assert_true(agent_delta(before, now, &delta));
	assert_int_equal(delta.n_numa_nodes + delta.n_containers + delta.n_gone, 0);
	assert_int_equal(delta.n_drains, 1);
	agent_delta_done(&delta);
	assert_true(agent_delta(now, before, &delta));
	assert_int_equal(delta.n_drains, 0);
	agent_delta_done(&delta);
	assert_false(agent_delta(now, now, &delta));
	agent_delta_done(&delta);
	stow_rpc_message_free(before);
	stow_rpc_message_free(now);
}
