// SPDX-License-Identifier: Apache-2.0
/* The applier: each fault that was seen on machines, on a played kernel of cgroup v1 and v2. */
#include "grant/grant.h"
#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "grant/gc.h"
#include "grant/reconcile.h"
#include "grant/repin.h"
#include "kernel.h"

#define MIB (UINT64_C(1) << 20)

/* Two nodes: CPUs 0-3 and 4-7. */
struct setup {
	struct kernel *k;
	struct stow_config *config;
	struct stow_grant_context context;
	const char *refuse;		   /* writes below this path fail; or NULL */
	struct stow_apply_result problems; /* of the last run */
	int other;			   /* for a repin's progress: what happens meanwhile */
};

static int refuse(void *ctx, const char *path, const char *value)
{
	const struct setup *s = ctx;

	return value && s->refuse && strstr(path, s->refuse) ? -EIO : 0;
}

static int set_up(void **state, int version)
{
	struct setup *s = calloc(1, sizeof(*s));

	s->k = kernel_new(version, 2);
	s->k->fault = refuse;
	s->k->fault_ctx = s;
	assert_int_equal(stow_config_read(s->k->t->root, &s->config, NULL), 0);
	s->context.root = s->k->t->root;
	s->context.config = s->config;
	s->context.self = (struct stow_pidref){ .pid = 99, .start = 1 };
	kernel_fork(s->k, 99, 0);
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

	stow_apply_result_done(&s->problems);
	stow_ledger_close(s->context.ledger);
	stow_config_free(s->config);
	kernel_free(s->k);
	free(s);
	return 0;
}

#define BOTH(name)                                    \
	UNIT_BODY(name, struct setup *s)              \
	UNIT_ADD(name, " (v1)", set_up_v1, tear_down) \
	UNIT_ADD(name, " (v2)", set_up_v2, tear_down) \
	static void name##_(struct setup *s)
#define V2(name) TEST_WITH(name, struct setup *s, set_up_v2, tear_down)
#define V1(name) TEST_WITH(name, struct setup *s, set_up_v1, tear_down)

/* A cgroup with the sets that a runtime gives it, and its first process. */
static int create(struct setup *s, int above, int pid, const char *id, uint32_t given)
{
	int cgroup = kernel_mkdir(s->k, above, id);
	const struct kernel_cgroup *up = &s->k->s->cgroups[above];

	if (s->k->version == 1)
		assert_int_equal(kernel_write(s->k, cgroup, false, up->mems), 0);
	if (s->k->version == 1 || given)
		assert_int_equal(kernel_write(s->k, cgroup, true, given ? given : up->cpus), 0);
	kernel_fork(s->k, pid, cgroup);
	return cgroup;
}

static int place(struct setup *s, int pid, const char *id, int node, uint32_t cpus, bool exclusive,
		 struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_subject subject = { .id = id, .init = { .pid = pid, .start = 1 } };
	struct stow_request request = { .cpus = cpus, .memory = 64 * MIB };
	int r;

	request.cpu_mode = exclusive ? STOW_CPU_EXCLUSIVE : STOW_CPU_SHARED;
	stow_idset_add(&request.nodes, node);
	assert_int_equal(stow_cgroup_of_pid(s->context.root, pid, &cgroup, err), 0);
	subject.cgroup = cgroup;
	r = stow_grant_reserve(&s->context, &subject, &request, NULL, 0, &record, &refusal, err);
	if (r == 0)
		r = stow_grant_enact(&s->context, record, &request, false, cgroup, NULL, err);
	if (r < 0 && record)
		(void)stow_grant_undo(&s->context, record, cgroup, "undone", "", NULL);
	return r;
}

/* A container with a grant, at once. */
static int placed(struct setup *s, int pid, const char *id, int node, uint32_t cpus, bool exclusive)
{
	int cgroup = create(s, 0, pid, id, 0);
	struct stow_err err = { 0 };

	if (place(s, pid, id, node, cpus, exclusive, &err) < 0)
		fail_msg("%s", err.msg);
	return cgroup;
}

