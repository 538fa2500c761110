// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cgroup/cpuset.h"
#include "cgroup/peek.h"
#include "tree.h"

#define TOP "/sys/fs/cgroup"

static const char mounts[] = "35 24 0:30 / " TOP " rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";

/* A cgroup with one CPU, which is its name. */
static void make(struct tree *t, const char *above, int cpu)
{
	char path[128];

	snprintf(path, sizeof(path), TOP "%s/%d/cpuset.cpus", above, cpu);
	tree_write(t, path, "%d\n", cpu);
	snprintf(path, sizeof(path), TOP "%s/%d/cpuset.cpus.effective", above, cpu);
	tree_write(t, path, "%d\n", cpu);
}

static void identify(struct tree *t, const char *above, int cpu, struct stow_cgroup_id *ret)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	char path[128];

	snprintf(path, sizeof(path), "%s/%d", above, cpu);
	assert_int_equal(stow_cgroup_of_path(t->root, path, &cgroup, NULL), 0);
	assert_int_equal(stow_cgroup_id_copy(&cgroup->id, ret, NULL), 0);
}

static bool has(struct stow_peek *peek, struct tree *t, const struct stow_cgroup_id *id, int cpu)
{
	struct stow_cgroup cgroup;
	struct stow_idset cpus;

	if (!stow_peek_cpus(peek, t->root, id, &cgroup, &cpus))
		return false;
	assert_int_equal(stow_idset_count(&cpus), 1);
	assert_true(stow_idset_has(&cpus, cpu));
	assert_string_equal(cgroup.path, stow_cgroup_id_path(id));
	return true;
}

/* As a cgroup that is gone: its inode is not given again here either. */
static void move_away(struct tree *t, const char *path, const char *to)
{
	_cleanup_free_ char *from = NULL, *there = NULL;

	assert_int_equal(stow_root_path(t->root, path, &from, NULL), 0);
	assert_int_equal(stow_root_path(t->root, to, &there, NULL), 0);
	assert_int_equal(rename(from, there), 0);
}

/* From whatever folder the one before was looked at. */
TEST(each_is_read_wherever_the_one_before_was)
{
	static const char *const above[] = { "/a",  "/a", "/a",	  "", "/a", "/a/b", "/a/b",
					     "/ab", "/a", "/a/b", "", "",   "/a/b" };
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_peek_done) struct stow_peek peek = { 0 };

	tree_write(t, "/proc/self/mountinfo", "%s", mounts);
	for (int i = 0; i < (int)STOW_ARRAY_SIZE(above); i++) {
		struct stow_cgroup_id id;

		make(t, above[i], i);
		identify(t, above[i], i, &id);
		assert_true(has(&peek, t, &id, i));
		stow_cgroup_id_done(&id);
	}
}

/* Names are given again; what has the name now is not the container. */
TEST(another_cgroup_of_that_name_is_not_it)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_peek_done) struct stow_peek peek = { 0 };
	struct stow_cgroup_id id[3];

	tree_write(t, "/proc/self/mountinfo", "%s", mounts);
	for (int i = 0; i < 3; i++) {
		make(t, "/a", i);
		identify(t, "/a", i, &id[i]);
	}
	assert_true(has(&peek, t, &id[0], 0));
	move_away(t, TOP "/a/1", TOP "/a/old");
	assert_false(has(&peek, t, &id[1], 1)); /* gone */
	make(t, "/a", 1);
	assert_false(has(&peek, t, &id[1], 1)); /* another one */
	assert_true(has(&peek, t, &id[2], 2));
	/* With the cgroup above, which is open by now. */
	move_away(t, TOP "/a", TOP "/old");
	tree_remove(t, TOP "/old/2");
	make(t, "/a", 2);
	assert_false(has(&peek, t, &id[2], 2));
	for (int i = 0; i < 3; i++)
		stow_cgroup_id_done(&id[i]);
}

/* What a part of a hierarchy begins with has nothing above it; a path that leads out is none. */
TEST(unusual_paths_are_left_to_opening)
{
	static char path[][16] = { "/a", "/", "/a/../a/1", "/elsewhere" };
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_peek_done) struct stow_peek peek = { 0 };
	struct stow_cgroup_id id, odd;

	tree_write(t, "/proc/self/mountinfo", "33 24 0:30 /a /mnt/a rw - cgroup2 cgroup2 rw\n");
	tree_write(t, "/mnt/a/cpuset.cpus.effective", "0-3\n");
	tree_write(t, "/mnt/a/1/cpuset.cpus", "1\n");
	tree_write(t, "/mnt/a/1/cpuset.cpus.effective", "1\n");
	identify(t, "/a", 1, &id);
	assert_true(has(&peek, t, &id, 1));
	for (size_t i = 0; i < STOW_ARRAY_SIZE(path); i++) {
		odd = id;
		odd.at[STOW_CGROUP_CPUSET].path = path[i];
		assert_false(has(&peek, t, &odd, 1));
	}
	odd = (struct stow_cgroup_id){ 0 };
	assert_false(has(&peek, t, &odd, 1));
	tree_remove(t, "/mnt/a/1/cpuset.cpus.effective"); /* its controller was taken away */
	assert_false(has(&peek, t, &id, 1));
	stow_cgroup_id_done(&id);
}
