// SPDX-License-Identifier: Apache-2.0
/* An agent's reports of a made-up machine, and what a scheduler has of them. */
#include "unit.h"

#include <time.h>

#include "agent/delta.h"
#include "agent/source.h"
#include "base/cleanup.h"
#include "grant/claim.h"
#include "grant/claim_hold.h"
#include "grant/gc.h"
#include "grant/lease.h"
#include "ledger/drains.h"
#include "played.h"
#include "rpc/rpc.h"
#include "scheduler/fleet/fleet.h"

#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)
#define ID  "4c1f8e02a7b35d90"

struct setup {
	struct played *p;
	struct agent_source *source;
	PbNodeReport *current;
	struct stow_fleet *fleet;
	struct stow_machine *machine;
};

static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	s->p = played_new();
	assert_int_equal(agent_source_new(&s->p->context, &s->source, NULL), 0);
	assert_int_equal(stow_fleet_new(&s->fleet, NULL), 0);
	assert_int_equal(stow_fleet_get(s->fleet, "web-3", &s->machine, NULL), 0);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	stow_rpc_message_free(s->current);
	agent_source_free(s->source);
	stow_fleet_free(s->fleet);
	played_free(s->p);
	free(s);
	return 0;
}

#define WITH_SETUP(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

/* Look, and send the scheduler what has changed. Return whether anything had. */
static bool look(struct setup *s)
{
	struct stow_err err = { 0 };
	PbNodeReport *now, delta;
	bool news;

	if (agent_source_report(s->source, AGENT_LOOK_ALL, s->current, 64 * MIB, &now, &err) < 0)
		fail_msg("%s", err.msg);
	news = agent_delta(s->current, now, &delta);
	if (news) {
		struct stow_report *update;

		delta.name = (char *)(uintptr_t) "web-3";
		if (stow_report_decode(&delta, &update, &err) < 0 ||
		    stow_fleet_apply(s->fleet, s->machine, update, &err) < 0)
			fail_msg("%s", err.msg);
		stow_report_free(update);
	}
	agent_delta_done(&delta);
	stow_rpc_message_free(s->current);
	s->current = now;
	assert_int_equal(s->machine->n_containers, now->n_containers);
	assert_int_equal(s->machine->n_numa, now->n_numa_nodes);
	for (size_t i = 0; i < now->n_numa_nodes; i++) {
		assert_int_equal(s->machine->numa[i].free, now->numa_nodes[i]->cpus_free);
		assert_true(s->machine->numa[i].memory_free ==
			    now->numa_nodes[i]->memory_allocatable);
	}
	return news;
}

/* Process 7, in /c, gets the claim's first share. */
static void hold_claim(struct setup *s, const struct stow_claim *claim)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_subject subject = { .id = "c", .init = { .pid = 7, .start = 1 } };

	assert_int_equal(stow_cgroup_of_pid(s->p->t->root, 7, &cgroup, NULL), 0);
	subject.cgroup = cgroup;
	assert_int_equal(stow_claim_hold(&s->p->context, &subject, claim->uid, claim->shares[0].id,
					 false, &record, NULL),
			 0);
	assert_int_equal(stow_claim_enact(&s->p->context, record, cgroup, NULL, NULL), 0);
}

static const PbContainer *container(struct setup *s, const char *id)
{
	const PbContainer *found = NULL;

	for (size_t i = 0; i < s->current->n_containers; i++)
		if (strcmp(s->current->containers[i]->id, id) == 0) {
			assert_null(found);
			found = s->current->containers[i];
		}
	assert_non_null(found);
	return found;
}

/* A claim counts like any lease, once, whatever holds it. */
WITH_SETUP(a_claim_is_counted)
{
	const struct stow_claim_share share = { .id = "aaaaaaaa-0000-4000-8000-000000000001",
						.part = "main",
						.cpus = 2,
						.cpu_mode = STOW_CPU_EXCLUSIVE,
						.memory = GIB };
	const struct stow_claim claim = { .uid = "11111111-2222-4333-8444-555555555555",
					  .ns = "team",
					  .name = "db",
					  .shares = &share,
					  .n = 1 };
	const PbContainer *c;

	assert_int_equal(stow_claim_take(&s->p->context, &claim, NULL), 1);
	played_process(s->p, 7, "c");
	played_write(s->p, "c", "cpuset.cpus", "0-1");
	played_write(s->p, "c", "cpuset.mems", "0");
	for (int i = 0; i < 2; i++) {
		assert_true(look(s));
		assert_int_equal(s->current->numa_nodes[0]->cpus_exclusive, 2);
		assert_int_equal(s->current->numa_nodes[0]->memory_promised, GIB);
		c = container(s, "claim:team/db:aaaaaaaa-0000-4000-8000-000000000001");
		assert_int_equal(c->state, PB_CONTAINER_STATE_LEASE);
		assert_string_equal(c->cpus, "0-1");
		assert_int_equal(c->parts[0]->memory_promised, GIB);
		if (i == 0)
			hold_claim(s, &claim);
	}
	c = container(s, "c");
	assert_int_equal(c->state, PB_CONTAINER_STATE_ACTIVE);
	assert_string_equal(c->cpus, "0-1");
	assert_string_equal(c->numa_nodes, "0");
	assert_int_equal(c->n_parts, 0);
}