/* The hook of an unmanaged container. */
static void enter(struct setup *s, int pid, const char *id, uint32_t given)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_unmanaged entry = { .init = { .pid = pid, .start = 1 } };
	struct stow_err err = { 0 };

	assert_int_equal(stow_cgroup_of_pid(s->context.root, pid, &cgroup, &err), 0);
	snprintf(entry.id, sizeof(entry.id), "%s", id);
	entry.cgroup = cgroup->id;
	entry.given.bits[0] = given;
	if (stow_apply_unmanaged(s->context.root, &entry, &err) < 0)
		fail_msg("%s", err.msg);
}

static int unmanaged(struct setup *s, int pid, const char *id, uint32_t given)
{
	int cgroup = create(s, 0, pid, id, given);

	enter(s, pid, id, given);
	return cgroup;
}

static void end(struct setup *s, int pid, int cgroup, const char *id)
{
	kernel_exit(s->k, pid);
	kernel_rmdir(s->k, cgroup);
	assert_int_equal(stow_grant_release(&s->context, id, NULL), 1);
}

static void run(struct setup *s, size_t problems)
{
	struct stow_gc_result result;
	struct stow_err err = { 0 };

	stow_apply_result_done(&s->problems);
	if (stow_gc(&s->context, &result, &err) < 0)
		fail_msg("%s", err.msg);
	s->problems = result.problems;
	if (result.problems.n_problems != problems)
		fail_msg("%zu problems: %s", result.problems.n_problems,
			 result.problems.n_problems ? result.problems.problems[0].text : "");
}

static void has(struct setup *s, int cgroup, const char *cpus)
{
	char list[64];

	assert_string_equal(
		kernel_list(s->k->s->cgroups[cgroup].cpus_effective, list, sizeof(list)), cpus);
}

/* --- kind: where a container is --------------------------------------------------------------- */

BOTH(a_first_process_in_init_scope_is_still_the_containers)
{
	int c = unmanaged(s, 10, "systemd", 0), scope = kernel_mkdir(s->k, c, "init.scope"),
	    slice = kernel_mkdir(s->k, c, "system.slice");

	for (int i = 0; i < 2 && s->k->version == 1; i++) {
		assert_int_equal(kernel_write(s->k, i ? slice : scope, false, 3), 0);
		assert_int_equal(kernel_write(s->k, i ? slice : scope, true, 0xff), 0);
	}
	kernel_fork(s->k, 11, slice);
	assert_int_equal(kernel_move(s->k, 10, scope), 0);
	placed(s, 20, "own", 0, 2, true);
	has(s, c, "2-7");
	has(s, scope, "2-7");
	has(s, slice, "2-7");
	run(s, 0);
}

BOTH(a_shared_one_that_moved_leaves_exclusive_cpus)
{
	int c = placed(s, 10, "shared", 0, 1, false), below = kernel_mkdir(s->k, c, "init");

	if (s->k->version == 1) {
		assert_int_equal(kernel_write(s->k, below, false, 1), 0);
		assert_int_equal(kernel_write(s->k, below, true, 0xf), 0);
	}
	assert_int_equal(kernel_move(s->k, 10, below), 0);
	placed(s, 20, "own", 0, 2, true);
	has(s, c, "2-3");
	has(s, below, "2-3");
}

BOTH(a_childs_own_set_is_not_the_containers)
{
	int c = unmanaged(s, 10, "nested", 0), below = kernel_mkdir(s->k, c, "mine");

	if (s->k->version == 1)
		assert_int_equal(kernel_write(s->k, below, false, 3), 0);
	assert_int_equal(kernel_write(s->k, below, true, 1), 0);
	assert_int_equal(kernel_move(s->k, 10, below), 0);
	placed(s, 20, "own", 0, 2, true); /* CPU 0 is pinned by nobody */
	has(s, c, "2-7");
	has(s, below, "2-7");
}

/* A set that is made below loses all that it has, and one below that one. */
BOTH(nothing_is_left_of_a_childs_childs_set)
{
	int c = unmanaged(s, 10, "nested", 0), below = kernel_mkdir(s->k, c, "mine");
	int lowest = kernel_mkdir(s->k, below, "its");

	for (int i = 0; i < 2 && s->k->version == 1; i++)
		assert_int_equal(kernel_write(s->k, i ? lowest : below, false, 3), 0);
	assert_int_equal(kernel_write(s->k, below, true, 3), 0);
	assert_int_equal(kernel_write(s->k, lowest, true, 1), 0);
	assert_int_equal(kernel_move(s->k, 10, lowest), 0);
	placed(s, 20, "own", 0, 2, true);
	has(s, c, "2-7");
	has(s, below, "2-7");
	has(s, lowest, "2-7");
	run(s, 0);
}

