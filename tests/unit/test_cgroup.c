// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cleanup.h"
#include "cgroup/cpuset.h"
#include "cgroup/freezer.h"
#include "cgroup/hierarchy.h"
#include "cgroup/limits.h"
#include "cgroup/pidref.h"
#include "grant/saved.h"
#include "tree.h"

static const char v2_mounts[] =
	"24 30 0:22 / /proc rw - proc proc rw\n"
	"35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

static const char v1_mounts[] =
	"33 24 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,noprefix\n"
	"34 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	"36 24 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

static int write_cpus(const struct stow_cgroup *cgroup, const struct stow_idset *set, void *err)
{
	struct stow_idset now;

	assert_int_equal(stow_cpuset_read_cpus(cgroup, false, &now, NULL), 0);
	return stow_cpuset_change_cpus(cgroup, &now, set, err);
}

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

TEST(finds_the_cgroup_on_v2)
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
	assert_int_equal(stow_cgroup_populated(t->root, &cg->id, NULL), 1);
}

/* A cgroup is opened again by its path and inode, wherever its process has moved. */
TEST(a_cgroup_is_opened_by_path_and_inode)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL, *again = NULL, *other = NULL;
	struct stow_err err = { 0 };

	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	tree_write(t, "/proc/7/cgroup", "0::/a/b/init.scope\n");
	assert_int_equal(stow_cgroup_open(t->root, &cg->id, &again, NULL), 0);
	assert_string_equal(again->path, "/a/b");
	assert_int_equal(again->inode, cg->inode);
	cg->id.at[STOW_CGROUP_CPUSET].inode++;
	assert_int_equal(stow_cgroup_open(t->root, &cg->id, &other, &err), -ESRCH);
	assert_int_equal(stow_cgroup_populated(t->root, &cg->id, NULL), 0);
	cg->id.at[STOW_CGROUP_CPUSET].inode--;
	tree_remove(t, "/sys/fs/cgroup/a/b");
	assert_int_equal(stow_cgroup_open(t->root, &cg->id, &other, &err), -ESRCH);
	assert_int_equal(stow_cgroup_populated(t->root, &cg->id, NULL), 0);
	assert_null(other);
}

/* The mount that shows the cgroup is taken, wherever it stands in mountinfo. */
TEST(any_mount_that_shows_it_will_do)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	const char *mount;

	tree_write(t, "/proc/self/mountinfo",
		   "31 24 0:30 /a/bb /mnt/prefix rw - cgroup2 cgroup2 rw\n"
		   "32 24 0:30 /other /mnt/other rw - cgroup2 cgroup2 rw\n"
		   "33 24 0:30 /a /mnt/gone rw - cgroup2 cgroup2 rw\n%s",
		   v2_mounts);
	tree_mkdir(t, "/mnt/other/b");
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_string_equal(cg->at[STOW_CGROUP_CPUSET].dir->dir, "/sys/fs/cgroup/a/b");
	assert_int_equal(stow_cgroup_mount(t->root, STOW_CGROUP_CPUSET, &mount, NULL), 0);
	assert_string_equal(mount, "/sys/fs/cgroup");
}

TEST(a_part_of_a_hierarchy_is_enough)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;

	tree_write(t, "/proc/self/mountinfo", "33 24 0:30 /a /mnt/a rw - cgroup2 cgroup2 rw\n");
	tree_write(t, "/mnt/a/b/cpuset.cpus", "\n");
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_string_equal(cg->at[STOW_CGROUP_CPUSET].dir->dir, "/mnt/a/b");
	assert_string_equal(cg->path, "/a/b");
}

/* Every unit that systemd has escaped has a backslash in its name. */
TEST(escapes_of_mountinfo_are_read)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;

	tree_write(t, "/proc/self/mountinfo",
		   "33 24 0:30 /x\\134x2d.slice /mnt/with\\040blank rw - cgroup2 cgroup2 rw\n");
	tree_write(t, "/proc/7/cgroup", "0::/x\\x2d.slice/b\n");
	tree_write(t, "/mnt/with blank/b/cpuset.cpus", "\n");
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_string_equal(cg->at[STOW_CGROUP_CPUSET].dir->dir, "/mnt/with blank/b");
}

