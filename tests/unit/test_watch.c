// SPDX-License-Identifier: Apache-2.0
/* Watchers of the fleet on calls without a network, which the test reads from, or does not. What a
 * change costs is counted. */
#include <errno.h>
#include <grpc/byte_buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/internal.h"
#include "scheduler/service/watch.h"
#include "unit.h"

#define MACHINES 40

/* --- calls ---------------------------------------------------------------- */

struct fake {
	void *data;
	uint64_t last;
	uint64_t state[MACHINES]; /* what it knows of each: `last_seen` */
	int refs;
	int closed;				   /* code */
	unsigned int n_sent, n_gone, synced_after; /* messages; 0: not synced */
	bool reads, is_written, closes_itself, out_of_order;
};

static struct scheduler s;
static unsigned long touched; /* calls of any function below */

int __wrap_stow_rpc_send_packed(struct stow_rpc_call *call, const struct stow_rpc_packed *packed);
struct stow_rpc_call *__wrap_stow_rpc_ref(struct stow_rpc_call *call);
void __wrap_stow_rpc_unref(struct stow_rpc_call *call);
bool __wrap_stow_rpc_is_written(struct stow_rpc_call *call);
void __wrap_stow_rpc_close(struct stow_rpc_call *call, const struct stow_err *err);
void __wrap_stow_rpc_set_data(struct stow_rpc_call *call, void *data);
void *__wrap_stow_rpc_data(const struct stow_rpc_call *call);

static struct fake *fake_of(struct stow_rpc_call *call)
{
	return (struct fake *)call;
}

static void got(struct fake *fake, const PbNodeEvent *event)
{
	fake->n_sent++;
	if (event->kind_case == PB_NODE_EVENT__KIND_SYNCED) {
		fake->synced_after = fake->n_sent;
	} else if (event->kind_case == PB_NODE_EVENT__KIND_GONE) {
		fake->n_gone++;
	} else {
		unsigned int at = (unsigned int)atoi(event->node->report->name + 2);

		/* The test's states grow with every change. */
		fake->out_of_order |= event->node->last_seen < fake->last;
		fake->last = event->node->last_seen;
		fake->state[at] = event->node->last_seen;
	}
}

int __wrap_stow_rpc_send_packed(struct stow_rpc_call *call, const struct stow_rpc_packed *packed)
{
	struct fake *fake = fake_of(call);
	ProtobufCMessage *event;
	struct stow_err err;

	touched++;
	if (fake->closed)
		return -EPIPE;
	assert_int_equal(
		rpc_unpack(rpc_packed_buffer(packed), &pb_node_event__descriptor, &event, &err), 0);
	got(fake, (const PbNodeEvent *)event);
	stow_rpc_message_free(event);
	fake->is_written = fake->reads;
	if (fake->closes_itself && !fake->closed) {
		fake->closed = ECANCELED;
		scheduler_watch_ops.closed(call, &s, NULL);
	}
	return 0;
}

struct stow_rpc_call *__wrap_stow_rpc_ref(struct stow_rpc_call *call)
{
	touched++;
	fake_of(call)->refs++;
	return call;
}

void __wrap_stow_rpc_unref(struct stow_rpc_call *call)
{
	fake_of(call)->refs--;
}

bool __wrap_stow_rpc_is_written(struct stow_rpc_call *call)
{
	touched++;
	return fake_of(call)->is_written;
}

void __wrap_stow_rpc_close(struct stow_rpc_call *call, const struct stow_err *err)
{
	fake_of(call)->closed = err ? err->code : -1;
}

void __wrap_stow_rpc_set_data(struct stow_rpc_call *call, void *data)
{
	fake_of(call)->data = data;
}

void *__wrap_stow_rpc_data(const struct stow_rpc_call *call)
{
	return fake_of((struct stow_rpc_call *)(uintptr_t)call)->data;
}

static struct stow_rpc_call *call_of(struct fake *fake)
{
	return (struct stow_rpc_call *)fake;
}