/* --- kind: one's failure is not another's ----------------------------------------------------- */

V2(wider_than_its_slice_refuses_nobody)
{
	int slice = kernel_mkdir(s->k, 0, "narrow.slice"), c;

	assert_int_equal(kernel_write(s->k, slice, true, 0x0f), 0);
	c = create(s, slice, 10, "wide", 0x3c); /* 2-5 */
	enter(s, 10, "wide", 0x3c);
	placed(s, 20, "own", 0, 2, true);
	has(s, c, "2-3");
	run(s, 0);
}

V2(nothing_of_its_set_in_its_slice_keeps_off_exclusive_cpus)
{
	int slice = kernel_mkdir(s->k, 0, "narrow.slice"), c;

	assert_int_equal(kernel_write(s->k, slice, true, 0x0f), 0);
	c = create(s, slice, 10, "outside", 0x30);
	enter(s, 10, "outside", 0x30);
	has(s, c, "0-3");
	placed(s, 20, "own", 0, 2, true);
	has(s, c, "2-3");
	run(s, 1);
	assert_true(stow_idset_empty(&s->problems.problems[0].taken));
}

BOTH(a_stranger_that_cannot_be_written_is_named_only_where_it_overlaps)
{
	struct stow_err err = { 0 };
	int c = placed(s, 10, "stuck", 0, 1, false);

	has(s, c, "0-3");
	s->refuse = "/stuck/cpuset.cpus";
	placed(s, 20, "there", 1, 2, true);
	create(s, 0, 30, "here", 0);
	assert_int_equal(place(s, 30, "here", 0, 2, true, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "container stuck"));
	kernel_exit(s->k, 30);
	s->refuse = NULL;
	run(s, 0);
	has(s, c, "0-3");
}

/* --- kind: the machine does not stand still --------------------------------------------------- */

BOTH(a_cpu_that_was_offline_comes_back)
{
	int c = placed(s, 10, "shared", 0, 1, false), u = unmanaged(s, 11, "plain", 0);
	uint64_t before;

	placed(s, 20, "own", 0, 1, true);
	has(s, c, "1-3");
	kernel_set_online(s->k, 3, false);
	run(s, 0);
	has(s, c, "1-2");
	has(s, u, "1-2,4-7");
	before = s->k->s->writes;
	kernel_set_online(s->k, 3, true);
	run(s, 0);
	has(s, c, "1-3");
	has(s, u, "1-7");
	if (s->k->version == 2) /* by itself */
		assert_int_equal(s->k->s->writes, before);
}

/* The kernel's cpusets follow a CPU that comes online a moment later: what an agent does meanwhile
 * is not its last word. */
BOTH(a_cpu_whose_cpusets_follow_late_comes_back)
{
	int pod = kernel_mkdir(s->k, 0, "pod"), c, u;

	assert_int_equal(kernel_write(s->k, pod, false, 3), 0);
	assert_int_equal(kernel_write(s->k, pod, true, 0xff), 0);
	u = create(s, pod, 11, "plain", 0xff);
	enter(s, 11, "plain", 0xff);
	c = create(s, pod, 10, "shared", 0xff);
	assert_int_equal(place(s, 10, "shared", 0, 1, false, NULL), 0);
	placed(s, 20, "own", 0, 1, true);
	kernel_set_online(s->k, 3, false);
	run(s, 0);
	has(s, c, "1-2");
	has(s, u, "1-2,4-7");
	s->k->cpusets_lag = true;
	kernel_set_online(s->k, 3, true);
	run(s, 0);
	run(s, 0);
	kernel_catch_up(s->k);
	run(s, 0);
	has(s, c, "1-3");
	has(s, u, "1-7");
}

struct coming {
	struct kernel *k;
	int skip; /* so many accesses of cgroups' files first; -1: it has come */
};