TEST(noprefix_names_are_used)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	_cleanup_free_ char *cpus = NULL;
	struct stow_cpuset set;
	struct stow_idset wanted;

	tree_write(t, "/proc/self/mountinfo", "%s%s", v2_mounts, v1_mounts);
	tree_write(t, "/proc/7/cgroup", "1:cpuset:/s/x\n");
	tree_write(t, "/sys/fs/cgroup/cpuset/s/effective_cpus", "0-3\n");
	tree_write(t, "/sys/fs/cgroup/cpuset/s/x/cpus", "0-3\n");
	tree_write(t, "/sys/fs/cgroup/cpuset/s/x/mems", "0\n");
	tree_write(t, "/sys/fs/cgroup/cpuset/s/x/effective_cpus", "0-3\n");
	tree_write(t, "/sys/fs/cgroup/cpuset/s/x/effective_mems", "0\n");
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_int_equal(stow_cpuset_read(cg, &set, NULL), 0);
	stow_idset_parse("0-1", &wanted, NULL);
	assert_int_equal(write_cpus(cg, &wanted, NULL), 1);
	cpus = tree_read(t, "/sys/fs/cgroup/cpuset/s/x/cpus");
	assert_string_equal(cpus, "0-1");
}

TEST(limits_above_are_found)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;

	tree_write(t, "/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
	tree_write(t, "/sys/fs/cgroup/a/memory.max", "67108864\n");
	tree_write(t, "/sys/fs/cgroup/a/b/memory.max", "1073741824\n");
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_true(stow_cgroup_limit(cg, STOW_CGROUP_MEMORY, "memory.max") == 1073741824);
	assert_true(stow_cgroup_limit_above(cg, STOW_CGROUP_MEMORY, "memory.max") == 67108864);
	assert_int_equal(stow_cpu_limit(cg), 2);
}

TEST(finds_each_controller_on_v1)
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

TEST(paths_from_another_namespace_are_refused)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	struct stow_cgroup *cg = NULL;
	struct stow_err err = { 0 };

	tree_write(t, "/proc/8/cgroup", "0::/../../other\n");
	assert_int_equal(stow_cgroup_of_pid(t->root, 8, &cg, &err), -EXDEV);
	assert_int_equal(stow_cgroup_of_pid(t->root, 9, &cg, &err), -ESRCH);
	assert_null(cg);
}

/* Before Linux 6.2 an equal write takes threads' own affinity away. */
TEST(an_equal_set_is_not_written)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	struct stow_idset set;

	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	stow_idset_parse("0-1", &set, NULL);
	assert_int_equal(write_cpus(cg, &set, NULL), 1);
	assert_int_equal(write_cpus(cg, &set, NULL), 0);
}

/* A v1 cgroup with cgroups below it: those with the whole set follow it, others keep their part. */
TEST(cgroups_below_follow_on_v1)
{
	static const struct {
		const char *cgroup, *before, *after;
	} below[] = {
		{ "/whole", "0-3", "1-2" },   { "/whole/deep", "0-3", "1-2" },
		{ "/part", "0-1", "1" },      { "/outside", "3", "1-2" },
		{ "/.hidden", "0-3", "1-2" },
	};
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	struct stow_idset set;
	char path[128];

	tree_write(t, "/proc/self/mountinfo",
		   "33 24 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
	tree_write(t, "/proc/7/cgroup", "1:cpuset:/x\n");
	tree_write(t, "/sys/fs/cgroup/cpuset/cpuset.effective_cpus", "0-3\n");
	tree_write(t, "/sys/fs/cgroup/cpuset/x/cpuset.cpus", "0-3\n");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(below); i++) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/cpuset/x%s/cpuset.cpus",
			 below[i].cgroup);
		tree_write(t, path, "%s\n", below[i].before);
	}
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	stow_idset_parse("1-2", &set, NULL);
	assert_int_equal(write_cpus(cg, &set, NULL), 1);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(below); i++) {
		_cleanup_free_ char *now = NULL;

		snprintf(path, sizeof(path), "/sys/fs/cgroup/cpuset/x%s/cpuset.cpus",
			 below[i].cgroup);
		now = tree_read(t, path);
		assert_string_equal(now, below[i].after);
	}
}

/* The container's own program grows a cgroup below again, between our two writes. */
static int is_busy(void *ctx, const char *path, const char *value)
{
	int *times = ctx;

	return value && strcmp(path, "/sys/fs/cgroup/cpuset/x/cpuset.cpus") == 0 && (*times)-- > 0
		       ? -EBUSY
		       : 0;
}

