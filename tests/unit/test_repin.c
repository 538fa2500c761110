// SPDX-License-Identifier: Apache-2.0
/*
 * The steps of a repin in the ledger and in the container's cgroup: done, cancelled, failed, and
 * killed after each. That pages move is proven in virtual machines; here no process has any.
 */
#include "unit.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "grant/gc.h"
#include "grant/repin.h"
#include "played.h"

#define GIB   (UINT64_C(1) << 30)
#define STEPS (STOW_REPIN_VERIFIED + 1)

struct setup {
	struct played *p;
	enum stow_repin_step stop_at;
	bool kill;		    /* exit there, instead of cancelling */
	int told[STEPS];	    /* how often each step was reported */
	struct stow_root_ops inner; /* the played machine's */
	int accesses, fail_at;	    /* 0: none fails */
	bool all_after;		    /* all from that one on fail, as without descriptors */
};

/* Containers "own" with CPUs of its own and "shared", both on node 0. */
static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	s->p = played_new();
	played_container(s->p, 7, "own", 0, 2, GIB, true);
	played_container(s->p, 8, "shared", 0, 1, GIB, false);
	played_has(s->p, "own", "0-1", "0");
	played_has(s->p, "shared", "2-3", "0");
	s->stop_at = STEPS;
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	played_free(s->p);
	free(s);
	return 0;
}

#define WITH_SETUP(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

static int on_progress(void *ctx, const struct stow_repin_progress *progress)
{
	struct setup *s = ctx;

	s->told[progress->step]++;
	if (progress->step != s->stop_at)
		return 0;
	if (s->kill)
		_exit(42);
	return -ECANCELED;
}

static int repin(struct setup *s, const char *id, const char *nodes, struct stow_err *err)
{
	struct stow_repin_options options = { .batch = 4096, .progress = on_progress, .ctx = s };

	memset(s->told, 0, sizeof(s->told));
	assert_int_equal(stow_idset_parse(nodes, &options.nodes, NULL), 0);
	return stow_repin(&s->p->context, id, &options, err);
}

static void grant_is(struct setup *s, const char *id, const char *cpus, int node)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = played_grant(s->p, id);
	char buf[64];

	assert_int_equal(record->state, STOW_STATE_ACTIVE);
	played_cpus(s->p, record, buf, sizeof(buf));
	assert_string_equal(buf, cpus);
	assert_int_equal(stow_idset_count(&record->nodes), 1);
	assert_true(stow_idset_has(&record->nodes, node));
	assert_int_equal(record->n_shares, 1);
	assert_int_equal(record->shares[0].node, node);
	assert_int_equal(record->shares[0].memory, GIB);
}

