// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cleanup.h"
#include "grant/saved.h"
#include "node/cgroup.h"
#include "node/life.h"
#include "tree.h"

static const char v2_mounts[] =
	"24 30 0:22 / /proc rw - proc proc rw\n"
	"35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

static const char v1_mounts[] =
	"33 24 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,noprefix\n"
	"34 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	"36 24 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

static struct tree *v2_tree(void)
{
	struct tree *t = tree_new();

	tree_write(t, "/proc/self/mountinfo", "%s", v2_mounts);
	tree_write(t, "/proc/7/cgroup", "0::/a/b\n");
	tree_write(t, "/sys/fs/cgroup/a/cpuset.cpus.effective", "0-7\n");
	tree_write(t, "/sys/fs/cgroup/a/cpuset.mems.effective", "0-1\n");
	tree_write(t, "/sys/fs/cgroup/a/b/cpuset.cpus", "\n");
	tree_write(t, "/sys/fs/cgroup/a/b/cpuset.mems", "\n");
	tree_write(t, "/sys/fs/cgroup/a/b/cpuset.cpus.effective", "0-7\n");
	tree_write(t, "/sys/fs/cgroup/a/b/cpuset.mems.effective", "0-1\n");
	tree_write(t, "/sys/fs/cgroup/a/b/memory.max", "max\n");
	tree_write(t, "/sys/fs/cgroup/a/b/cgroup.events", "populated 1\nfrozen 0\n");
	return t;
}

static void finds_the_cgroup_on_v2(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	struct stow_cpuset set;

	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_string_equal(cg->path, "/a/b");
	assert_int_equal(cg->at[STOW_CGROUP_CPUSET].version, 2);
	assert_int_equal(cg->at[STOW_CGROUP_MEMORY].version, 2);
	assert_int_equal(stow_cpuset_read(cg, &set, NULL), 0);
	assert_true(stow_idset_empty(&set.cpus));
	assert_int_equal(stow_idset_count(&set.cpus_effective), 8);
	assert_int_equal(stow_cgroup_populated(t->root, "/a/b", cg->inode, NULL), 1);
	assert_int_equal(stow_cgroup_populated(t->root, "/a/b", cg->inode + 1, NULL), 0);
	assert_int_equal(stow_cgroup_populated(t->root, "/a/c", cg->inode, NULL), 0);
}

static void finds_each_controller_on_v1(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;

	tree_write(t, "/proc/self/mountinfo", "%s%s", v2_mounts, v1_mounts);
	tree_write(t, "/proc/7/cgroup", "3:memory:/m/x\n2:cpu,cpuacct:/c\n1:cpuset:/s/x\n0::/u\n");
	tree_mkdir(t, "/sys/fs/cgroup/cpuset/s/x");
	tree_mkdir(t, "/sys/fs/cgroup/memory/m/x");
	tree_mkdir(t, "/sys/fs/cgroup/u");
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_string_equal(cg->path, "/s/x");
	assert_int_equal(cg->at[STOW_CGROUP_CPUSET].version, 1);
	assert_int_equal(cg->at[STOW_CGROUP_MEMORY].version, 1);
	assert_string_equal(cg->at[STOW_CGROUP_MEMORY].dir->dir, "/sys/fs/cgroup/memory/m/x");
}

static void paths_from_another_namespace_are_refused(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	struct stow_cgroup *cg = NULL;
	struct stow_err err = { 0 };

	tree_write(t, "/proc/8/cgroup", "0::/../../other\n");
	assert_int_equal(stow_cgroup_of_pid(t->root, 8, &cg, &err), -EXDEV);
	assert_int_equal(stow_cgroup_of_pid(t->root, 9, &cg, &err), -ESRCH);
	assert_null(cg);
}

/* The kernel of this tree never makes anything effective: a write that had no effect is seen. */
static void what_did_not_become_effective_is_an_error(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	struct stow_err err = { 0 };
	struct stow_idset set;

	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	stow_idset_parse("0-1", &set, NULL);
	assert_int_equal(stow_cpuset_write_cpus(cg, &set, &err), -EBUSY);
	assert_string_equal(err.msg,
			    "cpuset.cpus of cgroup /a/b: 0-1 was asked, the kernel gave 0-7");
	/* Nothing, on v2, means what the parent has. */
	memset(&set, 0, sizeof(set));
	assert_int_equal(stow_cpuset_write_cpus(cg, &set, &err), 0);
}