TEST(a_set_that_is_busy_is_tried_again_on_v1)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	_cleanup_free_ char *now = NULL;
	int times = 3;
	const struct stow_root_ops ops = { .ctx = &times, .before = is_busy };
	struct stow_idset set;

	tree_write(t, "/proc/self/mountinfo",
		   "33 24 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
	tree_write(t, "/proc/7/cgroup", "1:cpuset:/x\n");
	tree_write(t, "/sys/fs/cgroup/cpuset/cpuset.effective_cpus", "0-3\n");
	tree_write(t, "/sys/fs/cgroup/cpuset/x/cpuset.cpus", "0-3\n");
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	cg->at[STOW_CGROUP_CPUSET].dir->ops = &ops;
	stow_idset_parse("1-2", &set, NULL);
	assert_int_equal(write_cpus(cg, &set, NULL), 1);
	now = tree_read(t, "/sys/fs/cgroup/cpuset/x/cpuset.cpus");
	assert_string_equal(now, "1-2");
	assert_int_equal(times, -1);
}

TEST(a_missing_cpuset_controller_is_an_error)
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

TEST(numa_stat_of_both_versions)
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

TEST(cgroups_below_count_on_v1)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	uint64_t v = 0;

	tree_write(t, "/proc/self/mountinfo",
		   "33 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		   "34 24 0:29 / /sys/fs/cgroup/hugetlb rw - cgroup cgroup rw,hugetlb\n");
	tree_write(t, "/proc/7/cgroup", "1:memory:/x\n2:hugetlb:/x\n");
	tree_write(t, "/sys/fs/cgroup/memory/x/memory.numa_stat",
		   "total=2 N0=1 N1=1\nhierarchical_total=5 N0=2 N1=3\n");
	tree_write(t, "/sys/fs/cgroup/hugetlb/x/hugetlb.2MB.numa_stat",
		   "total=0 N0=0 N1=0\nhierarchical_total=4194304 N0=0 N1=4194304\n");
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_int_equal(stow_memory_used(cg, 1, &v, NULL), 0);
	assert_int_equal(v, 3 * sysconf(_SC_PAGESIZE));
	assert_int_equal(stow_hugetlb_used(cg, 2 << 20, 1, &v, NULL), 0);
	assert_int_equal(v, 2);
}

TEST(saved_values_come_back)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *record = calloc(1, sizeof(*record));
	struct stow_request request = { .memory = 1 << 20 };
	_cleanup_free_ char *now = NULL;

	assert_non_null(record);
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_int_equal(stow_saved_capture(cg, &request, record, NULL), 0);
	assert_int_equal(record->n_saved, 1);
	assert_string_equal(record->saved[0].attribute, "memory.max");
	tree_write(t, "/sys/fs/cgroup/a/b/memory.max", "1048576\n");
	assert_int_equal(stow_saved_restore(cg, record, NULL), 0);
	now = tree_read(t, "/sys/fs/cgroup/a/b/memory.max");
	assert_string_equal(now, "max");
}

/* A container may give its cgroups any name. */
TEST(processes_are_found_in_cgroups_with_a_dot_on_v1)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;

	tree_write(t, "/proc/self/mountinfo",
		   "33 24 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
	tree_write(t, "/proc/7/cgroup", "1:cpuset:/x\n");
	tree_write(t, "/sys/fs/cgroup/cpuset/x/cgroup.procs", "%s", "");
	tree_write(t, "/sys/fs/cgroup/cpuset/x/.a/cgroup.procs", "%s", "");
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cg, NULL), 0);
	assert_int_equal(stow_cgroup_has_processes(cg, NULL), 0);
	tree_write(t, "/sys/fs/cgroup/cpuset/x/.a/..b/cgroup.procs", "7\n");
	assert_int_equal(stow_cgroup_has_processes(cg, NULL), 1);
}

TEST(a_process_reference_tells_whether_it_lives)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_pidref ref = { 0 };

	tree_write(t, "/proc/5/stat",
		   "5 (a) b (c) S 1 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99\n");
	assert_int_equal(stow_pidref_read(t->root, 5, &ref, NULL), 0);
	assert_int_equal(ref.start, 4711);
	assert_true(stow_pidref_alive(t->root, &ref));
	ref.start++;
	assert_false(stow_pidref_alive(t->root, &ref));
	tree_write(t, "/proc/5/stat",
		   "5 (a) Z 1 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99\n");
	ref.start--;
	assert_false(stow_pidref_alive(t->root, &ref));
	ref.pid = 6;
	assert_false(stow_pidref_alive(t->root, &ref));
	/* What cannot be understood is taken for alive. */
	tree_write(t, "/proc/6/stat", "gibberish\n");
	assert_true(stow_pidref_alive(t->root, &ref));
}

