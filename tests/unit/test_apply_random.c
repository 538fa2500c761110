// SPDX-License-Identifier: Apache-2.0
/*
 * Random lives of a machine: containers start, end, move their processes and make cgroups of their
 * own, CPUs go and come, other tools write sets, hooks and movers are killed at any access. After
 * each few events one run of gc makes everything right, by an oracle of its own, and a second one
 * changes nothing.
 *
 *	NUMASTOW_RANDOM_EVENTS=10000 NUMASTOW_RANDOM_SEED=1 test_apply_random
 *	NUMASTOW_RANDOM_EVENTS=3000 NUMASTOW_RANDOM_SEEDS=40 test_apply_random
 */
#include "grant/grant.h"
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "grant/claim.h"
#include "grant/claim_hold.h"
#include "grant/gc.h"
#include "grant/repin.h"
#include "kernel.h"

#define NODES	   3
#define CPUS	   (NODES * KERNEL_CPUS_PER_NODE)
#define CONTAINERS 8
#define CLAIMS	   3
#define MIB	   (UINT64_C(1) << 20)
#define SELF	   99 /* lives */
#define KILLED	   98 /* the number of programs that will be killed: never lives */
#define KILLED_NOW 42

struct container {
	bool used, broken; /* broken: its cpuset takes no writes */
	char id[24];
	int pid, cgroup, above;
	int pids[4], n_pids; /* `pid` among them */
	uint32_t given;
};

struct world {
	struct kernel *k;
	struct stow_config *config;
	struct stow_grant_context context;
	struct container containers[CONTAINERS];
	int slices[2]; /* the topmost cgroup, and one that has not all CPUs */
	int next_pid;
	bool clean;	   /* the last run found nothing to complain about */
	int depth;	   /* of events within events */
	int64_t countdown; /* accesses until this process is killed; 0: it is not */
	int leaving;	   /* a CPU that has left the cpusets, and is online still; 0: none */
	uint32_t plug;	   /* accesses until a CPU goes or comes; 0: none does */
	unsigned long events, runs, kills, repins, fallbacks, refusals, holds;
	char said[16][96]; /* the last events, for messages */
	unsigned long n_said;
	char written[192]; /* the last write */
};

static uint64_t seed, first_seed;

/* xorshift64*: the same everywhere, unlike rand(3). */
static uint32_t roll(uint32_t n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (uint32_t)((seed * UINT64_C(2685821657736338717)) >> 32) % n;
}

static bool chance(uint32_t percent)
{
	return roll(100) < percent;
}

#define SAID(w, i)   ((w)->said[(i) % STOW_ARRAY_SIZE((w)->said)])
#define said(w, ...) snprintf(SAID(w, (w)->n_said++), sizeof((w)->said[0]), __VA_ARGS__)

static void tell_story(const struct world *w)
{
	size_t kept = STOW_ARRAY_SIZE(w->said);

	print_error("seed %" PRIu64 ", cgroup v%d, event %lu, after:\n", first_seed, w->k->version,
		    w->events);
	for (unsigned long i = w->n_said > kept ? w->n_said - kept : 0; i < w->n_said; i++)
		print_error("  %s\n", SAID(w, i));
}

#define broken_promise(w, ...)         \
	do {                           \
		tell_story(w);         \
		fail_msg(__VA_ARGS__); \
	} while (0)

/* --- what must be true ------------------------------------------------------------------------ */

static uint32_t mask(const struct stow_idset *set)
{
	return (uint32_t)set->bits[0];
}

static const struct stow_record *record_of(struct stow_record **records, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(records[i]->id, id) == 0)
			return records[i];
	return NULL;
}

static uint32_t own_cpus(const struct stow_record *record)
{
	if (!record || !record->exclusive)
		return 0;
	return mask(&record->cpus) | (record->move ? mask(&record->move->cpus) : 0);
}

/* The CPUs of a claim are its share's: what its containers have is the same. */
static uint32_t granted_cpus(const struct stow_record *record)
{
	return stow_record_is_holder(record) ? 0 : own_cpus(record);
}

static uint32_t held_cpus(const struct stow_record *record)
{
	struct stow_idset at;
	uint32_t set = 0;

	stow_record_at(record, &at);
	STOW_IDSET_FOR(node, &at)
		set |= kernel_node_cpus(node);
	return set;
}

static uint32_t shares_cpus(const struct stow_share *shares, size_t n)
{
	uint32_t set = 0;

	for (size_t i = 0; i < n; i++)
		set |= kernel_node_cpus(shares[i].node);
	return set;
}

struct expected {
	uint32_t cpus; /* 0: it cannot have any */
	uint32_t mems;
	bool fallback;
};