static int comes(void *ctx, const char *path, const char *value)
{
	struct coming *coming = ctx;

	(void)value;
	if (coming->skip < 0 || !strstr(path, "/sys/fs/cgroup/") || coming->skip-- > 0)
		return 0;
	kernel_set_online(coming->k, 6, true);
	return 0;
}

/* A CPU that comes online during a run which frees a CPU does no harm. */
BOTH(a_cpu_that_comes_during_a_run_keeps_none_away)
{
	struct coming coming = { .k = s->k, .skip = -1 };
	int pod = kernel_mkdir(s->k, 0, "pod"), c, n = 0;

	assert_int_equal(kernel_write(s->k, pod, false, 3), 0);
	assert_int_equal(kernel_write(s->k, pod, true, 0xff), 0);
	c = create(s, pod, 11, "plain", 0xff);
	enter(s, 11, "plain", 0xff);
	placed(s, 20, "own", 0, 1, true);
	s->k->fault = comes;
	s->k->fault_ctx = &coming;
	for (bool came = true; came; n++) { /* at the first access, at the second, ... */
		kernel_set_online(s->k, 3, false);
		kernel_set_online(s->k, 6, false);
		run(s, 0);
		kernel_set_online(s->k, 3, true);
		coming.skip = n;
		run(s, 0);
		came = coming.skip < 0;
		coming.skip = -1;
		kernel_set_online(s->k, 6, true);
		run(s, 0);
		has(s, c, "1-7");
	}
	assert_true(n > 5);
}

BOTH(exclusive_cpus_that_are_all_offline_become_shared_ones_until_one_is_back)
{
	int own = placed(s, 10, "own", 0, 1, true), other, c;

	other = placed(s, 20, "other", 1, 2, true);
	c = placed(s, 30, "last", 1, 1, true);
	has(s, other, "4-5");
	has(s, c, "6");
	kernel_set_online(s->k, 6, false);
	run(s, 1);
	assert_string_equal(s->problems.problems[0].id, "last");
	assert_non_null(strstr(s->problems.problems[0].text, "CPUs 6 are all offline"));
	has(s, c, "1-3,7");
	assert_int_equal(kernel_cgroup_of(s->k, 30), c);
	kernel_set_online(s->k, 6, true);
	run(s, 0);
	has(s, c, "6");
	has(s, own, "0");
}

/* An exclusive CPU that comes back belongs to its owner alone, before any run: a container that was
 * there does not get it, nor one that started meanwhile, nor one whose set another tool wrote. */
BOTH(an_exclusive_cpu_that_comes_back_is_its_owners_alone)
{
	int before = unmanaged(s, 9, "before", 0), own = placed(s, 10, "own", 0, 2, true);
	int shared, meanwhile, changed = unmanaged(s, 12, "changed", 0);

	has(s, own, "0-1");
	kernel_set_online(s->k, 1, false);
	meanwhile = unmanaged(s, 20, "meanwhile", 0);
	shared = placed(s, 30, "shared", 0, 1, false);
	has(s, meanwhile, "2-7");
	assert_int_equal(kernel_write(s->k, changed, true, s->k->version == 1 ? 0xfc : 0xfe), 0);
	run(s, 0);
	has(s, own, "0");
	kernel_set_online(s->k, 1, true);
	if (s->k->version == 1) /* the kernel gives nothing back */
		run(s, 0);
	has(s, own, "0-1");
	has(s, before, "2-7");
	has(s, meanwhile, "2-7");
	has(s, shared, "2-3");
	has(s, changed, "2-7");
}

/* The same where the cgroup above has not got it for a while. */
V2(an_exclusive_cpu_that_the_cgroup_above_gets_is_its_owners_alone)
{
	int slice = kernel_mkdir(s->k, 0, "narrow.slice"), c;

	assert_int_equal(kernel_write(s->k, slice, true, 0xf8), 0);
	c = create(s, slice, 9, "plain", 0);
	enter(s, 9, "plain", 0);
	placed(s, 10, "own", 0, 2, true);
	has(s, c, "3-7");
	assert_int_equal(kernel_write(s->k, slice, true, 0xff), 0);
	has(s, c, "2-7");
}

