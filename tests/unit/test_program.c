// SPDX-License-Identifier: Apache-2.0
/* Programs that are stowed like containers, on a played kernel of cgroup v1 and v2. */
#include "grant/program.h"
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "grant/gc.h"
#include "grant/program_group.h"
#include "kernel.h"
#include "node/hugepage.h"

#define ME   42 /* the process that becomes the program */
#define LAST 4000

/* Two nodes: CPUs 0-3 and 4-7. */
struct setup {
	struct kernel *k;
	struct stow_config *config;
	struct stow_grant_context context;
	const char *name;
	int slice; /* the cgroup that the program's is in */
	int fails; /* what joining returns */
	/* What happens between the plan and the reservation; or NULL. */
	void (*meanwhile)(struct setup *s);
	bool joined;
	unsigned long set; /* writes to cpusets since */
	unsigned long step, kill_at, fail_at;
};

static int count(void *ctx, const char *path, const char *value)
{
	struct setup *s = ctx;

	s->step++;
	if (s->joined && value && strstr(path, "cpuset."))
		s->set++;
	if (s->step == s->kill_at)
		raise(SIGKILL);
	return s->step == s->fail_at ? -EIO : 0;
}

static int set_up(void **state, int version)
{
	struct setup *s = calloc(1, sizeof(*s));

	s->k = kernel_new(version, 2);
	s->k->fault = count;
	s->k->fault_ctx = s;
	assert_int_equal(stow_config_read(s->k->t->root, &s->config, NULL), 0);
	s->context.root = s->k->t->root;
	s->context.config = s->config;
	s->context.self = (struct stow_pidref){ .pid = ME, .start = 1 };
	kernel_fork(s->k, ME, 0);
	assert_int_equal(stow_ledger_open(s->k->t->root, true, &s->context.ledger, NULL), 0);
	*state = s;
	return 0;
}

static int set_up_v1(void **state)
{
	return set_up(state, 1);
}

static int set_up_v2(void **state)
{
	return set_up(state, 2);
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	stow_ledger_close(s->context.ledger);
	stow_config_free(s->config);
	kernel_free(s->k);
	free(s);
	return 0;
}

#define BOTH(name)                                    \
	UNIT_BODY(name, struct setup *s)              \
	UNIT_ADD(name, " (v2)", set_up_v2, tear_down) \
	UNIT_ADD(name, " (v1)", set_up_v1, tear_down) \
	static void name##_(struct setup *s)
#define WITH_SETUP(name) TEST_WITH(name, struct setup *s, set_up_v2, tear_down)

/* Make the cgroup as systemd makes a scope, with the sets that were planned; and on v1 with those
 * of the cgroup above. */
static int join(void *ctx, const struct stow_made_sets *planned, struct stow_err *err)
{
	struct setup *s = ctx;
	const struct kernel_cgroup *up = &s->k->s->cgroups[s->slice];
	void (*meanwhile)(struct setup *) = s->meanwhile;
	int cgroup;

	if (s->fails)
		return stow_err_set(err, -s->fails, "no scope");
	cgroup = kernel_mkdir(s->k, s->slice, s->name);
	if (s->k->version == 1) {
		assert_int_equal(kernel_write(s->k, cgroup, false, up->mems), 0);
		assert_int_equal(kernel_write(s->k, cgroup, true, up->cpus), 0);
	} else {
		uint32_t cpus = (uint32_t)planned->cpus.bits[0];
		uint32_t mems = (uint32_t)planned->mems.bits[0];

		assert_int_equal(kernel_write(s->k, cgroup, false, mems ? mems : 3), 0);
		assert_int_equal(kernel_write(s->k, cgroup, true, cpus ? cpus : 0xff), 0);
	}
	s->meanwhile = NULL;
	if (meanwhile)
		meanwhile(s);
	s->joined = true;
	return kernel_move(s->k, (int)s->context.self.pid, cgroup);
}

static int place_as(struct setup *s, const char *name, const struct stow_request *request,
		    struct stow_placed *placed, struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	const struct stow_program program = {
		.name = name, .request = request, .join = join, .ctx = s
	};

	s->name = name;
	return stow_program_place(&s->context, &program, placed, &refusal, err);
}

static struct stow_request request_of(int node, uint32_t cpus, bool exclusive)
{
	struct stow_request request = { .cpus = cpus, .nodes_auto = node < 0 };

	request.cpu_mode = exclusive ? STOW_CPU_EXCLUSIVE : STOW_CPU_SHARED;
	if (node >= 0)
		stow_idset_add(&request.nodes, node);
	return request;
}

