// SPDX-License-Identifier: Apache-2.0
/* What another tool changes: adopted when it fits, put back once, then left. */
#include "grant/agent.h"
#include "unit.h"

#include <fcntl.h>

#include "base/cleanup.h"
#include "grant/apply.h"
#include "grant/lease.h"
#include "grant/reconcile.h"
#include "played.h"

#define GIB (UINT64_C(1) << 30)

struct setup {
	struct played *p;
	struct stow_reconcile *reconcile;
};

/* Containers "own" with CPUs of its own on node 0 and "shared" on node 1. */
static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	s->p = played_new();
	played_container(s->p, 7, "own", 0, 2, GIB, true);
	played_container(s->p, 8, "shared", 1, 2, GIB, false);
	played_has(s->p, "own", "0-1", "0");
	played_has(s->p, "shared", "4-7", "1");
	assert_int_equal(stow_reconcile_new(&s->reconcile, NULL), 0);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	stow_reconcile_free(s->reconcile);
	played_free(s->p);
	free(s);
	return 0;
}

#define WITH_SETUP(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

/* A round, and what it counted. */
static void round_counts(struct setup *s, bool observe, uint64_t adopted, uint64_t restored,
			 uint64_t refused)
{
	struct stow_reconcile_result result;
	struct stow_err err = { 0 };

	if (stow_reconcile_run(s->reconcile, &s->p->context, observe, &result, &err) < 0)
		fail_msg("%s", err.msg);
	stow_apply_result_done(&result.problems);
	assert_int_equal(result.adopted, adopted);
	assert_int_equal(result.restored, restored);
	assert_int_equal(result.refused, refused);
}

static enum stow_drift drift_of(struct setup *s, const char *id)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = played_grant(s->p, id);

	return stow_reconcile_drift(s->reconcile, record->key);
}

static void grant_is(struct setup *s, const char *id, const char *cpus, const char *nodes)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = played_grant(s->p, id);
	char buf[64];

	played_cpus(s->p, record, buf, sizeof(buf));
	assert_string_equal(buf, cpus);
	assert_string_equal(stow_idset_format(&record->nodes, buf, sizeof(buf)), nodes);
}

WITH_SETUP(a_machine_at_rest_is_left_alone)
{
	uint32_t before;

	round_counts(s, false, 0, 0, 0);
	before = stow_ledger_changes(s->p->context.ledger);
	for (int i = 0; i < 3; i++)
		round_counts(s, false, 0, 0, 0);
	assert_int_equal(stow_ledger_changes(s->p->context.ledger), before);
	assert_int_equal(drift_of(s, "own"), STOW_DRIFT_NONE);
}

WITH_SETUP(what_fits_is_adopted)
{
	char kind[32];

	round_counts(s, false, 0, 0, 0);
	played_write(s->p, "own", "cpuset.cpus", "2-3");
	round_counts(s, false, 1, 0, 0);
	assert_string_equal(played_event(s->p, "own", kind, sizeof(kind)), "adopted");
	assert_int_equal(drift_of(s, "own"), STOW_DRIFT_ADOPTED);
	played_has(s->p, "own", "2-3", "0");
	grant_is(s, "own", "2-3", "0");
	round_counts(s, false, 0, 0, 0);
	/* Again, and something else. */
	played_write(s->p, "own", "cpuset.cpus", "1-3");
	round_counts(s, false, 1, 0, 0);
	grant_is(s, "own", "1-3", "0");
	assert_int_equal(played_records(s->p), 2);
}

WITH_SETUP(a_promise_moves_with_its_node)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;

	played_write(s->p, "shared", "cpuset.cpus", "2-3");
	played_write(s->p, "shared", "cpuset.mems", "0");
	round_counts(s, false, 1, 0, 0);
	record = played_grant(s->p, "shared");
	assert_int_equal(record->n_shares, 1);
	assert_int_equal(record->shares[0].node, 0);
	assert_int_equal(record->shares[0].memory, GIB);
	round_counts(s, false, 0, 0, 0);
}

