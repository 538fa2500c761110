// SPDX-License-Identifier: Apache-2.0
/* Cpuset partitions: made, kept, put right, and taken back, with as few WARNINGs of the kernel as
 * can be. */
#include "unit.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "grant/apply.h"
#include "grant/claim.h"
#include "grant/claim_hold.h"
#include "grant/gc.h"
#include "grant/partition.h"
#include "played.h"

#define CGROUPS "/sys/fs/cgroup"
#define BOX	CGROUPS "/box"

#define KILLED 42

static const char *const members[] = { "a", "b" };
static const char invalid[] = "isolated invalid (Cpu list in cpuset.cpus not exclusive)\n";

struct setup {
	struct played *p;
	struct stow_root_ops inner;
	int warnings, writes;
	int countdown; /* accesses until this process is killed; 0: it is not */
};

/* --- a kernel ------------------------------------------------------------------------------- */

static void set_of(struct setup *s, const char *name, const char *file, struct stow_idset *ret)
{
	char path[160];

	snprintf(path, sizeof(path), BOX "%s%s/%s", name[0] ? "/" : "", name, file);
	*ret = (struct stow_idset){ 0 };
	(void)stow_root_read_idset(s->p->t->root, ret, NULL, "%s", path);
}

static bool says(struct setup *s, const char *path, const char *text)
{
	_cleanup_free_ char *now = tree_read(s->p->t, path);

	return strcmp(now, text) == 0;
}

/* Whether it may be a partition. */
static bool may_be(struct setup *s, const char *name)
{
	static const char *const others[] = { "a", "b", "other" };
	struct stow_idset own, above, cpus;

	set_of(s, name, "cpuset.cpus.exclusive", &own);
	set_of(s, name, "cpuset.cpus", &cpus);
	set_of(s, "", "cpuset.cpus.exclusive", &above);
	if (stow_idset_empty(&own) || !stow_idset_subset(&own, &above) ||
	    !stow_idset_equal(&own, &cpus))
		return false;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(others); i++) {
		set_of(s, others[i], "cpuset.cpus", &cpus);
		if (strcmp(others[i], name) != 0 && stow_idset_intersects(&cpus, &own))
			return false;
	}
	return true;
}

/* Return whether a file exists, as the kernel knows it: without a step. */
static bool is_there(struct setup *s, const char *path)
{
	_cleanup_free_ char *host = NULL;

	return stow_root_path(s->p->t->root, path, &host, NULL) == 0 && access(host, F_OK) == 0;
}

/* After any write: what was a partition may no longer be one, and the others lose its CPUs. */
static void settle(struct setup *s)
{
	struct stow_idset isolated = { 0 }, taken = { 0 }, left, own;
	char path[160], a[64], b[64];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(members); i++) {
		snprintf(path, sizeof(path), BOX "/%s/cpuset.cpus.partition", members[i]);
		if (!is_there(s, path) || says(s, path, "member"))
			continue;
		set_of(s, members[i], "cpuset.cpus.exclusive", &own);
		stow_idset_or(&taken, &own); /* also while it is invalid */
		if (!says(s, path, "isolated"))
			continue;
		if (may_be(s, members[i]))
			stow_idset_or(&isolated, &own);
		else {
			tree_write(s->p->t, path, "%s", invalid);
			s->warnings++;
		}
	}
	stow_idset_parse("0-7", &left, NULL);
	stow_idset_minus(&left, &taken);
	tree_write(s->p->t, CGROUPS "/cpuset.cpus.isolated", "%s\n",
		   stow_idset_empty(&isolated) ? "" : stow_idset_format(&isolated, a, sizeof(a)));
	tree_write(s->p->t, BOX "/cpuset.cpus.effective", "%s\n",
		   stow_idset_format(&left, b, sizeof(b)));
}

