// SPDX-License-Identifier: Apache-2.0
/* What a process may use, and when the memory nodes of its cgroup can be set. That processes are
 * bound is shown by tests/vm/migrate.sh. */
#include "unit.h"

#include <errno.h>

#include "base/cleanup.h"
#include "cgroup/allowed.h"
#include "cgroup/numa_own.h"
#include "grant/bind.h"
#include "tree.h"

static struct stow_idset set_of(const char *list)
{
	struct stow_idset set;

	assert_int_equal(stow_idset_parse(list, &set, NULL), 0);
	return set;
}

static void assert_allowed(struct tree *t, const char *status, int wanted, const char *words)
{
	struct stow_allowed allowed;
	struct stow_err err = { 0 };

	tree_write(t, "/proc/7/status", "%s", status);
	assert_int_equal(stow_allowed_read(t->root, 7, &allowed, &err), wanted);
	if (wanted < 0)
		assert_non_null(strstr(err.msg, words));
}

TEST(reads_what_a_process_may_use)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_idset cpus = set_of("0-3,9"), mems = set_of("1");
	struct stow_allowed allowed;
	struct stow_err err = { 0 };

	tree_write(t, "/proc/7/status",
		   "Name:\tx\nCpus_allowed:\t20f\nCpus_allowed_list:\t0-3,9\nMems_allowed:\t2\n"
		   "Mems_allowed_list:\t1\n");
	assert_int_equal(stow_allowed_read(t->root, 7, &allowed, NULL), 0);
	assert_true(stow_idset_equal(&allowed.cpus, &cpus));
	assert_true(stow_idset_equal(&allowed.mems, &mems));
	assert_int_equal(stow_allowed_read(t->root, 8, &allowed, &err), -ESRCH);
	assert_non_null(strstr(err.msg, "no process 8"));
	assert_allowed(t, "", -EINVAL, "there is no line Cpus_allowed_list:");
	assert_allowed(t, "x\nCpus_allowed_list:\t0\n", -EINVAL, "no line Mems_allowed_list:");
	assert_allowed(t, "x\nCpus_allowed_list:\t0-\nMems_allowed_list:\t0\n", -EINVAL, "\"");
	/* The name of a process is no line of its own. */
	assert_allowed(t, "Cpus_allowed_list:\t0\nMems_allowed_list:\t0\n", -EINVAL, "no line");
}

TEST(what_this_program_may_use)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_idset one = set_of("1"), both = set_of("0-1");
	struct stow_err err = { 0 };

	assert_int_equal(stow_own_mems_check(t->root, &both, &err), 0); /* unknown */
	tree_write(t, "/proc/self/status", "x\nCpus_allowed_list:\t0\nMems_allowed_list:\t1\n");
	assert_int_equal(stow_own_mems_check(t->root, &one, &err), 0);
	assert_int_equal(stow_own_mems_check(t->root, NULL, &err), 0); /* as are these */
	tree_write(t, "/sys/devices/system/node/has_memory", "0-1\n");
	assert_int_equal(stow_own_mems_check(t->root, NULL, &err), -EXDEV);
	assert_int_equal(stow_own_mems_check(t->root, &both, &err), -EXDEV);
	assert_non_null(
		strstr(err.msg, "no memory on NUMA node 0: its own cpuset has only NUMA node 1"));
}

/* Processes 7 and 8 in /a/b, 9 below it; /a has nodes 0 and 1. */
static struct tree *a_machine(void)
{
	struct tree *t = tree_new();

	tree_write(t, "/proc/self/mountinfo",
		   "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	tree_write(t, "/sys/fs/cgroup/a/cpuset.mems.effective", "0-1\n");
	tree_write(t, "/sys/fs/cgroup/a/b/cgroup.procs", "7\n8\n");
	tree_write(t, "/sys/fs/cgroup/a/b/c/cgroup.procs", "9\n");
	tree_write(t, "/sys/fs/cgroup/a/b/cpuset.cpus", "\n");
	tree_write(t, "/sys/fs/cgroup/a/b/cpuset.cpus.effective", "0-3\n");
	tree_write(t, "/sys/fs/cgroup/a/b/cpuset.mems", "\n");
	tree_write(t, "/sys/fs/cgroup/a/b/cpuset.mems.effective", "0-1\n");
	tree_write(t, "/proc/7/cgroup", "0::/a/b\n");
	return t;
}

static void assert_check(struct stow_cgroup *cgroup, const char *nodes, const pid_t *pids, size_t n,
			 bool others, int wanted, const char *words)
{
	struct stow_idset set = set_of(nodes);
	struct stow_err err = { 0 };
	int r = stow_bind_check(cgroup, &set, pids, n, others, &err);

	if (r != wanted || !strstr(err.msg, words))
		fail_msg("%d instead of %d: \"%s\"", r, wanted, err.msg);
}

TEST(other_processes_are_not_bound_unasked)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	_cleanup_(tree_free_ptr) struct tree *t = a_machine();
	const pid_t pids[] = { 9, 7, 8 };

	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cgroup, NULL), 0);
	assert_check(cgroup, "1", pids, 3, false, 0, "");
	assert_check(cgroup, "1", pids, 2, false, -EBUSY, "1 other processes");
	assert_check(cgroup, "1", pids + 1, 1, false, -EBUSY, "2 other processes");
	assert_check(cgroup, "1", pids, 2, true, 0, "");
	assert_check(cgroup, "1-2", pids, 3, true, -ERANGE, "the cgroup above /a/b has only 0-1");
}

TEST(a_cgroup_without_nodes_of_its_own)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	_cleanup_(tree_free_ptr) struct tree *t = a_machine();
	const pid_t pid = 5;

	tree_write(t, "/proc/5/cgroup", "0::/plain\n");
	tree_write(t, "/sys/fs/cgroup/plain/cgroup.procs", "5\n");
	assert_int_equal(stow_cgroup_of_pid(t->root, 5, &cgroup, NULL), 0);
	assert_check(cgroup, "1", &pid, 1, true, -ENOTSUP, "no memory nodes of its own");
}

TEST(another_machines_processes_are_left)
{
	_cleanup_(tree_free_ptr) struct tree *t = a_machine();
	struct stow_idset cpus = set_of("0");
	struct stow_err err = { 0 };
	size_t n;

	assert_int_equal(stow_bind_threads(t->root, 1, &cpus, &cpus, &n, &err), -ENOTSUP);
	assert_int_equal(stow_bind_thread(t->root, 1, &cpus, &cpus, &err), -ENOTSUP);
}