WITH_SETUP(what_does_not_fit_is_put_back_once)
{
	char kind[32];

	/* Into the other's own CPUs. */
	played_write(s->p, "shared", "cpuset.cpus", "1,4-7");
	round_counts(s, false, 0, 1, 0);
	assert_string_equal(played_event(s->p, "shared", kind, sizeof(kind)), "kept");
	played_has(s->p, "shared", "4-7", "1");
	assert_int_equal(drift_of(s, "shared"), STOW_DRIFT_RESTORED);
	round_counts(s, false, 0, 0, 0);
	/* No fight: said once, and left. */
	played_write(s->p, "shared", "cpuset.cpus", "1,4-7");
	round_counts(s, false, 0, 0, 1);
	assert_string_equal(played_event(s->p, "shared", kind, sizeof(kind)), "left");
	for (int i = 0; i < 3; i++)
		round_counts(s, false, 0, 0, 0);
	played_has(s->p, "shared", "1,4-7", "1");
	assert_int_equal(drift_of(s, "shared"), STOW_DRIFT_REFUSED);
	grant_is(s, "shared", "4-7", "1");
	/* Something else again is said again. */
	played_write(s->p, "shared", "cpuset.cpus", "0-1");
	round_counts(s, false, 0, 0, 1);
	played_has(s->p, "shared", "0-1", "1");
}

/* Of four CPUs two are promised to a shared container. */
WITH_SETUP(cpus_that_others_were_promised_do_not_fit)
{
	played_container(s->p, 9, "third", 0, 2, 0, false);
	round_counts(s, false, 0, 0, 0);
	played_write(s->p, "own", "cpuset.cpus", "0-2");
	round_counts(s, false, 0, 1, 0);
	played_has(s->p, "own", "0-1", "0");
	/* As many as before do, though others. */
	played_write(s->p, "own", "cpuset.cpus", "2-3");
	round_counts(s, false, 1, 0, 0);
	played_has(s->p, "third", "0-1", "0");
}

WITH_SETUP(no_room_on_the_new_node_does_not_fit)
{
	played_container(s->p, 9, "large", 0, 1, 13 * GIB, false);
	played_container(s->p, 10, "wide", 1, 1, 4 * GIB, false);
	played_write(s->p, "wide", "cpuset.mems", "0");
	round_counts(s, false, 0, 1, 0);
	played_has(s->p, "wide", "4-7", "1");
}

WITH_SETUP(taking_all_cpus_does_not_fit)
{
	played_write(s->p, "own", "cpuset.cpus", "0-7");
	round_counts(s, false, 0, 1, 0);
	played_has(s->p, "own", "0-1", "0");
}

WITH_SETUP(observing_changes_nothing_and_counts_once)
{
	uint32_t before;

	round_counts(s, true, 0, 0, 0);
	before = stow_ledger_changes(s->p->context.ledger);
	played_write(s->p, "own", "cpuset.cpus", "2-3");
	played_write(s->p, "shared", "cpuset.cpus", "0,4-7");
	round_counts(s, true, 1, 1, 0);
	for (int i = 0; i < 3; i++)
		round_counts(s, true, 0, 0, 0);
	played_has(s->p, "own", "2-3", "0");
	played_has(s->p, "shared", "0,4-7", "1");
	grant_is(s, "own", "0-1", "0");
	grant_is(s, "shared", "4-7", "1");
	assert_int_equal(stow_ledger_changes(s->p->context.ledger), before);
}

WITH_SETUP(kubelets_are_left_alone)
{
	struct stow_reconcile_result result;
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	static const char path[] = "kubepods/pod6f1fba0d-9b7c-4a5e-8f6a-1d2e3c4b5a69";

	played_container(s->p, 9, path, 1, 1, 0, false);
	tree_write(s->p->t, "/var/lib/kubelet/cpu_manager_state",
		   "{\"policyName\":\"static\",\"entries\":{\"%s\":{\"app\":\"7\"}}}",
		   path + strlen("kubepods/pod"));
	played_write(s->p, path, "cpuset.cpus", "0");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(
			stow_reconcile_run(s->reconcile, &s->p->context, false, &result, NULL), 0);
		assert_int_equal(result.foreign, 1);
		assert_int_equal(result.adopted + result.restored + result.refused, 0);
		stow_apply_result_done(&result.problems);
	}
	played_has(s->p, path, "0", "1");
	record = played_grant(s->p, path);
	assert_true(stow_reconcile_is_foreign(s->reconcile, record->key));
}