static void watch(struct fake *fake, bool reads, char **names, size_t n_names)
{
	PbWatchNodesRequest in = PB_WATCH_NODES_REQUEST__INIT;

	memset(fake, 0, sizeof(*fake));
	fake->reads = fake->is_written = reads;
	in.names = names;
	in.n_names = n_names;
	assert_int_equal(scheduler_watch_ops.open(call_of(fake), &s, &in, NULL), 0);
	/* The headers of the answer were written. */
	scheduler_watch_ops.written(call_of(fake), &s);
}

static void starts_to_read(struct fake *fake)
{
	fake->reads = fake->is_written = true;
	scheduler_watch_ops.written(call_of(fake), &s);
}

static void end(struct fake *fake)
{
	scheduler_watch_ops.closed(call_of(fake), &s, NULL);
	assert_int_equal(fake->refs, 0);
}

static void until_quiet(void)
{
	while (scheduler_watch_notify(&s))
		;
}

/* --- machines ------------------------------------------------------------- */

static uint64_t state_of[MACHINES], newest;

static void change(int i)
{
	char name[16];
	struct stow_machine *m;

	snprintf(name, sizeof(name), "m-%d", i);
	stow_lock_take(&s.fleet->lock);
	assert_int_equal(stow_fleet_get(s.fleet, name, &m, NULL), 0);
	m->last_seen = state_of[i] = ++newest;
	stow_fleet_refresh(s.fleet, m);
	scheduler_news(&s);
	stow_lock_give(&s.fleet->lock);
}

static void forget(const char *name)
{
	stow_lock_take(&s.fleet->lock);
	stow_fleet_forget(s.fleet, stow_fleet_find(s.fleet, name));
	scheduler_news(&s);
	stow_lock_give(&s.fleet->lock);
}

static int set_up(void **state)
{
	memset(&s, 0, sizeof(s));
	memset(state_of, 0, sizeof(state_of));
	newest = 0;
	pthread_mutex_init(&s.news_lock, NULL);
	stow_clock_cond_init(&s.news_changed);
	assert_int_equal(stow_fleet_new(&s.fleet, NULL), 0);
	assert_int_equal(scheduler_watch_new(&s, NULL), 0);
	for (int i = 0; i < MACHINES; i++)
		change(i);
	return 0;
}

static int tear_down(void **state)
{
	scheduler_watch_free(&s);
	stow_fleet_free(s.fleet);
	pthread_cond_destroy(&s.news_changed);
	pthread_mutex_destroy(&s.news_lock);
	return 0;
}

#define WITH_SETUP(name) TEST_WITH(name, void *nothing, set_up, tear_down)

static void knows_all(const struct fake *fake)
{
	assert_memory_equal(fake->state, state_of, sizeof(state_of));
	assert_false(fake->out_of_order);
}

/* --- what a change costs -------------------------------------------------- */

/* 100 changes, with so many watchers that do not read and one that does. */
static unsigned long cost(size_t n, unsigned int *ret_each)
{
	struct fake *idle = calloc(n, sizeof(*idle)), reader;
	unsigned int before;

	for (size_t i = 0; i < n; i++)
		watch(&idle[i], false, NULL, 0);
	watch(&reader, true, NULL, 0);
	until_quiet();
	knows_all(&reader);
	touched = 0;
	before = idle[0].n_sent;
	for (int i = 0; i < 100; i++) {
		change(i % 7);
		until_quiet();
		knows_all(&reader);
	}
	*ret_each = idle[0].n_sent;
	assert_int_equal(idle[0].n_sent, before);
	for (size_t i = 0; i < n; i++)
		end(&idle[i]);
	end(&reader);
	free(idle);
	return touched;
}

WITH_SETUP(a_change_costs_nothing_for_those_that_do_not_read)
{
	unsigned int each;
	unsigned long few = cost(1, &each), many = cost(2000, &each);

	assert_int_equal(many, few);
	assert_true(few > 100); /* the reader's */
	assert_int_equal(each, 1);
}