WITH_SETUP(a_report_has_the_grants)
{
	const PbNumaNode *node;
	const PbContainer *c;
	uint64_t before;

	assert_true(look(s));
	node = s->current->numa_nodes[0];
	assert_string_equal(node->cpus, "0-3");
	assert_int_equal(node->cpus_exclusive, 0);
	assert_int_equal(node->memory_promised, 0);
	assert_int_equal(node->distances[1], 20);
	before = node->memory_allocatable;
	played_container(s->p, 7, "own", 0, 2, GIB, true);
	assert_true(look(s));
	node = s->current->numa_nodes[0];
	assert_int_equal(node->cpus_exclusive, 2);
	assert_string_equal(node->cpus_shared, "2-3");
	assert_int_equal(node->memory_promised, GIB);
	assert_int_equal(node->memory_allocatable, before - GIB);
	c = container(s, "own");
	assert_true(c->exclusive);
	assert_int_equal(c->state, PB_CONTAINER_STATE_ACTIVE);
	assert_string_equal(c->cpus, "0-1");
	assert_string_equal(c->numa_nodes, "0");
	assert_int_equal(c->pid, 7);
	assert_int_equal(c->n_parts, 1);
	assert_int_equal(c->parts[0]->cpus, 2);
	assert_int_equal(c->parts[0]->memory_promised, GIB);
}

WITH_SETUP(a_machine_at_rest_is_no_news)
{
	played_container(s->p, 7, "own", 0, 2, GIB, true);
	assert_true(look(s));
	for (int i = 0; i < 3; i++)
		assert_false(look(s));
}

WITH_SETUP(an_ended_container_frees_its_cpus)
{
	struct stow_gc_result result;

	assert_true(look(s));
	played_container(s->p, 7, "own", 0, 2, GIB, true);
	played_container(s->p, 8, "shared", 1, 1, GIB, false);
	assert_true(look(s));
	assert_int_equal(s->machine->n_containers, 2);
	played_kill(s->p, 7, "own");
	assert_int_equal(stow_gc(&s->p->context, &result, NULL), 0);
	stow_gc_result_done(&result);
	assert_int_equal(result.reclaimed, 1);
	assert_true(look(s));
	assert_int_equal(s->machine->n_containers, 1);
	assert_string_equal(s->machine->containers[0].id, "shared");
	assert_int_equal(s->machine->numa[0].free, 4);
	assert_int_equal(s->machine->numa[0].exclusive, 0);
}

/* Readers know a container by its id, however often it was started. */
WITH_SETUP(a_restarted_container_is_reported_once)
{
	struct stow_gc_result result;

	played_container(s->p, 8, "c", 0, 1, GIB, false);
	assert_true(look(s));
	played_kill(s->p, 8, "c");
	played_container(s->p, 18, "c", 1, 1, GIB, false);
	assert_true(look(s));
	assert_int_equal(container(s, "c")->pid, 18);
	/* The next start has found that the former process has ended. */
	assert_int_equal(s->current->numa_nodes[0]->memory_promised, 0);
	assert_int_equal(s->current->numa_nodes[1]->memory_promised, GIB);
	assert_false(look(s));
	assert_int_equal(stow_gc(&s->p->context, &result, NULL), 0);
	stow_gc_result_done(&result);
	assert_int_equal(result.reclaimed, 0);
	assert_int_equal(s->machine->n_containers, 1);
}