static void wrote(void *ctx, struct stow_root *root, const char *path, const char *value)
{
	struct setup *s = ctx;
	char name[160];

	if (strncmp(path, CGROUPS, strlen(CGROUPS)) != 0)
		return;
	s->inner.wrote(s->inner.ctx, root, path, value);
	s->writes++;
	if (strstr(path, "/cpuset.cpus.partition")) {
		snprintf(name, sizeof(name), "%.*s",
			 (int)(strstr(path, "/cpuset.cpus.partition") - (path + strlen(BOX "/"))),
			 path + strlen(BOX "/"));
		if (strcmp(value, "isolated") == 0)
			tree_write(s->p->t, path, "%s", may_be(s, name) ? "isolated\n" : invalid);
		else
			tree_write(s->p->t, path, "member\n");
	}
	settle(s);
}

static int before(void *ctx, const char *path, const char *value)
{
	struct setup *s = ctx;
	_cleanup_free_ char *now = NULL;
	int r = s->inner.before(s->inner.ctx, path, value);

	if (s->countdown && --s->countdown == 0)
		_exit(KILLED);
	/* The way out of an invalid one is a WARNING, too. */
	if (r == 0 && value && strstr(path, "/cpuset.cpus.partition") &&
	    strcmp(value, "member") == 0) {
		now = tree_read(s->p->t, path);
		s->warnings += strncmp(now, "isolated invalid", 16) == 0;
	}
	return r;
}

/* --- a machine ------------------------------------------------------------------------------ */

static void give_files(struct setup *s, const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/cpuset.cpus.exclusive", name);
	tree_write(s->p->t, path, "\n");
	snprintf(path, sizeof(path), "%s/cpuset.cpus.partition", name);
	tree_write(s->p->t, path, "member\n");
}

static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	s->p = played_new();
	s->p->config->partitions = true;
	s->inner = s->p->ops;
	s->p->ops = (struct stow_root_ops){ .ctx = s, .before = before, .wrote = wrote };
	tree_mkdir(s->p->t, BOX "/other");
	tree_write(s->p->t, BOX "/other/cpuset.cpus", "\n");
	tree_write(s->p->t, BOX "/cpuset.mems.effective", "0-1\n");
	give_files(s, BOX);
	give_files(s, BOX "/a");
	settle(s);
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

static void file_is(struct setup *s, const char *path, const char *text)
{
	_cleanup_free_ char *now = tree_read(s->p->t, path);

	now[strcspn(now, "\n")] = '\0';
	assert_string_equal(now, text);
}

/* The kernel's view of the box and of a member. */
static void is(struct setup *s, const char *box, const char *name, const char *own,
	       const char *partition)
{
	char path[160];

	file_is(s, BOX "/cpuset.cpus.exclusive", box);
	snprintf(path, sizeof(path), BOX "/%s/cpuset.cpus.exclusive", name);
	file_is(s, path, own);
	snprintf(path, sizeof(path), BOX "/%s/cpuset.cpus.partition", name);
	file_is(s, path, partition);
}

static enum stow_partition_state look(struct setup *s, const char *id, char *why)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = played_grant(s->p, id);

	return stow_partition_look(&s->p->context, record, why);
}

static void is_valid(struct setup *s, const char *id)
{
	char why[STOW_PARTITION_WHY];

	assert_int_equal(look(s, id, why), STOW_PARTITION_VALID);
	assert_string_equal(why, "");
}

/* gc finds so many problems, of which the first says this. */
static void gc_says(struct setup *s, size_t n, const char *text)
{
	struct stow_gc_result result;
	struct stow_err err = { 0 };

	if (stow_gc(&s->p->context, &result, &err) < 0)
		fail_msg("%s", err.msg);
	if (result.problems.n_problems != n)
		fail_msg("%zu problems: %s", result.problems.n_problems,
			 n ? "" : result.problems.problems[0].text);
	if (n) {
		assert_true(result.problems.problems[0].partition);
		if (!strstr(result.problems.problems[0].text, text))
			fail_msg("%s", result.problems.problems[0].text);
	}
	stow_apply_result_done(&result.problems);
}

static void apply(struct setup *s)
{
	static const struct stow_apply_options options = { 0 };
	struct stow_err err = { 0 };

	if (stow_apply(&s->p->context, &options, NULL, &err) < 0)
		fail_msg("%s", err.msg);
}