/* Bytes that are promised on a node. */
static uint64_t promised(struct setup *s, int node)
{
	struct stow_record **records;
	uint64_t sum = 0;
	size_t n;

	assert_int_equal(stow_ledger_records(s->p->context.ledger, NULL, &records, &n, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		const struct stow_move *move = records[i]->move;

		for (size_t j = 0; j < records[i]->n_shares; j++)
			if (records[i]->shares[j].node == node)
				sum += records[i]->shares[j].memory;
		for (size_t j = 0; move && j < move->n_shares; j++)
			if (move->shares[j].node == node)
				sum += move->shares[j].memory;
	}
	stow_records_free(records, n);
	return sum;
}

static void everything_is_as_before(struct setup *s)
{
	struct stow_idset exclusive;
	char buf[32];

	assert_int_equal(played_records(s->p), 2);
	grant_is(s, "own", "0-1", 0);
	grant_is(s, "shared", "2-3", 0);
	played_has(s->p, "own", "0-1", "0");
	played_has(s->p, "shared", "2-3", "0");
	assert_int_equal(stow_ledger_exclusive(s->p->context.ledger, &exclusive, NULL), 0);
	assert_string_equal(stow_idset_format(&exclusive, buf, sizeof(buf)), "0-1");
	assert_int_equal(promised(s, 0), 2 * GIB);
	assert_int_equal(promised(s, 1), 0);
}

static void own_is_on_node_1(struct setup *s)
{
	struct stow_idset exclusive;
	char buf[32];

	assert_int_equal(played_records(s->p), 2);
	grant_is(s, "own", "4-5", 1);
	played_has(s->p, "own", "4-5", "1");
	played_has(s->p, "shared", "0-3", "0"); /* it may have those that are free again */
	assert_int_equal(stow_ledger_exclusive(s->p->context.ledger, &exclusive, NULL), 0);
	assert_string_equal(stow_idset_format(&exclusive, buf, sizeof(buf)), "4-5");
	assert_int_equal(promised(s, 0), GIB);
	assert_int_equal(promised(s, 1), GIB);
}

WITH_SETUP(a_repin_goes_through_all_steps)
{
	struct stow_err err = { 0 };
	char kind[32];

	if (repin(s, "own", "1", &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(s->told[STOW_REPIN_PLANNED], 1);
	assert_int_equal(s->told[STOW_REPIN_WIDENED], 1);
	assert_int_equal(s->told[STOW_REPIN_NARROWED], 1);
	assert_int_equal(s->told[STOW_REPIN_VERIFIED], 1);
	assert_string_equal(played_event(s->p, "own", kind, sizeof(kind)), "repinned");
	own_is_on_node_1(s);
}

WITH_SETUP(a_repin_without_nodes_chooses_another_node)
{
	struct stow_err err = { 0 };

	if (repin(s, "shared", "", &err) < 0)
		fail_msg("%s", err.msg);
	grant_is(s, "shared", "4-7", 1);
	played_has(s->p, "shared", "4-7", "1");
	assert_int_equal(repin(s, "shared", "1", &err), -EALREADY);
	assert_string_equal(err.msg, "container shared is on nodes 1 already");
}

/* The mover dies after `step`; the ledger is opened by it, as the agent's thread does. */
static void die_after(struct setup *s, enum stow_repin_step step)
{
	int status;
	pid_t pid;

	s->stop_at = step;
	s->kill = true;
	pid = fork();
	if (pid == 0) {
		struct stow_ledger *mine = NULL;

		if (stow_ledger_open(s->p->t->root, false, &mine, NULL) < 0)
			_exit(1);
		s->p->context.ledger = mine;
		(void)repin(s, "own", "1", NULL);
		_exit(2); /* it went beyond that step */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	s->stop_at = STEPS;
	s->kill = false;
}

WITH_SETUP(both_nodes_are_promised_during_a_repin)
{
	die_after(s, STOW_REPIN_WIDENED);
	assert_int_equal(played_records(s->p), 2);
	played_has(s->p, "own", "4-5", "0-1");
	grant_is(s, "own", "0-1", 0);
	assert_int_equal(promised(s, 0), 2 * GIB);
	assert_int_equal(promised(s, 1), GIB);
}

static void collected(struct setup *s, size_t undone)
{
	struct stow_gc_result result;
	struct stow_err err = { 0 };

	if (stow_gc(&s->p->context, &result, &err) < 0)
		fail_msg("%s", err.msg);
	stow_gc_result_done(&result);
	assert_int_equal(result.undone, undone);
	assert_int_equal(result.reclaimed + result.expired, 0);
}

WITH_SETUP(a_killed_repin_is_undone_by_gc)
{
	static const enum stow_repin_step steps[] = { STOW_REPIN_PLANNED, STOW_REPIN_WIDENED,
						      STOW_REPIN_NARROWED };
	struct stow_err err = { 0 };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(steps); i++) {
		die_after(s, steps[i]);
		assert_int_equal(played_records(s->p), 2);
		assert_int_equal(promised(s, 1), GIB);
		collected(s, 1);
		everything_is_as_before(s);
		collected(s, 0);
	}
	if (repin(s, "own", "1", &err) < 0)
		fail_msg("%s", err.msg);
	own_is_on_node_1(s);
}

/* The next repin does not wait for a collection. */
WITH_SETUP(a_killed_repin_is_undone_by_the_next_repin)
{
	static const enum stow_repin_step steps[] = { STOW_REPIN_PLANNED, STOW_REPIN_WIDENED,
						      STOW_REPIN_NARROWED };
	struct stow_err err = { 0 };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(steps); i++) {
		die_after(s, steps[i]);
		if (repin(s, "own", "1", &err) < 0)
			fail_msg("%s", err.msg);
		own_is_on_node_1(s);
		collected(s, 0);
		if (repin(s, "own", "0", &err) < 0)
			fail_msg("%s", err.msg);
		everything_is_as_before(s);
	}
}

WITH_SETUP(a_repin_killed_at_the_end_is_done)
{
	die_after(s, STOW_REPIN_VERIFIED);
	own_is_on_node_1(s);
	collected(s, 0);
	own_is_on_node_1(s);
}

WITH_SETUP(a_running_repin_is_not_undone)
{
	die_after(s, STOW_REPIN_WIDENED);
	played_process(s->p, 99, "agent");
	collected(s, 0);
	assert_int_equal(promised(s, 1), GIB);
	played_has(s->p, "own", "4-5", "0-1");
	played_kill(s->p, 99, NULL);
	collected(s, 1);
	everything_is_as_before(s);
}

WITH_SETUP(a_container_may_end_during_a_repin)
{
	struct stow_gc_result result;

	die_after(s, STOW_REPIN_WIDENED);
	played_kill(s->p, 7, "own");
	assert_int_equal(stow_gc(&s->p->context, &result, NULL), 0);
	stow_gc_result_done(&result);
	assert_int_equal(result.undone, 1);
	assert_int_equal(result.reclaimed, 1);
	assert_int_equal(played_records(s->p), 1);
	assert_int_equal(promised(s, 1), 0);
	played_has(s->p, "shared", "0-3", "0");
}

WITH_SETUP(a_repin_can_be_cancelled_until_it_is_verified)
{
	static const enum stow_repin_step steps[] = { STOW_REPIN_PLANNED, STOW_REPIN_WIDENED,
						      STOW_REPIN_NARROWED };
	struct stow_err err = { 0 };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(steps); i++) {
		s->stop_at = steps[i];
		assert_int_equal(repin(s, "own", "1", &err), -ECANCELED);
		assert_string_equal(err.msg, "the repin of own was cancelled");
		everything_is_as_before(s);
	}
	s->stop_at = STOW_REPIN_VERIFIED; /* too late */
	assert_int_equal(repin(s, "own", "1", &err), 0);
	own_is_on_node_1(s);
}

/* The played kernel refuses a write in the middle; those of the way back come after it. */
WITH_SETUP(a_failed_repin_is_undone)
{
	struct stow_err err = { 0 };

	s->p->refuse = "/sys/fs/cgroup/own/cpuset.mems";
	assert_int_equal(repin(s, "own", "1", &err), -EIO);
	assert_non_null(strstr(err.msg, "cpuset.mems"));
	s->p->refuse = NULL;
	everything_is_as_before(s);
}

static int fail_some(void *ctx, const char *path, const char *value)
{
	struct setup *s = ctx;
	int number = ++s->accesses;

	if (s->fail_at && (number == s->fail_at || (s->all_after && number > s->fail_at)))
		return -EMFILE;
	return s->inner.before(s->inner.ctx, path, value);
}

static void note_write(void *ctx, struct stow_root *root, const char *path, const char *value)
{
	struct setup *s = ctx;

	s->inner.wrote(s->inner.ctx, root, path, value);
}

/* Whichever access fails, the container has moved or not, and the next gc finishes what is left. */
WITH_SETUP(each_access_may_fail)
{
	struct stow_gc_result result;
	struct stow_err err = { 0 };
	int last;

	s->inner = s->p->ops;
	s->p->ops = (struct stow_root_ops){ .ctx = s, .before = fail_some, .wrote = note_write };
	assert_int_equal(repin(s, "own", "1", &err), 0);
	last = s->accesses;
	assert_true(last > 50);
	assert_int_equal(repin(s, "own", "0", &err), 0);
	for (int round = 0; round < 2; round++) {
		s->all_after = round;
		for (int at = 1; at <= last; at += round ? 5 : 1) {
			int r;

			s->accesses = 0;
			s->fail_at = at;
			r = repin(s, "own", "1", &err);
			s->fail_at = 0;
			assert_int_equal(stow_gc(&s->p->context, &result, NULL), 0);
			assert_int_equal(result.reclaimed + result.expired, 0);
			stow_gc_result_done(&result);
			if (r == 0 || strncmp(err.msg, "moved, but", 10) == 0) {
				own_is_on_node_1(s);
				assert_int_equal(repin(s, "own", "0", &err), 0);
			}
			everything_is_as_before(s);
		}
	}
}

WITH_SETUP(no_room_is_refused_with_nothing_changed)
{
	struct stow_idset fence;
	struct stow_err err = { 0 };
	uint32_t before;

	played_container(s->p, 9, "large", 1, 1, 15 * GIB, false);
	before = stow_ledger_changes(s->p->context.ledger);
	assert_int_equal(repin(s, "own", "1", &err), -ENOSPC);
	assert_int_equal(s->told[STOW_REPIN_PLANNED], 0);
	assert_int_equal(repin(s, "own", "", &err), -ENOSPC);
	assert_int_equal(repin(s, "own", "5", &err), -EINVAL);
	assert_int_equal(stow_ledger_changes(s->p->context.ledger), before);
	assert_int_equal(played_records(s->p), 3);
	played_has(s->p, "own", "0-1", "0");
	/* A fenced node has no room, either. */
	played_kill(s->p, 9, "large");
	fence = (struct stow_idset){ 0 };
	stow_idset_add(&fence, 1);
	assert_int_equal(stow_ledger_fence_set(s->p->context.ledger, "drain", &fence, NULL), 0);
	assert_int_equal(repin(s, "own", "1", &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "node 1 is fenced"));
}

WITH_SETUP(a_container_without_a_grant_is_not_moved)
{
	struct stow_err err = { 0 };

	assert_int_equal(repin(s, "nobody", "1", &err), -ENOENT);
	assert_string_equal(err.msg, "no container nobody has a grant here");
	assert_int_equal(repin(s, "", "1", &err), -ENOENT);
	played_kill(s->p, 7, "own");
	assert_int_equal(repin(s, "own", "1", &err), -ESRCH);
}

/* The container was started again with the same id, and its former grant was not released. */
WITH_SETUP(the_running_container_of_an_id_is_moved)
{
	struct stow_err err = { 0 };
	struct stow_record **records;
	char name[16];
	size_t n;

	/* A start looks at the newest containers, whose own start may have failed. */
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "newer-%d", i);
		played_container(s->p, 20 + i, name, 0, 0, 0, false);
	}
	played_kill(s->p, 8, "shared");
	played_container(s->p, 18, "shared", 0, 1, GIB, false);
	assert_int_equal(played_records(s->p), 7);
	if (repin(s, "shared", "1", &err) < 0)
		fail_msg("%s", err.msg);
	played_has(s->p, "shared", "4-7", "1");
	assert_int_equal(stow_ledger_records(s->p->context.ledger, "shared", &records, &n, NULL),
			 0);
	assert_int_equal(n, 2);
	assert_int_equal(records[0]->init.pid, 8);
	assert_true(stow_idset_has(&records[0]->nodes, 0));
	assert_int_equal(records[1]->init.pid, 18);
	assert_true(stow_idset_has(&records[1]->nodes, 1));
	stow_records_free(records, n);
}

WITH_SETUP(a_dry_run_changes_nothing)
{
	struct stow_repin_options options = { .dry_run = true, .progress = on_progress, .ctx = s };
	uint32_t before = stow_ledger_changes(s->p->context.ledger);

	stow_idset_add(&options.nodes, 1);
	assert_int_equal(stow_repin(&s->p->context, "own", &options, NULL), 0);
	assert_int_equal(s->told[STOW_REPIN_PLANNED], 1);
	assert_int_equal(s->told[STOW_REPIN_WIDENED], 0);
	assert_int_equal(stow_ledger_changes(s->p->context.ledger), before);
	everything_is_as_before(s);
}