static void no_cpuset_controller_is_said(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	struct stow_err err = { 0 };
	struct stow_cpuset set;

	tree_write(t, "/proc/9/cgroup", "0::/plain\n");
	tree_mkdir(t, "/sys/fs/cgroup/plain");
	assert_int_equal(stow_cgroup_of_pid(t->root, 9, &cg, NULL), 0);
	assert_int_equal(stow_cpuset_read(cg, &set, &err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "no cpuset controller"));
}

static void numa_stat_of_both_versions(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	uint64_t v = 0;

	tree_write(t, "/sys/fs/cgroup/a/b/memory.numa_stat",
		   "anon N0=4096 N1=8192\nfile N0=100 N1=0\nanon_thp N0=999 N1=999\n");
	tree_write(t, "/sys/fs/cgroup/a/b/hugetlb.2MB.numa_stat",
		   "total=8388608 N0=0 N1=8388608\n");
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_int_equal(stow_memory_used(cg, 0, &v, NULL), 0);
	assert_int_equal(v, 4196);
	assert_int_equal(stow_memory_used(cg, 1, &v, NULL), 0);
	assert_int_equal(v, 8192);
	assert_int_equal(stow_hugetlb_used(cg, 2 << 20, 1, &v, NULL), 0);
	assert_int_equal(v, 4);
	assert_int_equal(stow_hugetlb_used(cg, 2 << 20, 11, &v, NULL), 0);
	assert_int_equal(v, 0);
	assert_int_equal(stow_hugetlb_used(cg, 1 << 30, 1, &v, NULL), -ENOTSUP);
}

static void saved_values_come_back(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	struct stow_request request = { .memory = 1 << 20 };
	struct stow_cpuset cpuset;
	_cleanup_free_ char *saved = NULL, *now = NULL, *mems = NULL;
	struct stow_idset set;

	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_int_equal(stow_cpuset_read(cg, &cpuset, NULL), 0);
	assert_int_equal(stow_saved_capture(cg, &cpuset, &request, &saved, NULL), 0);
	assert_string_equal(saved, "cpuset.cpus=\ncpuset.mems=\nmemory.max=max\n");
	tree_write(t, "/sys/fs/cgroup/a/b/memory.max", "1048576\n");
	tree_write(t, "/sys/fs/cgroup/a/b/cpuset.mems", "1\n");
	assert_int_equal(stow_saved_restore(cg, saved, NULL), 0);
	now = tree_read(t, "/sys/fs/cgroup/a/b/memory.max");
	assert_string_equal(now, "max");
	mems = tree_read(t, "/sys/fs/cgroup/a/b/cpuset.mems");
	assert_string_equal(mems, "0-1");
	stow_saved_idset("cpuset.mems=1\ncpuset.cpus=3-4,9\n", "cpuset.cpus", &set);
	assert_int_equal(stow_idset_count(&set), 3);
	stow_saved_idset(saved, "cpuset.cpus", &set);
	assert_true(stow_idset_empty(&set));
}

static void lives(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_life life = { 0 };

	tree_write(t, "/proc/5/stat",
		   "5 (a) b (c) S 1 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99\n");
	assert_int_equal(stow_life_read(t->root, 5, &life, NULL), 0);
	assert_int_equal(life.start, 4711);
	assert_true(stow_life_alive(t->root, &life));
	life.start++;
	assert_false(stow_life_alive(t->root, &life));
	tree_write(t, "/proc/5/stat",
		   "5 (a) Z 1 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99\n");
	life.start--;
	assert_false(stow_life_alive(t->root, &life));
	life.pid = 6;
	assert_false(stow_life_alive(t->root, &life));
	/* What cannot be understood is taken for alive. */
	tree_write(t, "/proc/6/stat", "gibberish\n");
	assert_true(stow_life_alive(t->root, &life));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_cgroup_on_v2),
		cmocka_unit_test(finds_each_controller_on_v1),
		cmocka_unit_test(paths_from_another_namespace_are_refused),
		cmocka_unit_test(what_did_not_become_effective_is_an_error),
		cmocka_unit_test(no_cpuset_controller_is_said),
		cmocka_unit_test(numa_stat_of_both_versions),
		cmocka_unit_test(saved_values_come_back),
		cmocka_unit_test(lives),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