/* Rows of the ledger. */
static size_t rows(struct setup *s)
{
	struct stow_ledger_partition *list;
	size_t n;

	assert_int_equal(stow_ledger_partitions(s->p->context.ledger, &list, &n, NULL), 0);
	stow_ledger_partitions_free(list, n);
	return n;
}

/* --- what must hold ------------------------------------------------------------------------- */

WITH_SETUP(made_counted_and_taken_back)
{
	played_isolated(s->p, 7, "box/a", 2, NULL);
	is(s, "0-1", "a", "0-1", "isolated");
	is_valid(s, "a");
	give_files(s, BOX "/b");
	played_isolated(s->p, 8, "box/b", 1, NULL);
	is(s, "0-2", "b", "2", "isolated");
	is_valid(s, "a");
	is_valid(s, "b");
	assert_int_equal(rows(s), 3);
	/* A run that finds all as it must be writes nothing. */
	s->writes = 0;
	apply(s);
	gc_says(s, 0, NULL);
	assert_int_equal(s->writes, 0);
	played_kill(s->p, 8, "box/b");
	assert_int_equal(stow_grant_release(&s->p->context, "b", NULL), 1);
	is(s, "0-1", "a", "0-1", "isolated");
	assert_int_equal(rows(s), 2);
	played_kill(s->p, 7, "box/a");
	gc_says(s, 0, NULL);
	file_is(s, BOX "/cpuset.cpus.exclusive", "");
	assert_int_equal(rows(s), 0);
	assert_int_equal(s->warnings, 0);
}

/* The container runs on without its grant. Its CPUs are shared again, so it must not stay a
 * partition. */
#define CLAIM "11111111-2222-4333-8444-555555555555"

/* What the hook of a claim's container does. */
static void hold(struct setup *s, int pid, const char *id)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_subject subject = { .id = id, .init = { .pid = pid, .start = 1 } };
	struct stow_err err = { 0 };
	char name[64];

	snprintf(name, sizeof(name), "box/%s", id);
	played_process(s->p, pid, name);
	played_write(s->p, name, "cpuset.cpus", "");
	played_write(s->p, name, "cpuset.mems", "");
	assert_int_equal(stow_cgroup_of_pid(s->p->t->root, pid, &cgroup, NULL), 0);
	subject.cgroup = cgroup;
	if (stow_claim_hold(&s->p->context, &subject, CLAIM, CLAIM, false, &record, &err) < 0 ||
	    stow_claim_enact(&s->p->context, record, cgroup, NULL, &err) < 0)
		fail_msg("%s", err.msg);
}

/* Two cgroups cannot have the same CPUs and one of them be a partition: the first one ends before
 * the second gets them. */
WITH_SETUP(two_containers_of_a_claim_are_none)
{
	const struct stow_claim_share share = {
		.id = CLAIM, .part = "main", .cpus = 2, .cpu_mode = STOW_CPU_ISOLATED
	};
	const struct stow_claim claim = {
		.uid = CLAIM, .ns = "team", .name = "db", .shares = &share, .n = 1
	};

	assert_int_equal(stow_claim_take(&s->p->context, &claim, NULL), 1);
	hold(s, 7, "a");
	is(s, "0-1", "a", "0-1", "isolated");
	is_valid(s, "a");
	give_files(s, BOX "/b");
	hold(s, 8, "b");
	is(s, "", "a", "", "member");
	is(s, "", "b", "", "member");
	file_is(s, BOX "/a/cpuset.cpus", "0-1");
	file_is(s, BOX "/b/cpuset.cpus", "0-1");
	gc_says(s, 0, "");
	assert_int_equal(s->warnings, 0);
	played_kill(s->p, 8, "box/b");
	gc_says(s, 0, "");
	is(s, "0-1", "a", "0-1", "isolated");
	assert_int_equal(s->warnings, 0);
}

WITH_SETUP(undone_before_others_get_its_cpus)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	struct stow_err err = { 0 };

	played_isolated(s->p, 7, "box/a", 2, NULL);
	played_container(s->p, 8, "box/b", 0, 1, 0, false);
	record = played_grant(s->p, "a");
	if (stow_restore(&s->p->context, record, "restored", "", &err) < 0)
		fail_msg("%s", err.msg);
	is(s, "", "a", "", "member");
	played_has(s->p, "box/b", "0-3", "0");
	assert_int_equal(rows(s), 0);
	assert_int_equal(s->warnings, 0);
}