/* A CPU that goes, or goes and comes back, when a container's files are read for the first time. */
struct going {
	struct kernel *k;
	const char *id; /* in the paths; NULL: never again */
	int skip;	/* so many accesses of its files first */
	bool back;
	bool half; /* it leaves the cpusets, and is online still */
};

static int goes(void *ctx, const char *path, const char *value)
{
	struct going *g = ctx;

	(void)value;
	if (!g->id || !strstr(path, g->id) || g->skip-- > 0)
		return 0;
	g->id = NULL;
	if (g->half)
		kernel_leave_cpusets(g->k, 3);
	else
		kernel_set_online(g->k, 3, false);
	if (g->back)
		kernel_set_online(g->k, 3, true);
	return 0;
}

/* A CPU that goes while a run is under way is no other program's change. */
BOTH(a_cpu_that_goes_during_a_run_comes_back)
{
	struct going g = { .k = s->k };
	int plain = unmanaged(s, 10, "plain", 0), shared = placed(s, 11, "shared", 0, 1, false);
	int n = 0;

	placed(s, 20, "own", 0, 1, true);
	s->k->fault = goes;
	s->k->fault_ctx = &g;
	for (bool gone = true; gone; n++) { /* at the first access, at the second, ... */
		g = (struct going){
			.k = s->k,
			.id = "/sys/fs/cgroup/",
			.skip = n / 3,
			.back = n % 3 == 1,
			.half = n % 3 == 2,
		};
		run(s, 0);
		gone = !g.id;
		g.id = NULL;
		if (g.half)
			kernel_set_online(s->k, 3, false);
		kernel_set_online(s->k, 3, true);
		run(s, 0);
		has(s, plain, "1-7");
		has(s, shared, "1-3");
	}
	assert_true(n > 20);
}

/* The same while a container starts. */
static void starts_while_a_cpu_goes(struct setup *s, bool managed, bool exclusive, const char *cpus,
				    const char *others)
{
	struct going g = { .k = s->k };
	int plain = unmanaged(s, 10, "plain", 0), n = 0;

	s->k->fault = goes;
	s->k->fault_ctx = &g;
	for (bool gone = true; gone; n++) {
		int c;

		g = (struct going){ .k = s->k,
				    .id = "/sys/",
				    .skip = n / 3,
				    .back = n % 3 == 1,
				    .half = n % 3 == 2 };
		if (managed)
			c = placed(s, 100 + n, "starts", 0, 1, exclusive);
		else
			c = unmanaged(s, 100 + n, "starts", 0);
		gone = !g.id;
		g.id = NULL;
		if (g.half)
			kernel_set_online(s->k, 3, false);
		kernel_set_online(s->k, 3, true);
		if (s->k->version == 1) /* the kernel gives nothing back */
			run(s, 0);
		has(s, c, cpus);
		has(s, plain, others);
		kernel_exit(s->k, 100 + n);
		kernel_rmdir(s->k, c);
		run(s, 0);
	}
	assert_true(n > 20);
}

BOTH(a_cpu_that_goes_while_a_shared_one_starts_comes_back)
{
	starts_while_a_cpu_goes(s, true, false, "0-3", "0-7");
}

BOTH(a_cpu_that_goes_while_an_exclusive_one_starts_comes_back)
{
	starts_while_a_cpu_goes(s, true, true, "0", "1-7");
}

BOTH(a_cpu_that_goes_while_an_unmanaged_one_starts_comes_back)
{
	placed(s, 20, "own", 0, 1, true);
	starts_while_a_cpu_goes(s, false, false, "1-7", "1-7");
}

/* The same, when the agent looks whether sets were changed. */
BOTH(a_cpu_that_goes_while_an_agent_looks_is_not_given_away)
{
	struct stow_reconcile_result result;
	struct stow_reconcile *reconcile;
	struct going g = { .k = s->k };
	int own = placed(s, 20, "own", 0, 4, true);

	assert_int_equal(stow_reconcile_new(&reconcile, NULL), 0);
	assert_int_equal(stow_reconcile_run(reconcile, &s->context, false, &result, NULL), 0);
	s->k->fault = goes;
	s->k->fault_ctx = &g;
	for (int back = 0; back < 2; back++) {
		g = (struct going){ .k = s->k, .id = "own", .back = back };
		assert_int_equal(stow_reconcile_run(reconcile, &s->context, false, &result, NULL),
				 0);
		assert_null(g.id);
		assert_int_equal(result.adopted + result.restored + result.refused, 0);
		kernel_set_online(s->k, 3, true);
		assert_int_equal(stow_reconcile_run(reconcile, &s->context, false, &result, NULL),
				 0);
		assert_int_equal(result.adopted + result.restored + result.refused, 0);
		run(s, 0);
		has(s, own, "0-3");
	}
	stow_reconcile_free(reconcile);
}