WITH_SETUP(watchers_share_a_packed_message)
{
	struct fake readers[100];
	unsigned long before;

	for (size_t i = 0; i < 100; i++)
		watch(&readers[i], true, NULL, 0);
	until_quiet();
	assert_int_equal(atomic_load(&s.watchers->packed), MACHINES);
	before = atomic_load(&s.watchers->sent);
	change(3);
	until_quiet();
	assert_int_equal(atomic_load(&s.watchers->packed), MACHINES + 1);
	assert_int_equal(atomic_load(&s.watchers->sent), before + 100);
	for (size_t i = 0; i < 100; i++) {
		knows_all(&readers[i]);
		assert_int_equal(readers[i].synced_after, MACHINES + 1);
		end(&readers[i]);
	}
}

/* --- what a watcher sees -------------------------------------------------- */

WITH_SETUP(one_that_reads_late_sees_each_final_state)
{
	struct fake late;

	watch(&late, false, NULL, 0);
	until_quiet();
	assert_int_equal(late.n_sent, 1);
	for (int i = 0; i < 1000; i++) {
		change(i % MACHINES);
		until_quiet();
	}
	assert_int_equal(late.n_sent, 1);
	starts_to_read(&late);
	until_quiet();
	knows_all(&late);
	/* Not each change, but each machine, and `synced`. */
	assert_int_equal(late.n_sent, 1 + MACHINES + 1);
	end(&late);
}

/* So late that its position is no longer known. */
WITH_SETUP(one_that_reads_very_late_sees_each_final_state)
{
	struct fake late, slow;

	watch(&late, false, NULL, 0);
	watch(&slow, true, NULL, 0);
	(void)scheduler_watch_notify(&s); /* one message to each */
	slow.reads = slow.is_written = false;
	for (unsigned int i = 0; i < STOW_RECENT_MIN + 1000; i++)
		change(20 + (int)i % (MACHINES - 20));
	starts_to_read(&slow);
	starts_to_read(&late);
	until_quiet();
	knows_all(&late);
	knows_all(&slow);
	assert_in_range(late.n_sent, MACHINES + 1, 2 * MACHINES + 1);
	end(&late);
	end(&slow);
}

/* Nor does one that comes, or reads, after many changes of others take many turns. */
WITH_SETUP(many_changes_cost_few_turns)
{
	struct fake fakes[64];
	unsigned long before;

	for (size_t i = 0; i < 32; i++)
		watch(&fakes[i], false, NULL, 0);
	until_quiet();
	change(0); /* the position of those is lost */
	for (unsigned int i = 0; i < STOW_RECENT_MIN - 1000; i++)
		change(30);
	for (size_t i = 32; i < 64; i++)
		watch(&fakes[i], true, NULL, 0);
	for (size_t i = 0; i < 32; i++)
		starts_to_read(&fakes[i]);
	before = atomic_load(&s.watchers->looked);
	until_quiet();
	assert_in_range(atomic_load(&s.watchers->looked) - before, 64, 64 * 40);
	for (size_t i = 0; i < 64; i++) {
		knows_all(&fakes[i]);
		end(&fakes[i]);
	}
}

/* In any order of changes and reading, what it knows in the end is what there is. */
WITH_SETUP(readers_of_all_speeds)
{
	struct fake fakes[8];
	unsigned int seed = 1;

	for (size_t i = 0; i < 8; i++)
		watch(&fakes[i], i % 2, NULL, 0);
	for (int round = 0; round < 3000; round++) {
		struct fake *fake = &fakes[rand_r(&seed) % 8];

		change(rand_r(&seed) % MACHINES);
		if (rand_r(&seed) % 2)
			(void)scheduler_watch_notify(&s);
		if (fake->reads)
			fake->reads = false;
		else
			starts_to_read(fake);
	}
	for (size_t i = 0; i < 8; i++) {
		if (!fakes[i].reads)
			starts_to_read(&fakes[i]);
		until_quiet();
		knows_all(&fakes[i]);
		assert_true(fakes[i].synced_after > 0);
		end(&fakes[i]);
	}
}