static void expect(const struct world *w, const struct container *c,
		   const struct stow_record *record, uint32_t exclusive, struct expected *ret)
{
	const struct kernel_state *s = w->k->s;
	uint32_t above = s->cgroups[c->above].cpus_effective, usable, base;
	uint32_t mems_above = s->cgroups[c->above].mems_effective;
	bool moved = record && record->move && record->move->step >= STOW_MOVE_WIDENED;

	if (record && record->exclusive) {
		base = usable = moved ? mask(&record->move->cpus) : mask(&record->cpus);
	} else {
		base = s->present;
		if (record)
			base = moved ? shares_cpus(record->move->shares, record->move->n_shares)
				     : held_cpus(record);
		if (c->given) /* or, without any there, on others that it was given */
			base = base & c->given ? base & c->given : c->given;
		usable = base & ~exclusive;
	}
	usable &= s->online & above;
	ret->fallback = !usable;
	ret->cpus = usable ? usable : s->online & above & ~exclusive;
	ret->mems = mems_above;
	if (record && record->move && record->move->step == STOW_MOVE_WIDENED)
		ret->mems = mask(&record->nodes) | mask(&record->move->nodes);
	else if (record && record->move && record->move->step == STOW_MOVE_NARROWED)
		ret->mems = mask(&record->move->nodes);
	else if (record)
		ret->mems = mask(&record->nodes);
}

static const struct stow_apply_problem *problem_of(const struct stow_apply_result *result,
						   const char *id)
{
	for (size_t i = 0; i < result->n_problems; i++)
		if (strcmp(result->problems[i].id, id) == 0)
			return &result->problems[i];
	return NULL;
}

/* All cgroups of a container in which something runs, and nothing of it elsewhere. */
static void check_below(struct world *w, const struct container *c, uint32_t cpus)
{
	char a[64], b[64];

	for (int i = 0; i < c->n_pids; i++) {
		int at = kernel_cgroup_of(w->k, c->pids[i]);
		uint32_t runs_on;

		if (at < 0)
			continue;
		runs_on = w->k->s->cgroups[at].cpus_effective;
		if (!kernel_is_below(w->k, at, c->cgroup))
			broken_promise(w, "process %d of %s is in cgroup \"%s\"", c->pids[i], c->id,
				       w->k->s->cgroups[at].path);
		if (!runs_on || runs_on & ~cpus)
			broken_promise(w, "process %d of %s runs on %s, not within %s", c->pids[i],
				       c->id, kernel_list(runs_on, a, sizeof(a)),
				       kernel_list(cpus, b, sizeof(b)));
	}
}

static void check_container(struct world *w, const struct container *c,
			    const struct stow_record *record, uint32_t exclusive,
			    const struct stow_apply_result *result)
{
	const struct kernel_cgroup *cgroup = &w->k->s->cgroups[c->cgroup];
	const struct stow_apply_problem *problem = problem_of(result, c->id);
	uint32_t has = cgroup->cpus_effective, taken = has & exclusive & ~own_cpus(record);
	struct expected expected;
	char a[64], b[64];

	expect(w, c, record, exclusive, &expected);
	if (taken && (!problem || mask(&problem->taken) != taken))
		broken_promise(w, "%s runs on others' CPUs %s and nothing says so", c->id,
			       kernel_list(taken, a, sizeof(a)));
	if (c->broken || !expected.cpus)
		return;
	if (has != expected.cpus)
		broken_promise(w, "%s %s (pid %d) has CPUs %s, must have %s: %s",
			       !record		   ? "unmanaged"
			       : record->exclusive ? "exclusive"
						   : "shared",
			       c->id, c->pid, kernel_list(has, a, sizeof(a)),
			       kernel_list(expected.cpus, b, sizeof(b)),
			       problem ? problem->text : "no problem was told");
	if (cgroup->mems_effective != expected.mems)
		broken_promise(w, "%s has nodes %x, must have %x", c->id, cgroup->mems_effective,
			       expected.mems);
	if (expected.fallback != (problem != NULL))
		broken_promise(w, "%s: %s", c->id, problem ? problem->text : "nothing is said");
	w->fallbacks += expected.fallback;
	check_below(w, c, expected.cpus);
}

static bool has_entry(const struct world *w, const char *id)
{
	char path[128];

	snprintf(path, sizeof(path), "/run/numastow/unmanaged/%s", id);
	return stow_root_exists(w->k->t->root, "%s", path) == 1;
}