/* The same of a shared one whose other CPUs are exclusive. */
/* An agent gives back CPUs that went and came between two of its looks, also those that the
 * kernel's cpusets get later. */
BOTH(an_agent_gives_back_cpus_that_it_has_not_seen_gone)
{
	struct stow_reconcile_result result;
	struct stow_reconcile *reconcile;
	int pod = kernel_mkdir(s->k, 0, "pod"), plain;

	assert_int_equal(kernel_write(s->k, pod, false, 3), 0);
	assert_int_equal(kernel_write(s->k, pod, true, 0xff), 0);
	plain = create(s, pod, 11, "plain", 0xff);
	enter(s, 11, "plain", 0xff);
	assert_int_equal(stow_reconcile_new(&reconcile, NULL), 0);
	assert_int_equal(stow_reconcile_run(reconcile, &s->context, false, &result, NULL), 0);
	for (int lag = 0; lag < 2; lag++) {
		s->k->cpusets_lag = lag;
		kernel_set_online(s->k, 3, false);
		kernel_set_online(s->k, 3, true);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(stow_reconcile_run(reconcile, &s->context, false, &result,
							    NULL),
					 0);
			assert_int_equal(result.adopted + result.restored + result.refused, 0);
			kernel_catch_up(s->k);
		}
		has(s, plain, "0-7");
	}
	stow_reconcile_free(reconcile);
}

BOTH(what_is_left_beside_exclusive_cpus_may_be_offline)
{
	int own = placed(s, 10, "own", 0, 3, true), c = placed(s, 20, "shared", 0, 1, false);

	has(s, own, "0-2");
	has(s, c, "3");
	kernel_set_online(s->k, 3, false);
	run(s, 1);
	assert_string_equal(s->problems.problems[0].id, "shared");
	has(s, c, "4-7");
	kernel_set_online(s->k, 3, true);
	run(s, 0);
	has(s, c, "3");
}

/* cgroup v1: the CPU has left the container's set and comes back only if a run writes it. */
V1(what_could_not_be_written_is_tried_again)
{
	int u = unmanaged(s, 10, "stuck", 0), c = placed(s, 20, "shared", 0, 1, false);

	kernel_set_online(s->k, 3, false);
	run(s, 0);
	kernel_set_online(s->k, 3, true);
	s->refuse = "/stuck/cpuset.cpus";
	run(s, 1);
	assert_string_equal(s->problems.problems[0].id, "stuck");
	run(s, 1); /* no other tool has taken CPU 3 from it */
	has(s, c, "0-3");
	has(s, u, "0-2,4-7");
	s->refuse = NULL;
	run(s, 0);
	has(s, u, "0-7");
}

/* Also where it is the cgroup above that the kernel has taken the CPU from. */
V1(what_a_slice_could_not_be_given_back_is_tried_again)
{
	int slice = kernel_mkdir(s->k, 0, "pod.slice"), c;

	assert_int_equal(kernel_write(s->k, slice, false, 3), 0);
	assert_int_equal(kernel_write(s->k, slice, true, 0xff), 0);
	c = create(s, slice, 10, "plain", 0);
	enter(s, 10, "plain", 0);
	kernel_set_online(s->k, 3, false);
	run(s, 0);
	kernel_set_online(s->k, 3, true);
	s->refuse = "pod.slice/cpuset.cpus";
	run(s, 1);
	has(s, c, "0-2,4-7");
	s->refuse = NULL;
	run(s, 0);
	has(s, slice, "0-7");
	has(s, c, "0-7");
}