WITH_SETUP(names_and_removed_machines)
{
	char nine[] = "m-9", three[] = "m-3", none[] = "nothing", *names[] = { nine, three, none };
	struct fake named, all;

	watch(&named, true, names, 3);
	watch(&all, true, NULL, 0);
	until_quiet();
	assert_int_equal(named.n_sent, 3);
	change(4);
	forget("m-5");
	until_quiet();
	assert_int_equal(named.n_sent, 3);
	assert_int_equal(all.n_gone, 1);
	change(9);
	forget("m-3");
	until_quiet();
	assert_int_equal(named.n_sent, 5);
	assert_int_equal(named.n_gone, 1);
	assert_int_equal(named.state[9], state_of[9]);
	end(&named);
	end(&all);
}

WITH_SETUP(one_that_missed_too_many_removals_is_ended)
{
	struct fake late, reader;

	watch(&late, false, NULL, 0);
	watch(&reader, true, NULL, 0);
	for (int i = 0; i <= STOW_GONE_KEPT; i++) {
		until_quiet();
		change(0);
		forget("m-0");
	}
	until_quiet();
	assert_int_equal(reader.closed, 0);
	assert_int_equal(reader.n_gone, STOW_GONE_KEPT + 1);
	starts_to_read(&late);
	until_quiet();
	assert_int_equal(late.closed, ENOBUFS);
	end(&late);
	end(&reader);
}

WITH_SETUP(one_may_end_while_it_is_served)
{
	struct fake ends, stays;

	watch(&ends, true, NULL, 0);
	ends.closes_itself = true;
	watch(&stays, true, NULL, 0);
	until_quiet();
	assert_int_equal(ends.refs, 0);
	knows_all(&stays);
	end(&stays);
	for (size_t i = 0; i < WATCHER_STATES; i++)
		assert_int_equal(s.watchers->n[i], 0);
}

WITH_SETUP(too_many_names)
{
	static char *names[2000];
	PbWatchNodesRequest in = PB_WATCH_NODES_REQUEST__INIT;
	struct stow_err err = { 0 };
	struct fake fake = { 0 };
	char name[201];

	memset(name, 'x', 200);
	name[200] = '\0';
	for (size_t i = 0; i < 2000; i++)
		names[i] = name;
	in.names = names;
	in.n_names = 1025;
	assert_int_equal(scheduler_watch_ops.open(call_of(&fake), &s, &in, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "1025; at most 1024"));
	in.n_names = 1000;
	assert_int_equal(scheduler_watch_ops.open(call_of(&fake), &s, &in, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "at most 65536"));
}

/* The packed event is what ListNodes shows. */
WITH_SETUP(an_event_is_the_node)
{
	struct stow_idset fences = { 0 };
	struct stow_machine *m = stow_fleet_find(s.fleet, "m-1");
	PbNode *node;
	PbNodeEvent *event;
	uint8_t *bytes, *want, *got;
	size_t len, want_len;

	stow_idset_add(&fences, 3);
	assert_int_equal(stow_fleet_fence(s.fleet, m, &fences, NULL), 0);
	node = scheduler_nodes_show(m, true);
	bytes = scheduler_nodes_event(m, true, &len);
	assert_non_null(node);
	assert_non_null(bytes);
	event = pb_node_event__unpack(NULL, len, bytes);
	assert_non_null(event);
	assert_int_equal(event->kind_case, PB_NODE_EVENT__KIND_NODE);
	/* Time goes on between the two. */
	assert_true(node->silent_for > 0 && event->node->silent_for >= node->silent_for);
	event->node->silent_for = node->silent_for;
	want_len = pb_node__get_packed_size(node);
	assert_int_equal(pb_node__get_packed_size(event->node), want_len);
	want = malloc(want_len);
	got = malloc(want_len);
	pb_node__pack(node, want);
	pb_node__pack(event->node, got);
	assert_memory_equal(got, want, want_len);
	free(want);
	free(got);
	free(bytes);
	pb_node_event__free_unpacked(event, NULL);
	stow_rpc_message_free(node);
}