static void check_world(struct world *w, const struct stow_apply_result *result)
{
	struct stow_record **records;
	uint32_t exclusive = 0;
	size_t n, living = 0, shares = 0;

	assert_int_equal(stow_ledger_records(w->context.ledger, NULL, &records, &n, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		if (exclusive & granted_cpus(records[i]))
			broken_promise(w, "two containers own the same CPUs");
		exclusive |= granted_cpus(records[i]);
		shares += stow_record_is_share(records[i]);
		if (!stow_record_is_share(records[i]) && records[i]->state != STOW_STATE_ACTIVE)
			broken_promise(w, "the record of %s is %s", records[i]->id,
				       stow_state_name(records[i]->state));
		if (records[i]->move && records[i]->move->worker.pid != SELF)
			broken_promise(w, "the move of %s has a dead worker", records[i]->id);
	}
	for (int i = 0; i < CONTAINERS; i++) {
		const struct container *c = &w->containers[i];
		const struct stow_record *record = c->used ? record_of(records, n, c->id) : NULL;

		if (!c->used)
			continue;
		if (!record && !has_entry(w, c->id))
			broken_promise(w, "%s is not known", c->id);
		living += record != NULL;
		check_container(w, c, record, exclusive, result);
	}
	if (living != n - shares)
		broken_promise(w, "%zu records, %zu containers with one", n - shares, living);
	stow_records_free(records, n);
}

/* Our own state, as far as a run may change it. */
static char *state(struct world *w)
{
	static const char *const files[] = { "/run/numastow/applied", "/run/numastow/exclusive" };
	char *text = NULL, path[128];
	size_t len;
	FILE *out = open_memstream(&text, &len);

	for (int i = 0; i < CONTAINERS + 2; i++) {
		_cleanup_free_ char *file = NULL;

		if (i >= 2)
			snprintf(path, sizeof(path), "/run/numastow/unmanaged/%s",
				 w->containers[i - 2].id);
		else
			snprintf(path, sizeof(path), "%s", files[i]);
		(void)stow_root_read(w->k->t->root, 65536, &file, NULL, NULL, "%s", path);
		fprintf(out, "%s: %s\n", path, file ? file : "(none)");
	}
	fprintf(out, "ledger %u, writes %" PRIu64 " %s\n", stow_ledger_changes(w->context.ledger),
		w->k->s->writes, w->written);
	fclose(out);
	return text;
}

static bool anything_broken(const struct world *w)
{
	for (int i = 0; i < CONTAINERS; i++)
		if (w->containers[i].used && w->containers[i].broken)
			return true;
	return false;
}

/* What had left the cpusets only is offline now. */
static void finish_plug(struct world *w)
{
	if (w->leaving)
		kernel_set_online(w->k, w->leaving, false);
	w->leaving = 0;
}

/* One run makes it right, and a second one changes nothing. */
static void run_and_check(struct world *w)
{
	_cleanup_free_ char *before = NULL, *after = NULL;
	struct stow_gc_result result;
	struct stow_err err = { 0 };

	w->runs++;
	w->plug = 0;
	finish_plug(w);
	if (w->k->s->active != w->k->s->online) {
		said(w, "gc, before the cpusets have what came online");
		(void)stow_gc(&w->context, &result, &err);
		stow_apply_result_done(&result.problems);
		kernel_catch_up(w->k);
	}
	said(w, "gc, which is checked");
	if (stow_gc(&w->context, &result, &err) < 0 && !anything_broken(w))
		broken_promise(w, "%s", err.msg);
	check_world(w, &result.problems);
	w->clean = result.problems.n_problems == 0;
	stow_apply_result_done(&result.problems);
	if (anything_broken(w)) /* it is tried again and again */
		return;
	before = state(w);
	if (stow_gc(&w->context, &result, &err) < 0)
		broken_promise(w, "the second time: %s", err.msg);
	check_world(w, &result.problems);
	stow_apply_result_done(&result.problems);
	after = state(w);
	if (strcmp(before, after) != 0) {
		print_error("%s\n%s", before, after);
		broken_promise(w, "a second run has changed something");
	}
}

/* --- programs, which may be killed ------------------------------------------------------------ */

/* A CPU goes, comes, or is away for a moment only, while a program is under way. */
static void plug(struct world *w)
{
	int cpu = 1 + (int)roll(CPUS - 1);
	bool online;

	finish_plug(w);
	online = w->k->s->online >> cpu & 1;
	if (online && __builtin_popcount(w->k->s->online) <= 4)
		return;
	said(w, "meanwhile, CPU %d goes %s", cpu, online ? "offline" : "online");
	if (online && chance(30)) {
		w->leaving = cpu;
		kernel_leave_cpusets(w->k, cpu);
		return;
	}
	kernel_set_online(w->k, cpu, !online);
	if (online && chance(30))
		kernel_set_online(w->k, cpu, true);
}

static int on_access(void *ctx, const char *path, const char *value)
{
	struct world *w = ctx;

	if (w->plug && --w->plug == 0)
		plug(w);
	if (w->countdown && --w->countdown == 0)
		_exit(KILLED_NOW);
	if (value)
		snprintf(w->written, sizeof(w->written), "\"%.32s\" to %.128s", value, path);
	if (!value || !strstr(path, "/cpuset.cpus"))
		return 0;
	for (int i = 0; i < CONTAINERS; i++) {
		const struct container *c = &w->containers[i];
		char below[192];

		if (!c->used || !c->broken)
			continue;
		snprintf(below, sizeof(below), "%s/", w->k->s->cgroups[c->cgroup].path);
		if (strstr(path, below))
			return -EIO;
	}
	return 0;
}

struct program {
	int (*run)(struct world *w, struct container *c, const struct program *program,
		   struct stow_err *err);
	bool exclusive, twice;
	uint32_t cpus;
	int node;
	int claim, other; /* indices; `other` -1: none */
};

/* Runs it; now and then as a program that is killed. Returns what it returned, or 1 when it has
 * been killed. */
static int run_program(struct world *w, struct container *c, const struct program *program,
		       struct stow_err *err)
{
	int status, limit = 1 + (int)roll(chance(50) ? 60 : 400);
	struct stow_ledger *mine = NULL;
	pid_t pid;

	if (w->depth > 0 || !chance(25))
		return program->run(w, c, program, err);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int r;

		if (stow_ledger_open(w->k->t->root, true, &mine, NULL) < 0)
			_exit(2);
		w->context.ledger = mine;
		w->context.self.pid = KILLED;
		w->countdown = limit;
		r = program->run(w, c, program, NULL);
		_exit(r < 0 ? 128 - r : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		broken_promise(w, "the program died of signal %d", WTERMSIG(status));
	(void)roll(2); /* the child has rolled for itself */
	w->kills += WEXITSTATUS(status) == KILLED_NOW;
	if (WEXITSTATUS(status) == KILLED_NOW)
		said(w, "killed at access %d", limit);
	if (WEXITSTATUS(status) == KILLED_NOW)
		return 1;
	if (WEXITSTATUS(status) && WEXITSTATUS(status) < 128)
		broken_promise(w, "the program ended with %d", WEXITSTATUS(status));
	return -(WEXITSTATUS(status) ? WEXITSTATUS(status) - 128 : 0);
}

static void idset_of(uint32_t set, struct stow_idset *ret)
{
	*ret = (struct stow_idset){ 0 };
	ret->bits[0] = set;
}

/* createRuntime of a container with a request. */
static int place(struct world *w, struct container *c, const struct program *p,
		 struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_subject subject = { .id = c->id, .init = { .pid = c->pid, .start = 1 } };
	struct stow_request request = { .cpus = p->cpus, .memory = 64 * MIB };
	int r;

	request.cpu_mode = p->exclusive ? STOW_CPU_EXCLUSIVE : STOW_CPU_SHARED;
	stow_idset_add(&request.nodes, p->node);
	request.nodes_auto = p->node < 0;
	idset_of(c->given, &subject.given_cpus);
	r = stow_cgroup_of_pid(w->context.root, c->pid, &cgroup, err);
	if (r < 0)
		return r;
	subject.cgroup = cgroup;
	r = stow_grant_reserve(&w->context, &subject, &request, NULL, 0, &record, &refusal, err);
	if (r < 0 || record->state == STOW_STATE_ACTIVE)
		return r;
	r = stow_grant_enact(&w->context, record, &request, false, cgroup, NULL, err);
	if (r < 0)
		(void)stow_grant_undo(&w->context, record, cgroup, "undone", "test", NULL);
	return r < 0 || !p->twice ? r : place(w, c, p, err);
}

/* createRuntime of one without. */
static int enter(struct world *w, struct container *c, const struct program *p,
		 struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_unmanaged entry = { .init = { .pid = c->pid, .start = 1 } };
	int r;

	r = stow_cgroup_of_pid(w->context.root, c->pid, &cgroup, err);
	if (r < 0)
		return r;
	snprintf(entry.id, sizeof(entry.id), "%s", c->id);
	entry.cgroup = cgroup->id;
	idset_of(c->given, &entry.given);
	r = stow_apply_unmanaged(w->context.root, &entry, err);
	if (r == 0 && p->twice)
		r = stow_apply_unmanaged(w->context.root, &entry, err);
	return r;
}

/* --- claims ----------------------------------------------------------------------------------- */

struct claim_ids {
	char uid[37], share[37];
};

static struct claim_ids ids_of(int claim)
{
	struct claim_ids ids;

	snprintf(ids.uid, sizeof(ids.uid), "00000000-0000-4000-8000-%012d", claim);
	snprintf(ids.share, sizeof(ids.share), "11111111-0000-4000-8000-%012d", claim);
	return ids;
}

static int take(struct world *w, struct container *c, const struct program *p, struct stow_err *err)
{
	const struct claim_ids ids = ids_of(p->claim);
	const struct stow_claim_share share = { .id = ids.share,
						.part = "main",
						.node = p->node,
						.cpus = p->cpus,
						.cpu_mode = p->exclusive ? STOW_CPU_EXCLUSIVE
									 : STOW_CPU_SHARED };
	const struct stow_claim claim = {
		.uid = ids.uid, .ns = "team", .name = "db", .shares = &share, .n = 1
	};

	return stow_claim_take(&w->context, &claim, err);
}

static int drop(struct world *w, struct container *c, const struct program *p, struct stow_err *err)
{
	return stow_claim_drop(&w->context, ids_of(p->claim).uid, err);
}

static int hold_one(struct world *w, const struct stow_subject *subject, int claim,
		    struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	const struct claim_ids ids = ids_of(claim);
	int r;

	r = stow_claim_hold(&w->context, subject, ids.uid, ids.share, false, &record, err);
	if (r < 0 || record->state == STOW_STATE_ACTIVE)
		return r;
	r = stow_claim_enact(&w->context, record, subject->cgroup, NULL, err);
	if (r < 0)
		(void)stow_grant_undo(&w->context, record, subject->cgroup, "undone", "test", NULL);
	return r;
}

/* createRuntime of a container of one or two claims. */
static int hold(struct world *w, struct container *c, const struct program *p, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_subject subject = { .id = c->id, .init = { .pid = c->pid, .start = 1 } };
	int r;

	idset_of(c->given, &subject.given_cpus);
	r = stow_cgroup_of_pid(w->context.root, c->pid, &cgroup, err);
	if (r < 0)
		return r;
	subject.cgroup = cgroup;
	r = hold_one(w, &subject, p->claim, err);
	if (r == 0 && p->other >= 0)
		r = hold_one(w, &subject, p->other, err);
	return r == 0 && p->twice ? hold_one(w, &subject, p->claim, err) : r;
}

/* poststop. */
static int release(struct world *w, struct container *c, const struct program *p,
		   struct stow_err *err)
{
	int r = stow_unmanaged_leave(w->context.root, c->id, err);

	return r != 0 ? r : stow_grant_release(&w->context, c->id, err);
}

static int collect(struct world *w, struct container *c, const struct program *p,
		   struct stow_err *err)
{
	struct stow_gc_result result;
	int r = stow_gc(&w->context, &result, err);

	stow_apply_result_done(&result.problems);
	return r;
}

static int restore(struct world *w, struct container *c, const struct program *p,
		   struct stow_err *err)
{
	struct stow_record **records;
	int r = 0;
	size_t n;

	if (stow_ledger_records(w->context.ledger, c->id, &records, &n, err) < 0)
		return -EIO;
	for (size_t i = 0; i < n && r >= 0; i++)
		r = stow_restore(&w->context, records[i], "restored", "test", err);
	stow_records_free(records, n);
	return r;
}

/* --- containers ------------------------------------------------------------------------------- */

static struct container *pick(struct world *w, bool used)
{
	int from = (int)roll(CONTAINERS);

	for (int i = 0; i < CONTAINERS; i++) {
		struct container *c = &w->containers[(from + i) % CONTAINERS];

		if (c->used == used)
			return c;
	}
	return NULL;
}

/* The runtime's work before the hook: the cgroup with its sets, and the first process. */
static struct container *create(struct world *w)
{
	struct container *c = pick(w, false);
	const struct kernel_cgroup *above;
	uint32_t cpus;

	if (!c)
		return NULL;
	*c = (struct container){ .used = true, .pid = w->next_pid++ };
	snprintf(c->id, sizeof(c->id), "c%d", c->pid);
	c->above = w->slices[roll(2)];
	c->cgroup = kernel_mkdir(w->k, c->above, c->id);
	above = &w->k->s->cgroups[c->above];
	cpus = chance(25) ? roll(UINT32_C(1) << CPUS) : 0;
	if (w->k->version == 1)
		cpus &= above->cpus;
	c->given = cpus;
	if (w->k->version == 1) {
		assert_int_equal(kernel_write(w->k, c->cgroup, true, cpus ? cpus : above->cpus), 0);
		assert_int_equal(kernel_write(w->k, c->cgroup, false, above->mems), 0);
	} else if (cpus) {
		assert_int_equal(kernel_write(w->k, c->cgroup, true, cpus), 0);
	}
	kernel_fork(w->k, c->pid, c->cgroup);
	c->pids[c->n_pids++] = c->pid;
	return c;
}

static void end(struct world *w, struct container *c)
{
	for (int i = 0; i < c->n_pids; i++)
		if (kernel_cgroup_of(w->k, c->pids[i]) >= 0)
			kernel_exit(w->k, c->pids[i]);
	kernel_rmdir(w->k, c->cgroup);
	c->used = false;
}

static bool has_record(struct world *w, const char *id)
{
	struct stow_record **records;
	size_t n;

	assert_int_equal(stow_ledger_records(w->context.ledger, id, &records, &n, NULL), 0);
	stow_records_free(records, n);
	return n > 0;
}

static uint32_t exclusive_now(struct world *w)
{
	struct stow_idset set;

	assert_int_equal(stow_ledger_exclusive(w->context.ledger, &set, NULL), 0);
	return mask(&set);
}

/* No room, no CPU of the node online; or it would take all CPUs that the cgroup above another
 * container has. */
static bool may_be_refused(const struct world *w, int r, const struct stow_err *err)
{
	if (r == -EBUSY)
		for (int i = 0; i < CONTAINERS; i++)
			if (w->containers[i].used && w->containers[i].above)
				return true;
	/* A forked program's text is lost. */
	return r == -ENOSPC || r == -EPERM ||
	       (r == -EINVAL && (!err->msg[0] || strstr(err->msg, "has no CPUs")));
}

static void start(struct world *w, int kind)
{
	struct program program = { .run = kind == 2   ? enter
					  : kind == 3 ? hold
						      : place,
				   .claim = (int)roll(CLAIMS),
				   .other = chance(30) ? (int)roll(CLAIMS) : -1,
				   .exclusive = kind == 0,
				   .twice = chance(20),
				   .cpus = kind == 2 ? 0 : 1 + roll(2),
				   .node = chance(50) ? -1 : (int)roll(NODES) };
	struct container *c = create(w);
	struct stow_err err = { 0 };
	uint32_t usable;
	int r;

	if (!c)
		return;
	said(w, "start %s of kind %d, given %x", c->id, kind, c->given);
	usable = w->k->s->cgroups[c->above].cpus_effective & ~exclusive_now(w);
	if (c->given)
		usable &= c->given;
	r = run_program(w, c, &program, &err);
	usable &= w->k->s->cgroups[c->above].cpus_effective; /* a CPU may have gone meanwhile */
	w->holds += r == 0 && kind == 3;
	if (r == 0)
		return;
	/* A claim that was not taken; shared and exclusive ones together; or all of its NUMA node's
	 * CPUs that are not offline are exclusive. */
	if (kind == 3 && (r == -ENOENT || r == -EINVAL ||
			  (r == -EBUSY && w->k->s->online != w->k->s->present))) {
		end(w, c);
		return;
	}
	/* A runtime whose hook fails, or dies, ends the container; or it does not look. */
	if (r > 0 && chance(50) && (has_record(w, c->id) || has_entry(w, c->id)))
		return;
	w->refusals += r < 0;
	if (r < 0 && !may_be_refused(w, r, &err) && usable && !anything_broken(w))
		broken_promise(w, "%s was refused with %d: %s", c->id, r, err.msg);
	end(w, c);
}

static void stop(struct world *w)
{
	static const struct program program = { .run = release };
	struct container *c = pick(w, true);
	struct stow_err err = { 0 };

	if (!c)
		return;
	said(w, "end %s", c->id);
	end(w, c);
	if (chance(70) && run_program(w, c, &program, &err) < 0 && !anything_broken(w))
		broken_promise(w, "release: %s", err.msg);
}

/* A container makes a cgroup of its own, gives it a set, and moves a process there. */
static void nest(struct world *w)
{
	struct container *c = pick(w, true);
	uint32_t cpus;
	int below;

	if (!c)
		return;
	said(w, "nest in %s", c->id);
	below = c->cgroup;
	for (int i = 1, n = 0; i < KERNEL_CGROUPS && n < 3; i++)
		if (w->k->s->cgroups[i].used && kernel_is_below(w->k, i, c->cgroup)) {
			n++;
			below = chance(50) ? i : below;
		}
	cpus = w->k->s->cgroups[below].cpus_effective;
	if (c->n_pids < 4 && chance(50)) {
		kernel_fork(w->k, w->next_pid, c->cgroup);
		c->pids[c->n_pids++] = w->next_pid++;
	}
	if (below == c->cgroup || chance(20)) {
		char name[16];

		if (strlen(w->k->s->cgroups[below].path) > 60)
			return;
		snprintf(name, sizeof(name), "n%d", w->next_pid++);
		below = kernel_mkdir(w->k, below, name);
		if (w->k->version == 1)
			(void)kernel_write(w->k, below, false,
					   w->k->s->cgroups[w->k->s->cgroups[below].above].mems);
	}
	if (w->k->version == 2 && chance(50))
		cpus = roll(UINT32_C(1) << CPUS);
	else if (chance(50))
		cpus &= roll(UINT32_C(1) << CPUS);
	(void)kernel_write(w->k, below, true, cpus);
	(void)kernel_move(w->k, c->pids[roll((uint32_t)c->n_pids)], below);
}

/* v2: a CPU of a container that comes back is its owner's alone, before any run. */
static void check_owner(struct world *w, int cpu)
{
	struct stow_record **records;
	size_t n;

	assert_int_equal(stow_ledger_records(w->context.ledger, NULL, &records, &n, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		if (!(own_cpus(records[i]) >> cpu & 1))
			continue;
		for (int k = 0; k < CONTAINERS; k++)
			if (w->containers[k].used &&
			    !(own_cpus(record_of(records, n, w->containers[k].id)) >> cpu & 1) &&
			    w->k->s->cgroups[w->containers[k].cgroup].cpus_effective >> cpu & 1)
				broken_promise(w, "CPU %d is back, belongs to %s, and %s has it",
					       cpu, records[i]->id, w->containers[k].id);
	}
	stow_records_free(records, n);
}

static void hotplug(struct world *w)
{
	int cpu = 1 + (int)roll(CPUS - 1);
	bool online, checked;

	finish_plug(w);
	online = w->k->s->online >> cpu & 1;
	if (online && (__builtin_popcount(w->k->s->online) <= 4 || chance(50)))
		return;
	checked = !online && w->k->version == 2 && chance(50);
	if (checked)
		run_and_check(w);
	w->k->cpusets_lag = !checked && chance(30);
	said(w, "CPU %d goes %s%s", cpu, online ? "offline" : "online",
	     w->k->cpusets_lag ? ", but not into cpusets yet" : "");
	kernel_set_online(w->k, cpu, !online);
	if (checked && w->clean)
		check_owner(w, cpu);
}

/* v1: what is in a slice that lost a CPU for good is the administrator's to bring back. */
static void mend_slice(struct world *w)
{
	uint32_t set = w->k->s->online & 0xff;

	said(w, "the slice gets %x", set);
	(void)kernel_write(w->k, w->slices[1], true, set);
}

/* What the cgroup above some container has not may be missing in any set. */
static uint32_t narrow(const struct world *w)
{
	uint32_t set = 0;

	for (int i = 0; i < CONTAINERS; i++)
		if (w->containers[i].used)
			set |= ~w->k->s->cgroups[w->containers[i].above].cpus_effective;
	return set;
}

/* Another tool changes a container's set. What it may be is kept away from sets that a run could
 * have written itself. */
static void change(struct world *w)
{
	struct container *c = pick(w, true);
	struct stow_record **records;
	const struct stow_record *record;
	struct expected expected;
	uint32_t set = 1 + roll((UINT32_C(1) << CPUS) - 1), base, was, exclusive;
	const struct kernel_cgroup *cgroup;
	size_t n;

	run_and_check(w);
	if (!c || c->broken || !w->clean)
		return;
	cgroup = &w->k->s->cgroups[c->cgroup];
	exclusive = exclusive_now(w);
	assert_int_equal(stow_ledger_records(w->context.ledger, NULL, &records, &n, NULL), 0);
	record = record_of(records, n, c->id);
	expect(w, c, record, exclusive, &expected);
	base = c->given ? c->given : w->k->s->present;
	if (w->k->version == 1)
		set &= w->k->s->cgroups[c->above].cpus;
	if (!record && !(set & ~base) && !(expected.cpus & ~set & ~narrow(w)))
		set = 0;
	was = cgroup->cpus;
	if (set && kernel_write(w->k, c->cgroup, true, set) == 0) {
		said(w, "another tool gives %x to %s", set, c->id);
		if (cgroup->cpus_effective == expected.cpus) /* nothing to be seen, yet */
			assert_int_equal(kernel_write(w->k, c->cgroup, true,
						      was ? was : w->k->s->present),
					 0);
		else if (!record)
			c->given = set;
	}
	stow_records_free(records, n);
	run_and_check(w);
}

static void event(struct world *w);

static int on_progress(void *ctx, const struct stow_repin_progress *progress)
{
	struct world *w = ctx;

	if (w->context.self.pid == SELF && progress->step != STOW_REPIN_VERIFIED) {
		w->depth++;
		for (uint32_t i = roll(3); i > 0; i--)
			event(w);
		if (chance(50))
			run_and_check(w);
		w->depth--;
	}
	return chance(10) ? -ECANCELED : 0;
}

static int repin(struct world *w, struct container *c, const struct program *p,
		 struct stow_err *err)
{
	struct stow_repin_options options = { .batch = 4096, .progress = on_progress, .ctx = w };

	if (p->node >= 0)
		stow_idset_add(&options.nodes, p->node);
	return stow_repin(&w->context, c->id, &options, err);
}

/* A repin that was killed is gc's to undo. */
static bool is_moving(struct world *w, const char *id)
{
	struct stow_record **records;
	bool moving;
	size_t n;

	assert_int_equal(stow_ledger_records(w->context.ledger, id, &records, &n, NULL), 0);
	moving = n && records[n - 1]->move;
	stow_records_free(records, n);
	return moving;
}

static void move(struct world *w)
{
	struct program program = { .run = repin, .node = (int)roll(NODES + 1) - 1 };
	struct container *c = pick(w, true);
	struct stow_err err = { 0 };
	char id[24];
	int r;

	for (int i = 0; i < 3 && c && !has_record(w, c->id); i++)
		c = pick(w, true);
	if (!c || w->depth > 0)
		return;
	strcpy(id, c->id);
	said(w, "repin %s", id);
	r = run_program(w, c, &program, &err);
	w->repins += r == 0;
	if (r == -EBUSY && is_moving(w, id))
		return;
	if (r < 0 && r != -ENOENT && r != -EALREADY && r != -ECANCELED && r != -EOPNOTSUPP &&
	    !may_be_refused(w, r, &err) && strcmp(c->id, id) == 0 && c->used && !anything_broken(w))
		broken_promise(w, "repin of %s: %d: %s", id, r, err.msg);
}

static void undo(struct world *w)
{
	static const struct program program = { .run = restore };
	struct container *c = pick(w, true);
	struct stow_err err = { 0 };

	if (!c || w->depth > 0)
		return;
	said(w, "restore %s", c->id);
	if (run_program(w, c, &program, &err) < 0 && !anything_broken(w))
		broken_promise(w, "restore: %s", err.msg);
}

static void breaks(struct world *w)
{
	struct container *c = pick(w, true);

	if (!c)
		return;
	c->broken = !c->broken && chance(50);
	said(w, "%s is %s", c->id, c->broken ? "broken" : "mended");
}

/* A container of the claim lives, or one whose end nothing has noticed. */
static bool is_held(struct world *w, int claim)
{
	struct stow_record **records;
	bool held = false;
	size_t n;

	assert_int_equal(
		stow_ledger_holders(w->context.ledger, ids_of(claim).uid, &records, &n, NULL), 0);
	for (int i = 0; i < CONTAINERS; i++)
		held |= w->containers[i].used && record_of(records, n, w->containers[i].id);
	stow_records_free(records, n);
	return held;
}

static void take_or_drop(struct world *w)
{
	struct program program = { .run = chance(50) ? take : drop,
				   .claim = (int)roll(CLAIMS),
				   .exclusive = chance(70),
				   .cpus = roll(3),
				   .node = (int)roll(NODES) };
	struct stow_err err = { 0 };
	bool held = is_held(w, program.claim);
	int r;

	said(w, "claim %d: %s", program.claim, program.run == take ? "take" : "drop");
	r = run_program(w, NULL, &program, &err);
	if (program.run == drop && r >= 0 && held)
		broken_promise(w, "claim %d was dropped although a container holds it",
			       program.claim);
	/* It is there already, and with other numbers. */
	if (r >= 0 || (program.run == take && (r == -EEXIST || may_be_refused(w, r, &err))) ||
	    (program.run == drop && r == -EBUSY && held) || anything_broken(w))
		return;
	broken_promise(w, "claim %d: %d: %s", program.claim, r, err.msg);
}

static void event(struct world *w)
{
	static const struct program gc = { .run = collect };
	struct stow_err err = { 0 };
	uint32_t n = roll(100);

	w->events++;
	if (chance(8)) {
		take_or_drop(w);
		return;
	}
	if (chance(10))
		w->plug = 1 + roll(300);
	if (n < 30)
		start(w, n >= 15 && n < 20 ? 3 : (int)n / 10);
	else if (n < 48)
		stop(w);
	else if (n < 58)
		nest(w);
	else if (n < 72)
		hotplug(w);
	else if (n < 74)
		mend_slice(w);
	else if (n < 78)
		change(w);
	else if (n < 86)
		move(w);
	else if (n < 90)
		undo(w);
	else if (n < 95)
		breaks(w);
	else if (run_program(w, NULL, &gc, &err) < 0 && !anything_broken(w))
		broken_promise(w, "gc: %s", err.msg);
}

/* --- the test --------------------------------------------------------------------------------- */

static void world_begin(struct world *w, int version)
{
	*w = (struct world){ .k = kernel_new(version, NODES), .next_pid = 100 };
	w->slices[1] = kernel_mkdir(w->k, 0, "narrow.slice");
	assert_int_equal(kernel_write(w->k, w->slices[1], false, (1U << NODES) - 1), 0);
	assert_int_equal(kernel_write(w->k, w->slices[1], true, 0xff), 0);
	kernel_fork(w->k, SELF, 0);
	w->k->fault = on_access;
	w->k->fault_ctx = w;
	assert_int_equal(stow_config_read(w->k->t->root, &w->config, NULL), 0);
	w->context.root = w->k->t->root;
	w->context.config = w->config;
	w->context.self = (struct stow_pidref){ .pid = SELF, .start = 1 };
	assert_int_equal(stow_ledger_open(w->k->t->root, true, &w->context.ledger, NULL), 0);
}

static void live(int version, uint64_t number, unsigned long events)
{
	struct world w;

	first_seed = number;
	seed = number * UINT64_C(0x9e3779b97f4a7c15) + 1;
	world_begin(&w, version);
	while (w.events < events) {
		event(&w);
		if (chance(40))
			run_and_check(&w);
	}
	/* What happened often enough to be worth the name. */
	print_message("cgroup v%d, seed %" PRIu64 ": %lu events, %lu runs checked, %lu programs "
		      "killed, %lu repins, %lu times on shared CPUs instead, %lu refusals, %lu "
		      "containers of claims\n",
		      version, number, w.events, w.runs, w.kills, w.repins, w.fallbacks, w.refusals,
		      w.holds);
	stow_ledger_close(w.context.ledger);
	stow_config_free(w.config);
	kernel_free(w.k);
}

/* A number of the environment's, for looking longer. */
static unsigned long number(const char *name, unsigned long usual)
{
	const char *text = getenv(name);
	uint64_t n;

	return text && stow_parse_u64(text, INT32_MAX, &n, NULL) == 0 ? n : usual;
}

static void lives(int version)
{
	unsigned long events = number("NUMASTOW_RANDOM_EVENTS", 1250);
	unsigned long only = number("NUMASTOW_RANDOM_SEED", 0);
	unsigned long seeds = number("NUMASTOW_RANDOM_SEEDS", 4);

	if (only)
		live(version, only, events);
	for (uint64_t i = 1; i <= seeds && !only; i++)
		live(version, i, events);
}

TEST(one_run_makes_everything_right_on_cgroup_v2)
{
	lives(2);
}

TEST(one_run_makes_everything_right_on_cgroup_v1)
{
	lives(1);
}