BOTH(a_slice_that_grows_is_followed)
{
	int slice = kernel_mkdir(s->k, 0, "grows.slice"), c;

	assert_int_equal(kernel_write(s->k, slice, false, 3), 0);
	assert_int_equal(kernel_write(s->k, slice, true, 0x07), 0);
	c = create(s, slice, 10, "plain", 0);
	enter(s, 10, "plain", 0);
	placed(s, 20, "own", 0, 1, true);
	has(s, c, "1-2");
	assert_int_equal(kernel_write(s->k, slice, true, 0x3f), 0);
	run(s, 0);
	has(s, c, "1-5");
}

BOTH(a_slice_that_grows_before_any_run_has_seen_it_is_followed)
{
	int slice = kernel_mkdir(s->k, 0, "narrow.slice"), c;

	run(s, 0);
	assert_int_equal(kernel_write(s->k, slice, false, 3), 0);
	assert_int_equal(kernel_write(s->k, slice, true, 0xf0), 0);
	c = create(s, slice, 10, "plain", 0);
	enter(s, 10, "plain", 0);
	assert_int_equal(kernel_write(s->k, slice, true, 0xff), 0);
	run(s, 0);
	has(s, c, "0-7");
}

/* While its slice has not got the CPU, nothing is to be written for it to take effect. */
BOTH(a_slice_that_grows_after_the_exclusive_one_has_ended_is_followed)
{
	int slice = kernel_mkdir(s->k, 0, "narrow.slice"), own, c;

	assert_int_equal(kernel_write(s->k, slice, false, 3), 0);
	assert_int_equal(kernel_write(s->k, slice, true, 0xff), 0);
	c = create(s, slice, 10, "plain", 0);
	enter(s, 10, "plain", 0);
	own = placed(s, 20, "own", 0, 2, true);
	has(s, c, "2-7");
	assert_int_equal(kernel_write(s->k, slice, true, 0xfc), 0);
	end(s, 20, own, "own");
	run(s, 0);
	has(s, c, "2-7");
	assert_int_equal(kernel_write(s->k, slice, true, 0xff), 0);
	run(s, 0);
	has(s, c, "0-7");
}

/* And while the CPU is offline, too. */
V2(a_cpu_that_is_free_while_it_is_offline_comes_back)
{
	int slice = kernel_mkdir(s->k, 0, "narrow.slice"), own, c;

	assert_int_equal(kernel_write(s->k, slice, true, 0xff), 0);
	c = create(s, slice, 10, "plain", 0);
	enter(s, 10, "plain", 0);
	own = placed(s, 20, "own", 0, 2, true);
	assert_int_equal(kernel_write(s->k, slice, true, 0xfc), 0);
	kernel_set_online(s->k, 1, false);
	end(s, 20, own, "own");
	run(s, 0);
	kernel_set_online(s->k, 1, true);
	run(s, 0);
	has(s, c, "2-7");
	assert_int_equal(kernel_write(s->k, slice, true, 0xff), 0);
	run(s, 0);
	has(s, c, "0-7");
}

/* --- kind: one owner -------------------------------------------------------------------------- */

BOTH(a_second_call_of_the_hook_keeps_what_it_was_given)
{
	int own = placed(s, 20, "own", 0, 2, true), c = create(s, 0, 10, "twice", 0x3c);

	enter(s, 10, "twice", 0x3c);
	enter(s, 10, "twice", 0x3c);
	has(s, c, "2-5");
	end(s, 20, own, "own");
	run(s, 0);
	has(s, c, "2-5");
}

V2(a_second_call_of_the_hook_forgets_no_fallback)
{
	int own, c;

	placed(s, 20, "own", 1, 1, true);
	kernel_set_online(s->k, 3, false);
	c = create(s, 0, 10, "twice", 0x08);
	enter(s, 10, "twice", 0x08);
	enter(s, 10, "twice", 0x08);
	has(s, c, "0-2,5-7");
	own = placed(s, 30, "more", 0, 1, true);
	has(s, c, "1-2,5-7");
	end(s, 30, own, "more");
	run(s, 1);
	has(s, c, "0-2,5-7");
	kernel_set_online(s->k, 3, true);
	run(s, 0);
	has(s, c, "3");
}