/* A container's first process, in a cgroup below the container's that is frozen, as is the
 * container's. */
static struct tree *frozen_tree(void)
{
	struct tree *t = tree_new();

	tree_write(t, "/proc/self/mountinfo",
		   "%s37 24 0:32 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n",
		   v1_mounts);
	tree_write(t, "/proc/7/stat", "7 (x) S 1 7 7 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 4711 99\n");
	tree_write(t, "/proc/7/cgroup", "3:freezer:/s/x/below\n1:cpuset:/s/x\n");
	tree_write(t, "/sys/fs/cgroup/freezer/s/freezer.self_freezing", "0\n");
	tree_write(t, "/sys/fs/cgroup/freezer/s/freezer.state", "THAWED\n");
	tree_write(t, "/sys/fs/cgroup/freezer/s/x/freezer.self_freezing", "1\n");
	tree_write(t, "/sys/fs/cgroup/freezer/s/x/freezer.parent_freezing", "0\n");
	tree_write(t, "/sys/fs/cgroup/freezer/s/x/freezer.state", "FROZEN\n");
	tree_write(t, "/sys/fs/cgroup/freezer/s/x/below/freezer.self_freezing", "1\n");
	tree_write(t, "/sys/fs/cgroup/freezer/s/x/below/freezer.state", "FROZEN\n");
	return t;
}

static char cgroup_x[] = "/s/x";
static const struct stow_cgroup_id id_x = { .at[STOW_CGROUP_CPUSET] = { .version = 1,
									.path = cgroup_x } };
static const struct stow_pidref process_x = { .pid = 7, .start = 4711 };

/* A killed process of a frozen cgroup of v1 ends only when that is thawed, and all above it. */
TEST(a_killed_container_is_thawed)
{
	_cleanup_(tree_free_ptr) struct tree *t = frozen_tree();
	_cleanup_free_ char *below = NULL, *own = NULL;
	struct stow_err err = { 0 };

	assert_int_equal(stow_freezer_thaw(t->root, &id_x, &process_x, &err), 0);
	below = tree_read(t, "/sys/fs/cgroup/freezer/s/x/below/freezer.state");
	own = tree_read(t, "/sys/fs/cgroup/freezer/s/x/freezer.state");
	assert_string_equal(below, "THAWED");
	assert_string_equal(own, "THAWED");
	tree_write(t, "/sys/fs/cgroup/freezer/s/freezer.self_freezing", "1\n");
	tree_write(t, "/sys/fs/cgroup/freezer/s/x/freezer.parent_freezing", "1\n");
	assert_int_equal(stow_freezer_thaw(t->root, &id_x, &process_x, &err), -EBUSY);
	assert_string_equal(err.msg, "it is frozen by the cgroup above, /sys/fs/cgroup/freezer/s");
}

/* Only the container's own cgroups are thawed, wherever its process may have moved. */
TEST(no_other_cgroup_is_thawed)
{
	_cleanup_(tree_free_ptr) struct tree *t = frozen_tree();
	_cleanup_free_ char *other = NULL, *own = NULL;
	struct stow_pidref later = process_x;
	struct stow_err err = { 0 };

	tree_write(t, "/proc/7/cgroup", "3:freezer:/s/xx\n1:cpuset:/s/x\n");
	tree_write(t, "/sys/fs/cgroup/freezer/s/xx/freezer.self_freezing", "1\n");
	tree_write(t, "/sys/fs/cgroup/freezer/s/xx/freezer.state", "FROZEN\n");
	assert_int_equal(stow_freezer_thaw(t->root, &id_x, &process_x, &err), -ESRCH);
	other = tree_read(t, "/sys/fs/cgroup/freezer/s/xx/freezer.state");
	assert_string_equal(other, "FROZEN");
	tree_write(t, "/proc/7/cgroup", "3:freezer:/s/x\n1:cpuset:/s/x\n");
	later.start++;
	assert_int_equal(stow_freezer_thaw(t->root, &id_x, &later, &err), -ESRCH);
	own = tree_read(t, "/sys/fs/cgroup/freezer/s/x/freezer.state");
	assert_string_equal(own, "FROZEN");
}

TEST(without_a_freezer_of_v1_nothing_is_thawed)
{
	_cleanup_(tree_free_ptr) struct tree *t = v2_tree();
	struct stow_err err = { 0 };

	assert_int_equal(stow_freezer_thaw(t->root, &id_x, &process_x, &err), 0);
}