WITH_SETUP(put_right_when_nothing_overlaps)
{
	char why[STOW_PARTITION_WHY];

	played_isolated(s->p, 7, "box/a", 2, NULL);
	tree_write(s->p->t, BOX "/other/cpuset.cpus", "1-3\n");
	settle(s);
	assert_int_equal(s->warnings, 1);
	assert_int_equal(look(s, "a", why), STOW_PARTITION_INVALID);
	assert_string_equal(why, "cgroup /box/other beside it has cpuset.cpus 1-3");
	/* It becomes a member, or it would lose its CPUs, and stays one as long as it overlaps:
	 * each other write would be a WARNING. */
	gc_says(s, 1,
		"container a has exclusive CPUs 0-1, but no cpuset partition: "
		"cgroup /box/other beside it has cpuset.cpus 1-3");
	assert_int_equal(s->warnings, 2);
	is(s, "0-1", "a", "0-1", "member");
	played_has(s->p, "box/a", "0-1", "0");
	gc_says(s, 1, "cgroup /box/other beside it has cpuset.cpus 1-3");
	assert_int_equal(s->warnings, 2);
	tree_write(s->p->t, BOX "/other/cpuset.cpus", "\n");
	gc_says(s, 0, NULL);
	assert_int_equal(s->warnings, 2);
	is(s, "0-1", "a", "0-1", "isolated");
	is_valid(s, "a");
}

/* On a level above, and before the start: the container starts, and is no partition until then. */
WITH_SETUP(not_made_where_something_overlaps)
{
	struct stow_apply_result problems = { 0 };

	tree_mkdir(s->p->t, CGROUPS "/stranger");
	tree_write(s->p->t, CGROUPS "/stranger/cpuset.cpus", "0\n");
	played_isolated(s->p, 7, "box/a", 2, &problems);
	assert_int_equal(problems.n_problems, 1);
	assert_true(problems.problems[0].partition);
	assert_non_null(
		strstr(problems.problems[0].text, "cgroup /stranger beside it has cpuset.cpus 0"));
	stow_apply_result_done(&problems);
	is(s, "", "a", "", "member");
	played_has(s->p, "box/a", "0-1", "0");
	tree_remove(s->p->t, CGROUPS "/stranger");
	gc_says(s, 0, NULL);
	is(s, "0-1", "a", "0-1", "isolated");
	assert_int_equal(s->warnings, 0);
}

WITH_SETUP(what_another_tool_has_set_is_its_own)
{
	tree_write(s->p->t, BOX "/cpuset.cpus.exclusive", "6-7\n");
	played_isolated(s->p, 7, "box/a", 2, NULL);
	is(s, "6-7", "a", "", "member");
	gc_says(s, 1, "cgroup /box has cpuset.cpus.exclusive 6-7, which is not numastow's");
	/* Where it has what is needed, it is used, and stays. */
	tree_write(s->p->t, BOX "/cpuset.cpus.exclusive", "0-1,6-7\n");
	gc_says(s, 0, NULL);
	is(s, "0-1,6-7", "a", "0-1", "isolated");
	assert_int_equal(rows(s), 1); /* the container's own */
	played_kill(s->p, 7, "box/a");
	gc_says(s, 0, NULL);
	file_is(s, BOX "/cpuset.cpus.exclusive", "0-1,6-7");
}