WITH_SETUP(ended_containers_are_left_to_gc)
{
	struct stow_reconcile_result result;

	round_counts(s, false, 0, 0, 0);
	played_kill(s->p, 8, "shared");
	assert_int_equal(stow_reconcile_run(s->reconcile, &s->p->context, false, &result, NULL), 0);
	assert_int_equal(result.ended, 1);
	assert_int_equal(result.adopted + result.restored + result.refused, 0);
	stow_apply_result_done(&result.problems);
	assert_int_equal(played_records(s->p), 2);
}

static void online_is(struct played *p, const char *online, const char *of_node_1)
{
	tree_write(p->t, "/sys/devices/system/cpu/online", "%s\n", online);
	tree_write(p->t, "/sys/devices/system/cpu/present", "0-7\n");
	tree_write(p->t, "/sys/fs/cgroup/cpuset.cpus.effective", "%s\n", online);
	tree_write(p->t, "/sys/fs/cgroup/shared/cpuset.cpus.effective", "%s\n", of_node_1);
}

static int reads_of_online;

/* All CPUs come back when the run that was for their absence has ended: the round's own look,
 * whether the last run was for these, and the run have read which are online. */
static int come_back(void *ctx, const char *path, const char *value)
{
	struct played *p = ctx;

	(void)value;
	if (strcmp(path, "/sys/devices/system/cpu/online") == 0 && ++reads_of_online == 4)
		online_is(p, "0-7", "4-7");
	return 0;
}

static void come_back_in_the_next_round(struct setup *s)
{
	reads_of_online = 0;
	s->p->ops.before = come_back;
}

WITH_SETUP(cpus_that_come_while_others_are_applied_are_applied_next)
{
	round_counts(s, false, 0, 0, 0);
	online_is(s->p, "0-6", "4-6");
	come_back_in_the_next_round(s);
	round_counts(s, false, 0, 0, 0);
	assert_false(stow_apply_is_current(&s->p->context));
	round_counts(s, false, 0, 0, 0);
	assert_true(stow_apply_is_current(&s->p->context));
}

/* What it ran on meanwhile was written for another machine than the one that is looked at. */
WITH_SETUP(cpus_given_meanwhile_are_no_other_tools_change)
{
	char kind[32];

	online_is(s->p, "0-7", "4-7");
	round_counts(s, false, 0, 0, 0);
	online_is(s->p, "2-7", "4-7");
	come_back_in_the_next_round(s);
	round_counts(s, false, 0, 0, 0);
	assert_false(stow_apply_is_current(&s->p->context));
	assert_int_equal(drift_of(s, "own"), STOW_DRIFT_NONE);
	round_counts(s, false, 0, 0, 0);
	assert_true(stow_apply_is_current(&s->p->context));
	played_has(s->p, "own", "0-1", "0");
	assert_string_equal(played_event(s->p, "own", kind, sizeof(kind)), "placed");
}

/* The administrator reserves a CPU, and the agent reads its configuration again: the sets that were
 * right before are no other tool's change. */
WITH_SETUP(reserved_cpus_are_applied_and_not_adopted)
{
	static const char text[] = "reserved:\n  - node: 1\n    count: 1\n";
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_(stow_config_free_ptr) struct stow_config *config = NULL;
	_cleanup_close_ int agent = -EBADF;

	agent = stow_root_openat(s->p->t->root, O_RDWR | O_CREAT, 0600, NULL, "%s",
				 STOW_AGENT_LOCK_PATH);
	assert_true(agent >= 0);
	assert_int_equal(fcntl(agent, F_OFD_SETLK, &lock), 0);
	round_counts(s, false, 0, 0, 0);
	assert_int_equal(stow_config_parse(text, strlen(text), "config.yaml", &config, NULL), 0);
	s->p->context.config = config;
	stow_reconcile_free(s->reconcile);
	assert_int_equal(stow_reconcile_new(&s->reconcile, NULL), 0);
	round_counts(s, false, 0, 0, 0);
	played_has(s->p, "shared", "5-7", "1");
	round_counts(s, false, 0, 0, 0);
	/* And back. */
	s->p->context.config = s->p->config;
	stow_reconcile_free(s->reconcile);
	assert_int_equal(stow_reconcile_new(&s->reconcile, NULL), 0);
	round_counts(s, false, 0, 0, 0);
	played_has(s->p, "shared", "4-7", "1");
}