BOTH(given_cpus_come_back_at_the_end)
{
	int c = unmanaged(s, 10, "plain", 0), own = placed(s, 20, "own", 0, 2, true);

	enter(s, 10, "plain", 0); /* once more, while it is kept off */
	has(s, c, "2-7");
	end(s, 20, own, "own");
	has(s, c, "0-7");
	run(s, 0);
}

BOTH(another_tools_change_of_an_unmanaged_one_is_kept)
{
	int c = unmanaged(s, 10, "plain", 0), own = placed(s, 20, "own", 0, 2, true);

	assert_int_equal(kernel_write(s->k, c, true, 0x33), 0);
	run(s, 0);
	has(s, c, "4-5");
	end(s, 20, own, "own");
	run(s, 0);
	has(s, c, "0-1,4-5");
}

static int start_meanwhile(void *ctx, const struct stow_repin_progress *progress)
{
	struct setup *s = ctx;
	struct stow_repin_options again = { 0 };
	struct stow_err err = { 0 };

	if (progress->step != STOW_REPIN_WIDENED)
		return 0;
	stow_idset_add(&again.nodes, 1);
	assert_int_equal(stow_repin(&s->context, "moves", &again, &err), -EBUSY);
	s->other = placed(s, 20, "own", 1, 2, true);
	has(s, s->other, "4-5");
	return 0;
}

BOTH(a_mover_keeps_off_cpus_that_become_exclusive_and_is_moved_once)
{
	struct stow_repin_options options = { .progress = start_meanwhile, .ctx = s };
	struct stow_err err = { 0 };
	int c = placed(s, 10, "moves", 0, 1, false);

	stow_idset_add(&options.nodes, 1);
	if (stow_repin(&s->context, "moves", &options, &err) < 0)
		fail_msg("%s", err.msg);
	has(s, c, "6-7");
	assert_int_equal(s->k->s->cgroups[c].mems_effective, 2);
	run(s, 0);
}

BOTH(adopted_cpus_are_what_a_repin_asks_for)
{
	struct stow_reconcile_result result;
	struct stow_repin_options options = { 0 };
	struct stow_reconcile *reconcile;
	struct stow_err err = { 0 };
	int c = placed(s, 10, "own", 0, 2, true);

	assert_int_equal(stow_reconcile_new(&reconcile, NULL), 0);
	assert_int_equal(stow_reconcile_run(reconcile, &s->context, false, &result, NULL), 0);
	assert_int_equal(kernel_write(s->k, c, true, 0x07), 0);
	assert_int_equal(stow_reconcile_run(reconcile, &s->context, false, &result, NULL), 0);
	assert_int_equal(result.adopted, 1);
	stow_reconcile_free(reconcile);
	stow_idset_add(&options.nodes, 1);
	if (stow_repin(&s->context, "own", &options, &err) < 0)
		fail_msg("%s", err.msg);
	has(s, c, "4-6");
}

/* On a machine of which a container has all, nothing is to be written to take effect. */
BOTH(what_takes_effect_by_the_cgroup_above_is_no_change)
{
	struct stow_reconcile_result result;
	struct stow_reconcile *reconcile;
	int slice = kernel_mkdir(s->k, 0, "node0.slice");
	struct stow_err err = { 0 };

	assert_int_equal(kernel_write(s->k, slice, false, 1), 0);
	assert_int_equal(kernel_write(s->k, slice, true, 0x0f), 0);
	create(s, slice, 10, "shared", 0);
	assert_int_equal(place(s, 10, "shared", 0, 1, false, &err), 0);
	assert_int_equal(stow_reconcile_new(&reconcile, NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(stow_reconcile_run(reconcile, &s->context, false, &result, NULL),
				 0);
		assert_int_equal(result.adopted + result.restored + result.refused, 0);
	}
	stow_reconcile_free(reconcile);
}

/* --- kind: counted wrong ---------------------------------------------------------------------- */

BOTH(a_start_that_failed_is_collected_by_the_next)
{
	int c = placed(s, 10, "nosuch", 0, 3, true);

	kernel_exit(s->k, 10);
	kernel_rmdir(s->k, c);
	c = placed(s, 20, "own", 0, 3, true);
	has(s, c, "0-2");
}
