// SPDX-License-Identifier: Apache-2.0
/* Threads' sets and memory policies, from copies of /proc. */
#include "pages/task.h"
#include "unit.h"

#include "base/cleanup.h"
#include "tree.h"

TEST(policies_are_what_stands_before_the_values)
{
	static const struct {
		const char *line, *policy;
	} cases[] = {
		{ "55d8d7993000 default file=/usr/bin/head mapped=2 N0=2 kernelpagesize_kB=4",
		  "default" },
		{ "7ffd bind:0-1 stack anon=3", "bind:0-1" },
		{ "7ffd prefer (many):0 heap anon=3", "prefer (many):0" },
		{ "7ffd weighted interleave:0,2 anon=1", "weighted interleave:0,2" },
		{ "7ffd bind=static:0 huge anon=1", "bind=static:0" },
		{ "7ffd bind=balancing:1 anon=1", "bind=balancing:1" },
		{ "7ffd local", "local" },
		{ "7ffd prefer=relative:0", "prefer=relative:0" },
		{ "", "" },
		{ "x default", "" },
		{ "7ffd", "" },
		{ "7ffd ", "" },
		{ "7ffd \x1b[2J", "?[2J" },
	};
	char buf[STOW_TASK_POLICY_MAX], small[5];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++)
		assert_string_equal(stow_task_policy_of_line(cases[i].line, buf, sizeof(buf)),
				    cases[i].policy);
	assert_string_equal(stow_task_policy_of_line("7f default", small, sizeof(small)), "defa");
}

static void put(struct tree *t, int tid, const char *maps)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/7/task/%d/status", tid);
	tree_write(t, path,
		   "Name:\tdb\nState:\tS\nCpus_allowed_list:\t4-7\nMems_allowed_list:\t1\n");
	snprintf(path, sizeof(path), "/proc/7/task/%d/stat", tid);
	tree_write(t, path,
		   "%d (d) b) S 1 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 "
		   "28 29 30 31 32 33 34 35 36 37 38 5 40\n",
		   tid);
	snprintf(path, sizeof(path), "/proc/7/task/%d/numa_maps", tid);
	tree_write(t, path, "%s", maps);
}

TEST(threads_are_read)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_free_ struct stow_task *tasks = NULL;
	struct stow_task_pages pages;
	struct stow_err err;
	char buf[64];
	bool cut;
	size_t n;

	put(t, 9, "1000 interleave:0-1 anon=1\n2000 bind:1 stack anon=2\n");
	put(t, 7,
	    "1000 prefer:1 anon=1\n2000 bind:0 anon=3 N1=3 kernelpagesize_kB=4\n"
	    "3000 prefer:1 anon=1\nx\n");
	put(t, 8, "1000 default anon=1\n");
	tree_write(t, "/proc/7/task/8/sched", "x (8)\n---\nnuma_preferred_nid   :   1\n");
	tree_mkdir(t, "/proc/7/task/10"); /* ended */
	assert_int_equal(stow_tasks_read(t->root, 7, &tasks, &n, &cut, &pages, &err), 0);
	assert_int_equal(n, 3);
	assert_false(cut);
	/* The pages are the process's, from its first thread. */
	assert_true(pages.known);
	assert_int_equal(stow_process_pages_on(&pages.pages, 1), 3 * 4096);
	assert_int_equal(stow_process_pages_on(&pages.pages, 0), 0);
	assert_int_equal(pages.pages.other_lines, 1);
	stow_process_pages_done(&pages.pages);
	assert_int_equal(tasks[0].tid, 7);
	assert_string_equal(tasks[0].name, "db");
	assert_true(tasks[0].known);
	assert_string_equal(stow_idset_format(&tasks[0].cpus, buf, sizeof(buf)), "4-7");
	assert_string_equal(stow_idset_format(&tasks[0].mems, buf, sizeof(buf)), "1");
	assert_int_equal(tasks[0].cpu, 5);
	assert_string_equal(tasks[0].policy, "prefer:1");
	assert_int_equal(tasks[0].from, STOW_POLICY_MOST);
	assert_int_equal(tasks[0].preferred, 1);
	assert_true(tasks[0].preferred_by_policy);
	assert_int_equal(tasks[1].preferred, 1);
	assert_false(tasks[1].preferred_by_policy);
	assert_string_equal(tasks[2].policy, "bind:1");
	assert_int_equal(tasks[2].from, STOW_POLICY_STACK);
	assert_int_equal(tasks[2].preferred, -1);
	assert_int_equal(stow_tasks_read(t->root, 99, &tasks, &n, &cut, NULL, &err), -ESRCH);
}

/* Missing, empty or garbage: unknown, never a guess. */
TEST(what_cannot_be_read_is_unknown)
{
	static const char *const odd[] = { "", "\n\n", "garbage\n", "Cpus_allowed_list:\nName",
					   "Cpus_allowed_list:\tx-y\nMems_allowed_list:\t9-1\n" };
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();

	for (size_t i = 0; i < STOW_ARRAY_SIZE(odd); i++) {
		_cleanup_free_ struct stow_task *task = NULL;
		bool cut;
		size_t n;

		tree_write(t, "/proc/7/task/7/status", "%s", odd[i]);
		tree_write(t, "/proc/7/task/7/stat", "%s", odd[i]);
		tree_write(t, "/proc/7/task/7/numa_maps", "%s", odd[i]);
		tree_write(t, "/proc/7/task/7/sched", "%s", odd[i]);
		assert_int_equal(stow_tasks_read(t->root, 7, &task, &n, &cut, NULL, NULL), 0);
		assert_int_equal(n, 1);
		assert_false(task->known);
		assert_true(stow_idset_empty(&task->mems));
		assert_int_equal(task->cpu, -1);
		assert_int_equal(task->preferred, -1);
		assert_string_equal(task->policy, "");
		assert_int_equal(task->from, STOW_POLICY_UNKNOWN);
	}
}
