// SPDX-License-Identifier: Apache-2.0
/* CPUs that go offline and come back: who runs where meanwhile, and has what afterwards. */
#include "unit.h"

#include "base/cleanup.h"
#include "cgroup/cpuset.h"
#include "grant/apply.h"
#include "played.h"

#define GIB (UINT64_C(1) << 30)

/* Of node 1 the container has what is left beside three exclusive CPUs: CPU 7. When that goes, its
 * set as written would have none that is online, and the kernel would give it everything. */
TEST(the_last_shared_cpu_of_a_node_goes)
{
	struct played *p = played_new();
	struct stow_apply_result result = { 0 };
	const struct stow_apply_options options = { 0 };

	played_container(p, 7, "shared", 1, 1, GIB, false);
	played_container(p, 8, "own", 1, 3, GIB, true);
	played_has(p, "shared", "7", "1");
	tree_write(p->t, "/sys/devices/system/cpu/present", "0-7\n");
	tree_write(p->t, "/sys/devices/system/cpu/online", "0-6\n");
	tree_write(p->t, "/sys/devices/system/node/node1/cpulist", "4-6\n");
	tree_mkdir(p->t, "/sys/devices/system/node/node1/cpu7");
	tree_write(p->t, "/sys/fs/cgroup/cpuset.cpus.effective", "0-6\n");
	tree_write(p->t, "/sys/fs/cgroup/shared/cpuset.cpus.effective", "0-6\n");
	assert_int_equal(stow_apply(&p->context, &options, &result, NULL), 0);
	played_has(p, "shared", "0-3", "1");
	assert_int_equal(result.n_problems, 1);
	assert_string_equal(result.problems[0].text,
			    "container shared: CPUs 4-7 are all offline, belong to another "
			    "container, or are not in the cgroup above; until one is back it runs "
			    "on shared CPUs 0-3");
	assert_true(stow_idset_empty(&result.problems[0].taken));
	stow_apply_result_done(&result);

	tree_write(p->t, "/sys/devices/system/cpu/online", "0-7\n");
	tree_write(p->t, "/sys/devices/system/node/node1/cpulist", "4-7\n");
	/* A CPU that came online is in no cpuset before the kernel's worker has run. */
	assert_int_equal(stow_apply(&p->context, &options, NULL, NULL), 0);
	played_has(p, "shared", "0-3", "1");
	assert_false(stow_apply_is_current(&p->context)); /* so the next start applies again */
	tree_write(p->t, "/sys/fs/cgroup/cpuset.cpus.effective", "0-7\n");
	assert_int_equal(stow_apply(&p->context, &options, &result, NULL), 0);
	played_has(p, "shared", "7", "1");
	assert_int_equal(result.n_problems, 0);
	assert_true(stow_apply_is_current(&p->context));
	stow_apply_result_done(&result);
	played_free(p);
}

/* cgroup v1: the topmost cgroup alone has its CPUs back. */
TEST(cgroups_above_get_back_what_the_kernel_took)
{
	static const struct {
		const char *path, *before, *after;
	} cgroups[] = {
		{ "/runtime", "0-1,3", "0-3" },	    /* has lost CPU 2 */
		{ "/runtime/pod", "0-1,3", "0-3" }, /* and so has this one */
		{ "/runtime/pod/x", "0-1,3",
		  "0-1,3" },		   /* the container's, which is the applier's */
		{ "/made", "0-1", "0-1" }, /* has never had CPU 3 */
		{ "/made/pod", "0-1", "0-1" },
		{ "/made/pod/x", "0-1", "0-1" },
		{ "/narrow", "0", "0,3" }, /* is narrow, and has CPU 3, the container's own */
		{ "/narrow/x", "0", "0" },
	};
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_idset online, returned, own = { 0 };
	char path[128];

	tree_write(t, "/proc/self/mountinfo",
		   "33 24 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
	tree_write(t, "/sys/fs/cgroup/cpuset/cpuset.effective_cpus", "0-3\n");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(cgroups); i++) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/cpuset%s/cpuset.cpus",
			 cgroups[i].path);
		tree_write(t, path, "%s\n", cgroups[i].before);
	}
	tree_write(t, "/proc/7/cgroup", "1:cpuset:/runtime/pod/x\n");
	tree_write(t, "/proc/8/cgroup", "1:cpuset:/made/pod/x\n");
	tree_write(t, "/proc/9/cgroup", "1:cpuset:/narrow/x\n");
	stow_idset_parse("0-4", &online, NULL);
	stow_idset_parse("2,4", &returned, NULL); /* CPU 4 is not even in the topmost cgroup yet */
	for (int pid = 7; pid <= 9; pid++) {
		_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cg = NULL;

		if (pid == 9)
			stow_idset_add(&own, 3);
		assert_int_equal(stow_cgroup_of_pid(t->root, pid, &cg, NULL), 0);
		assert_int_equal(stow_cpuset_give_back_above(cg, &online, &returned, &own, NULL),
				 pid != 8);
	}
	for (size_t i = 0; i < STOW_ARRAY_SIZE(cgroups); i++) {
		_cleanup_free_ char *now = NULL;

		snprintf(path, sizeof(path), "/sys/fs/cgroup/cpuset%s/cpuset.cpus",
			 cgroups[i].path);
		now = tree_read(t, path);
		assert_string_equal(now, cgroups[i].after);
	}
}