static size_t records(struct setup *s)
{
	struct stow_record **list;
	size_t n;

	assert_int_equal(stow_ledger_records(s->context.ledger, NULL, &list, &n, NULL), 0);
	stow_records_free(list, n);
	return n;
}

static void collect(struct setup *s)
{
	struct stow_gc_result result;
	struct stow_err err = { 0 };

	if (stow_gc(&s->context, &result, &err) < 0)
		fail_msg("%s", err.msg);
	stow_gc_result_done(&result);
}

BOTH(a_program_has_what_a_container_has)
{
	_cleanup_(stow_placed_done) struct stow_placed placed = { 0 };
	struct stow_request request = request_of(1, 2, true);
	struct stow_idset taken;
	struct stow_err err = { 0 };
	int cgroup;

	if (place_as(s, "db", &request, &placed, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(placed.record->id, "db");
	assert_int_equal(placed.record->state, STOW_STATE_ACTIVE);
	assert_int_equal(placed.record->init.pid, ME);
	assert_int_equal(stow_idset_count(&placed.cpus), 2);
	assert_true(stow_idset_equal(&placed.cpus, &placed.record->cpus));
	assert_int_equal(placed.mems.bits[0], 2);
	cgroup = kernel_cgroup_of(s->k, ME);
	assert_int_equal(s->k->s->cgroups[cgroup].cpus_effective, placed.cpus.bits[0]);
	assert_int_equal(stow_ledger_exclusive(s->context.ledger, &taken, NULL), 0);
	assert_true(stow_idset_equal(&taken, &placed.cpus));
	/* It lives: garbage collection leaves it alone. When it has ended, all of it goes. */
	collect(s);
	assert_int_equal(records(s), 1);
	kernel_exit(s->k, ME);
	collect(s);
	assert_int_equal(records(s), 0);
}

BOTH(a_shared_program_leaves_exclusive_cpus)
{
	_cleanup_(stow_placed_done) struct stow_placed shared = { 0 }, own = { 0 };
	struct stow_request request = request_of(0, 1, false);
	int first;

	assert_int_equal(place_as(s, "db", &request, &shared, NULL), 0);
	assert_int_equal(shared.cpus.bits[0], 0xf);
	assert_int_equal(shared.mems.bits[0], 1);
	/* Another process of another name, in a cgroup below another one. */
	s->slice = kernel_mkdir(s->k, 0, "other");
	if (s->k->version == 1) {
		assert_int_equal(kernel_write(s->k, s->slice, false, 3), 0);
		assert_int_equal(kernel_write(s->k, s->slice, true, 0xff), 0);
	}
	request = request_of(0, 2, true);
	first = kernel_cgroup_of(s->k, ME);
	kernel_fork(s->k, 77, first); /* keeps the first one alive */
	kernel_move(s->k, ME, 0);
	assert_int_equal(place_as(s, "exclusive", &request, &own, NULL), 0);
	assert_int_equal(stow_idset_count(&own.cpus), 2);
	assert_int_equal(own.cpus.bits[0] & ~UINT64_C(0xf), 0);
	assert_int_equal(s->k->s->cgroups[first].cpus_effective, 0xf & ~own.cpus.bits[0]);
}

BOTH(a_name_is_one_programs)
{
	static const char *const bad[] = {
		"",	    "-x",
		".x",	    "_x",
		"a/b",	    "a b",
		"a@b",	    "..",
		"\xc3\xa4", "0123456789012345678901234567890123456789012345678901234567890123",
	};
	_cleanup_(stow_placed_done) struct stow_placed placed = { 0 }, second = { 0 };
	struct stow_request request = request_of(-1, 1, false);
	struct stow_err err;

	assert_int_equal(stow_program_check_name("db-1.x_y", NULL), 0);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		assert_int_equal(stow_program_check_name(bad[i], &err), -EINVAL);
		assert_non_null(strstr(err.msg, "--name"));
	}
	assert_int_equal(place_as(s, "db", &request, &placed, NULL), 0);
	assert_int_equal(place_as(s, "db", &request, &second, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "\"db\""));
	assert_int_equal(records(s), 1);
}

BOTH(what_does_not_fit_is_refused_before_anything_changes)
{
	_cleanup_(stow_placed_done) struct stow_placed placed = { 0 };
	struct stow_request request = request_of(0, 5, true);
	struct stow_err err;

	assert_int_equal(place_as(s, "db", &request, &placed, &err), -ENOSPC);
	assert_int_equal(kernel_cgroup_of(s->k, ME), 0);
	assert_int_equal(records(s), 0);
	/* Nor does anything remain where there is no cgroup for it. */
	request = request_of(0, 1, true);
	s->fails = -ECONNREFUSED;
	assert_int_equal(place_as(s, "db", &request, &placed, &err), -ECONNREFUSED);
	assert_string_equal(err.msg, "no scope");
	assert_int_equal(records(s), 0);
}

/* The scope is made for the plan: nothing is left to write, nor to tell systemd. */
WITH_SETUP(a_scope_has_its_sets_from_the_start)
{
	_cleanup_(stow_placed_done) struct stow_placed shared = { 0 }, own = { 0 }, any = { 0 };
	struct stow_request request = request_of(1, 2, false);

	assert_int_equal(place_as(s, "shared", &request, &shared, NULL), 0);
	assert_int_equal(shared.cpus.bits[0], 0xf0);
	assert_int_equal(shared.mems.bits[0], 2);
	assert_int_equal(s->set, 0);
	/* The exclusive CPUs of others are not planned for it. */
	kernel_exit(s->k, ME);
	collect(s);
	kernel_fork(s->k, ME, 0);
	request = request_of(0, 2, true);
	assert_int_equal(place_as(s, "own", &request, &own, NULL), 0);
	assert_int_equal(stow_idset_count(&own.cpus), 2);
	assert_int_equal(s->set, 0);
	kernel_fork(s->k, 77, 0);
	s->context.self.pid = 77;
	request = request_of(0, 1, false);
	request.memory_policy = STOW_MEMORY_PREFERRED;
	assert_int_equal(place_as(s, "any", &request, &any, NULL), 0);
	assert_int_equal(any.cpus.bits[0], 0xf & ~own.cpus.bits[0]);
	assert_int_equal(any.mems.bits[0], 3);
}

static void take_node_0(struct setup *s)
{
	_cleanup_(stow_placed_done) struct stow_placed placed = { 0 };
	struct stow_request request = request_of(0, 4, true);

	kernel_fork(s->k, 77, 0);
	s->context.self.pid = 77;
	assert_int_equal(place_as(s, "first", &request, &placed, NULL), 0);
	s->context.self.pid = ME;
}

/* The room is taken after the program was planned there, and before it has its record. */
BOTH(a_program_that_comes_between_is_respected)
{
	_cleanup_(stow_placed_done) struct stow_placed placed = { 0 };
	struct stow_request request = request_of(-1, 2, true);
	struct stow_err err = { 0 };

	s->meanwhile = take_node_0;
	if (place_as(s, "db", &request, &placed, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(placed.cpus.bits[0] & ~UINT64_C(0xf0), 0);
	assert_int_equal(stow_idset_count(&placed.cpus), 2);
	assert_int_equal(placed.mems.bits[0], 2);
	assert_true(s->set > 0);
}

/* v2 accepts what the cgroup above does not have, and uses that one's whole set. */
WITH_SETUP(a_narrow_cgroup_above_is_respected)
{
	_cleanup_(stow_placed_done) struct stow_placed placed = { 0 }, none = { 0 };
	struct stow_request request = request_of(0, 2, true);
	struct stow_err err = { 0 };

	s->slice = kernel_mkdir(s->k, 0, "narrow");
	assert_int_equal(kernel_write(s->k, s->slice, false, 3), 0);
	assert_int_equal(kernel_write(s->k, s->slice, true, 0xc0), 0);
	/* CPUs of node 0 are not among its. */
	assert_true(place_as(s, "db", &request, &none, &err) < 0);
	assert_int_equal(records(s), 0);
	kernel_move(s->k, ME, 0);
	request = request_of(1, 2, true);
	s->slice = kernel_mkdir(s->k, 0, "narrow2");
	assert_int_equal(kernel_write(s->k, s->slice, false, 3), 0);
	assert_int_equal(kernel_write(s->k, s->slice, true, 0xc0), 0);
	if (place_as(s, "db", &request, &placed, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(placed.cpus.bits[0], 0xc0);
}

/* The process is killed at each access, one after the other: garbage collection takes all back. */
BOTH(killed_at_any_step_nothing_is_lost)
{
	struct stow_request request = request_of(1, 2, true);
	unsigned long at;
	bool killed = true;

	for (at = 1; killed && at < LAST; at++) {
		struct stow_idset taken;
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			_cleanup_(stow_placed_done) struct stow_placed placed = { 0 };

			s->step = 0;
			s->kill_at = at;
			/* A descriptor of the ledger of its own. */
			if (stow_ledger_open(s->context.root, true, &s->context.ledger, NULL) < 0)
				_exit(2);
			_exit(place_as(s, "db", &request, &placed, NULL) == 0 ? 0 : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		killed = WIFSIGNALED(status);
		assert_true(killed || WEXITSTATUS(status) == 0);
		kernel_exit(s->k, ME);
		collect(s);
		assert_int_equal(records(s), 0);
		assert_int_equal(stow_ledger_exclusive(s->context.ledger, &taken, NULL), 0);
		assert_true(stow_idset_empty(&taken));
		for (int i = 1; i < KERNEL_CGROUPS; i++)
			if (s->k->s->cgroups[i].used)
				kernel_rmdir(s->k, i);
		kernel_fork(s->k, ME, 0);
	}
	assert_true(!killed && at > 10);
}

/* An access fails, one after the other: either the program is placed, or nothing is granted. */
BOTH(what_fails_leaves_nothing)
{
	struct stow_request request = request_of(1, 2, true);
	unsigned long failed = 0;

	for (unsigned long at = 1; at < LAST; at++) {
		_cleanup_(stow_placed_done) struct stow_placed placed = { 0 };
		struct stow_err err = { 0 };
		int r;

		s->step = 0;
		s->fail_at = at;
		r = place_as(s, "db", &request, &placed, &err);
		s->fail_at = 0;
		if (r < 0) {
			failed++;
			assert_true(err.msg[0]);
			collect(s);
			if (records(s) != 0)
				fail_msg("step %lu: %s", at, err.msg);
		} else {
			assert_int_equal(records(s), 1);
		}
		kernel_exit(s->k, ME);
		collect(s);
		assert_int_equal(records(s), 0);
		for (int i = 1; i < KERNEL_CGROUPS; i++)
			if (s->k->s->cgroups[i].used)
				kernel_rmdir(s->k, i);
		kernel_fork(s->k, ME, 0);
		if (s->step < at)
			break;
	}
	assert_true(failed > 10);
}

/* --- groups without systemd ----------------------------------------------- */

TEST(empty_groups_are_removed)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_err err = { 0 };

	tree_write(t, "/proc/self/mountinfo",
		   "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
		   "40 31 0:40 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
		   "41 31 0:41 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
	tree_mkdir(t, "/run");
	tree_mkdir(t, "/sys/fs/cgroup/cpuset/numastow/a/below/deep");
	tree_mkdir(t, "/sys/fs/cgroup/memory/numastow/a");
	/* A file is here what a process is in the kernel: the folder cannot be removed. */
	tree_write(t, "/sys/fs/cgroup/cpuset/numastow/b/tasks", "7\n");
	tree_mkdir(t, "/sys/fs/cgroup/memory/numastow/b");
	/* No program has run: nothing is looked at. */
	assert_int_equal(stow_programs_sweep(t->root, &err), 0);
	assert_int_equal(stow_root_exists(t->root, "/sys/fs/cgroup/cpuset/numastow/a"), 1);
	int lock = stow_programs_lock(t->root, &err);
	stow_root_unlock(&lock);
	assert_int_equal(stow_programs_sweep(t->root, &err), 3);
	assert_int_equal(stow_root_exists(t->root, "/sys/fs/cgroup/cpuset/numastow/a"), 0);
	assert_int_equal(stow_root_exists(t->root, "/sys/fs/cgroup/memory/numastow/a"), 0);
	assert_int_equal(stow_root_exists(t->root, "/sys/fs/cgroup/cpuset/numastow/b"), 1);
	assert_true(stow_program_remove(t->root, "b", &err) < 0);
	assert_int_equal(stow_program_remove(t->root, "nosuch", &err), 0);
}

TEST(the_default_size_is_read)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_err err;
	uint64_t size;

	assert_true(stow_pool_default_size(t->root, &size, &err) < 0);
	tree_write(t, "/proc/meminfo", "MemTotal: 1 kB\nHugepagesize:       2048 kB\nX: 1 kB\n");
	assert_int_equal(stow_pool_default_size(t->root, &size, &err), 0);
	assert_int_equal(size, 2U << 20);
	for (int i = 0; i < 4; i++) {
		static const char *const odd[] = { "", "MemTotal: 1 kB\n", "x\nHugepagesize: \n",
						   "x\nHugepagesize: 99999999999999999999 kB\n" };

		tree_write(t, "/proc/meminfo", "%s", odd[i]);
		assert_int_equal(stow_pool_default_size(t->root, &size, &err), -ENOENT);
	}
}