WITH_SETUP(a_lease_is_listed)
{
	struct stow_lease lease = { .id = ID, .cpus = 1, .memory = GIB };
	uint64_t before;

	assert_true(look(s));
	stow_idset_add(&lease.nodes, 1);
	lease.lifetime = 60 * STOW_SECOND;
	before = stow_clock_boot();
	assert_int_equal(stow_lease_take(&s->p->context, &lease, NULL), 0);
	assert_true(look(s));
	assert_int_equal(s->current->n_reservations, 1);
	assert_string_equal(s->current->reservations[0], ID);
	assert_int_equal(s->machine->n_containers, 1);
	assert_true(s->machine->containers[0].lease);
	assert_true(s->machine->containers[0].until >= before + 59 * STOW_SECOND &&
		    s->machine->containers[0].until <= stow_clock_boot() + 61 * STOW_SECOND);
	/* A lease that only grows older is no news. */
	for (int i = 0; i < 5; i++)
		assert_false(look(s));
	assert_int_equal(stow_lease_drop(&s->p->context, ID, NULL), 1);
	assert_true(look(s));
	assert_int_equal(s->current->n_reservations, 0);
	assert_int_equal(s->machine->n_containers, 0);
	/* However long a lease was asked for, a day is the most. */
	lease.lifetime = UINT64_MAX;
	assert_int_equal(stow_lease_take(&s->p->context, &lease, NULL), 0);
	assert_true(look(s));
	assert_true(s->machine->containers[0].until <=
		    stow_clock_boot() + STOW_LEASE_MAX + STOW_SECOND);
}

static void free_memory(struct setup *s, uint64_t bytes)
{
	tree_write(s->p->t, "/sys/devices/system/node/node0/meminfo",
		   "Node 0 MemTotal: 16777216 kB\nNode 0 MemFree: %llu kB\n",
		   (unsigned long long)bytes / 1024);
}

/* A machine that breathes is no news, however it got where it is. */
WITH_SETUP(memory_is_news_in_steps)
{
	free_memory(s, 12 * GIB);
	assert_true(look(s));
	assert_true(s->current->numa_nodes[0]->memory_free == 12 * GIB);
	free_memory(s, 12 * GIB - 63 * MIB);
	assert_false(look(s));
	free_memory(s, 12 * GIB + 63 * MIB);
	assert_false(look(s));
	for (uint64_t i = 1; i <= 63; i++) { /* slowly, too */
		free_memory(s, 12 * GIB - i * MIB);
		assert_false(look(s));
	}
	free_memory(s, 12 * GIB - 65 * MIB);
	assert_true(look(s));
	assert_true(s->current->numa_nodes[0]->memory_free == 12 * GIB - 65 * MIB);
	assert_false(look(s));
}

WITH_SETUP(a_drain_is_seen_on_its_node)
{
	struct stow_drain_row row = {
		.id = ID, .step = STOW_DRAIN_STEP_FENCED, .node = 1, .force_taint = true
	};
	struct stow_idset fenced = { 0 };

	row.worker = s->p->context.self;
	assert_true(look(s));
	assert_int_equal(s->current->numa_nodes[1]->state, PB_NUMA_NODE_STATE_READY);
	stow_idset_add(&fenced, 0);
	assert_int_equal(stow_ledger_fence_set(s->p->context.ledger, "scheduler", &fenced, NULL),
			 0);
	assert_int_equal(stow_drain_row_begin(s->p->context.ledger, &row, NULL), 0);
	assert_true(look(s));
	assert_int_equal(s->current->numa_nodes[0]->state, PB_NUMA_NODE_STATE_FENCED);
	assert_int_equal(s->current->numa_nodes[1]->state, PB_NUMA_NODE_STATE_DRAINING);
	/* Pods are deleted while it goes on, and not while it is undone. */
	for (row.step = STOW_DRAIN_STEP_FENCED; row.step <= STOW_DRAIN_STEP_UNDOING; row.step++) {
		assert_int_equal(
			stow_drain_row_put_pages(s->p->context.ledger, &row, NULL, 0, NULL), 0);
		(void)look(s);
		assert_false(s->current->numa_nodes[0]->no_execute);
		assert_int_equal(s->current->numa_nodes[1]->no_execute,
				 row.step > STOW_DRAIN_STEP_FENCED &&
					 row.step < STOW_DRAIN_STEP_UNDOING);
	}
	row.step = STOW_DRAIN_STEP_DONE;
	row.ordered = true; /* so that it stays in the ledger */
	assert_int_equal(stow_drain_row_end(s->p->context.ledger, &row, "drained", NULL), 0);
	assert_true(look(s));
	assert_int_equal(s->current->numa_nodes[1]->state, PB_NUMA_NODE_STATE_READY);
}