WITH_SETUP(a_failed_attempt_is_put_off)
{
	struct stow_ledger_partition *list;
	size_t n;

	s->p->refuse = BOX "/a/cpuset.cpus.partition";
	played_isolated(s->p, 7, "box/a", 2, NULL);
	is(s, "0-1", "a", "0-1", "member");
	s->p->refuse = NULL;
	gc_says(s, 1, "its cpuset.cpus.partition reads \"member\"");
	is(s, "0-1", "a", "0-1", "member");
	assert_int_equal(stow_ledger_partitions(s->p->context.ledger, &list, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_true(list[0].leaf && list[0].again > 0);
	assert_string_equal(list[0].path, "/box/a");
	list[0].again = 1;
	assert_int_equal(stow_ledger_partition_put(s->p->context.ledger, &list[0], NULL), 0);
	stow_ledger_partitions_free(list, n);
	gc_says(s, 0, NULL);
	is(s, "0-1", "a", "0-1", "isolated");
}

WITH_SETUP(a_kernel_without_partitions_is_reported_once)
{
	struct stow_apply_result problems = { 0 };
	char why[STOW_PARTITION_WHY];

	tree_remove(s->p->t, BOX "/a/cpuset.cpus.exclusive");
	played_isolated(s->p, 7, "box/a", 2, &problems);
	assert_int_equal(problems.n_problems, 1);
	assert_non_null(
		strstr(problems.problems[0].text, "this kernel has no cpuset.cpus.exclusive"));
	stow_apply_result_done(&problems);
	gc_says(s, 0, NULL);
	assert_int_equal(look(s, "a", why), STOW_PARTITION_INVALID);
	assert_non_null(strstr(why, "Linux 6.7"));
	played_has(s->p, "box/a", "0-1", "0");
	assert_int_equal(rows(s), 0);
}

WITH_SETUP(follows_a_repin)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	struct stow_ledger *ledger = s->p->context.ledger;
	char reason[] = "";
	struct stow_move move = { .reason = reason };

	played_isolated(s->p, 7, "box/a", 2, NULL);
	record = played_grant(s->p, "a");
	stow_idset_parse("4-5", &move.cpus, NULL);
	stow_idset_parse("1", &move.nodes, NULL);
	assert_int_equal(stow_ledger_begin(ledger, NULL), 0);
	assert_int_equal(stow_ledger_move_begin(ledger, record->key, &move, NULL), 0);
	assert_int_equal(stow_ledger_commit(ledger, NULL), 0);
	apply(s);
	is(s, "0-1", "a", "0-1", "isolated");
	assert_int_equal(stow_ledger_begin(ledger, NULL), 0);
	assert_int_equal(stow_ledger_move_step(ledger, record->key, STOW_MOVE_WIDENED, NULL), 0);
	assert_int_equal(stow_ledger_commit(ledger, NULL), 0);
	apply(s);
	is(s, "4-5", "a", "4-5", "isolated");
	is_valid(s, "a");
	assert_int_equal(s->warnings, 0);
}

WITH_SETUP(partitions_follow_the_configuration)
{
	played_isolated(s->p, 7, "box/a", 2, NULL);
	/* Broken: nothing is known about what is wanted. */
	s->p->config->partitions = false;
	s->p->config->unread = true;
	gc_says(s, 0, NULL);
	is(s, "0-1", "a", "0-1", "isolated");
	s->p->config->unread = false;
	gc_says(s, 0, NULL);
	is(s, "", "a", "", "member");
	assert_int_equal(rows(s), 0);
	s->p->config->partitions = true;
	gc_says(s, 0, NULL);
	is(s, "0-1", "a", "0-1", "isolated");
	assert_int_equal(s->warnings, 0);
}

/* With one CPU off it is valid; with all of them off nothing can be done. */
WITH_SETUP(cpus_go_and_come)
{
	played_isolated(s->p, 7, "box/a", 2, NULL);
	tree_write(s->p->t, "/sys/devices/system/cpu/present", "0-7\n");
	tree_write(s->p->t, "/sys/devices/system/cpu/online", "0,2-7\n");
	tree_write(s->p->t, BOX "/a/cpuset.cpus.effective", "0\n");
	s->writes = 0;
	gc_says(s, 0, NULL);
	is_valid(s, "a");
	assert_int_equal(s->writes, 0);
	assert_int_equal(s->warnings, 0);
}

/* The container has made a partition of its own out of one of its CPUs: that is its own affair, and
 * nothing is written for it, again and again, at the starts of others. */
WITH_SETUP(divided_by_the_container_itself)
{
	char why[STOW_PARTITION_WHY];

	played_isolated(s->p, 7, "box/a", 2, NULL);
	give_files(s, BOX "/b");
	tree_write(s->p->t, BOX "/a/cpuset.cpus.effective", "0\n");
	tree_write(s->p->t, CGROUPS "/cpuset.cpus.isolated", "0\n");
	s->writes = 0;
	gc_says(s, 0, NULL);
	assert_int_equal(s->writes, 0);
	is_valid(s, "a");
	played_isolated(s->p, 8, "box/b", 1, NULL);
	is(s, "0-2", "b", "2", "isolated");
	is(s, "0-2", "a", "0-1", "isolated");
	/* Others' CPUs are still no part of it. */
	tree_write(s->p->t, BOX "/a/cpuset.cpus.effective", "3\n");
	assert_int_equal(look(s, "a", why), STOW_PARTITION_INVALID);
	assert_string_equal(why, "its CPUs 3 take effect, not 0-1");
}

/* Messages have no control characters, whatever a cgroup's name has. */
WITH_SETUP(a_strange_name_is_one_line)
{
	struct stow_apply_result problems = { 0 };

	tree_mkdir(s->p->t, CGROUPS "/stra\033nger");
	tree_write(s->p->t, CGROUPS "/stra\033nger/cpuset.cpus", "0\n");
	played_isolated(s->p, 7, "box/a", 2, &problems);
	assert_int_equal(problems.n_problems, 1);
	assert_non_null(strstr(problems.problems[0].text, "cgroup /stra?nger beside it"));
	stow_apply_result_done(&problems);
}

/* --- killed --------------------------------------------------------------------------------- */

static void places(struct setup *s)
{
	played_isolated(s->p, 7, "box/a", 2, NULL);
}

static void releases(struct setup *s)
{
	(void)stow_grant_release(&s->p->context, "a", NULL);
}

static void restores(struct setup *s)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = played_grant(s->p, "a");

	(void)stow_restore(&s->p->context, record, "restored", "", NULL);
}