/* An exclusive container ends, and the write that gives its CPU back fails: the next run's work,
 * and no other tool's change. */
WITH_SETUP(what_a_failed_run_has_left_is_not_adopted)
{
	static const struct stow_apply_options plain = { 0 };

	played_container(s->p, 9, "brief", 1, 1, 0, true);
	round_counts(s, false, 0, 0, 0);
	played_has(s->p, "shared", "5-7", "1");
	played_kill(s->p, 9, "brief");
	s->p->refuse = "/sys/fs/cgroup/shared/cpuset.cpus";
	(void)stow_grant_release(&s->p->context, "brief", NULL);
	(void)stow_apply(&s->p->context, &plain, NULL, NULL);
	s->p->refuse = NULL;
	assert_true(stow_apply_is_current(&s->p->context));
	played_has(s->p, "shared", "5-7", "1");
	round_counts(s, false, 0, 0, 0);
	round_counts(s, false, 0, 0, 0);
	played_has(s->p, "shared", "4-7", "1");
	assert_int_equal(drift_of(s, "shared"), STOW_DRIFT_NONE);
	/* The same set is another tool's later on. */
	played_write(s->p, "shared", "cpuset.cpus", "5-7");
	round_counts(s, false, 1, 0, 0);
}

WITH_SETUP(a_failure_is_reported_and_other_containers_are_checked)
{
	struct stow_reconcile_result result;
	struct stow_err err = { 0 };

	played_container(s->p, 9, "third", 1, 1, 0, false);
	played_write(s->p, "shared", "cpuset.cpus", "0,4-7");
	played_write(s->p, "third", "cpuset.cpus", "0,4-7");
	s->p->refuse = "/sys/fs/cgroup/shared/cpuset.cpus";
	assert_int_equal(stow_reconcile_run(s->reconcile, &s->p->context, false, &result, &err),
			 -EIO);
	assert_non_null(strstr(err.msg, "cpuset.cpus"));
	assert_int_equal(result.restored, 2);
	stow_apply_result_done(&result.problems);
	played_has(s->p, "third", "4-7", "1");
}

/* cgroup v1: the kernel takes a node whose memory goes out of all sets, for good. */
WITH_SETUP(a_node_that_comes_back_is_given_back)
{
	struct tree *t = s->p->t;

	tree_write(t, "/sys/devices/system/node/has_memory", "0-1\n");
	round_counts(s, false, 0, 0, 0);
	tree_write(t, "/sys/devices/system/node/has_memory", "0\n");
	played_write(s->p, "shared", "cpuset.mems", "");
	round_counts(s, false, 0, 0, 0);
	tree_write(t, "/sys/devices/system/node/has_memory", "0-1\n");
	round_counts(s, false, 0, 0, 0);
	played_has(s->p, "shared", "4-7", "1");
	assert_int_equal(drift_of(s, "shared"), STOW_DRIFT_NONE);
}

/* One of two: it lacks what has come, and no other tool is blamed for it. */
WITH_SETUP(a_part_that_comes_back_is_given_back)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	struct tree *t = s->p->t;
	char kind[32];

	record = played_grant(s->p, "shared");
	stow_idset_add(&record->nodes, 0);
	assert_int_equal(stow_ledger_begin(s->p->context.ledger, NULL), 0);
	assert_int_equal(stow_ledger_update(s->p->context.ledger, record, NULL), 0);
	assert_int_equal(stow_ledger_commit(s->p->context.ledger, NULL), 0);
	played_write(s->p, "shared", "cpuset.mems", "0-1");
	tree_write(t, "/sys/devices/system/node/has_memory", "0-1\n");
	round_counts(s, false, 0, 0, 0);
	tree_write(t, "/sys/devices/system/node/has_memory", "0\n");
	played_write(s->p, "shared", "cpuset.mems", "0");
	round_counts(s, false, 0, 0, 0);
	tree_write(t, "/sys/devices/system/node/has_memory", "0-1\n");
	round_counts(s, false, 0, 0, 0);
	played_has(s->p, "shared", "4-7", "0-1");
	assert_string_equal(played_event(s->p, "shared", kind, sizeof(kind)), "placed");
}