/* Runs it in a process that is killed at that access. Returns whether it got there. */
static bool is_killed(struct setup *s, void (*run)(struct setup *s), int at)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct stow_ledger *mine;

		if (stow_ledger_open(s->p->t->root, true, &mine, NULL) < 0)
			_exit(1);
		s->p->context.ledger = mine;
		s->countdown = at;
		run(s);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == KILLED);
	return WEXITSTATUS(status) == KILLED;
}

static bool has_grant(struct setup *s)
{
	struct stow_record **records;
	size_t n;

	assert_int_equal(stow_ledger_records(s->p->context.ledger, "a", &records, &n, NULL), 0);
	stow_records_free(records, n);
	return n > 0;
}

/* Nothing of a partition is left, neither in the container's cgroup, if there is one, nor above. */
static void nothing_is_left(struct setup *s, bool ended)
{
	file_is(s, BOX "/cpuset.cpus.exclusive", "");
	file_is(s, CGROUPS "/cpuset.cpus.isolated", "");
	if (!ended)
		is(s, "", "a", "", "member");
	assert_int_equal(rows(s), 0);
}

/* Kills a program at each of its accesses; the container ends before gc runs, or lives on. Returns
 * how many there are. */
static int kill_everywhere(void (*run)(struct setup *s), bool ended)
{
	bool killed = true;
	int at = 0;

	while (killed) {
		struct setup *s;
		void *state;

		set_up(&state);
		s = state;
		if (run != places)
			places(s);
		if (run == releases)
			played_kill(s->p, 7, "box/a");
		killed = is_killed(s, run, ++at);
		if (ended && run != releases)
			played_kill(s->p, 7, "box/a");
		gc_says(s, 0, NULL);
		if (!ended && has_grant(s)) /* killed before it was decided, or behind its end */
			restores(s);
		nothing_is_left(s, ended);
		tear_down(&state);
	}
	return at;
}

TEST(nothing_is_left_after_a_kill)
{
	assert_true(kill_everywhere(places, true) > 50);
	assert_true(kill_everywhere(places, false) > 50);
	assert_true(kill_everywhere(releases, true) > 20);
	assert_true(kill_everywhere(restores, false) > 20);
}
