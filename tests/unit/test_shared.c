// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cleanup.h"
#include "grant/shared.h"
#include "tree.h"

/* A v2 machine with one container, process 7, in /c. */
static struct tree *machine(void)
{
	struct tree *t = tree_new();

	tree_write(t, "/proc/self/mountinfo",
		   "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	tree_write(t, "/proc/7/cgroup", "0::/c\n");
	tree_write(t, "/proc/7/stat",
		   "7 (x) S 1 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99\n");
	tree_write(t, "/sys/fs/cgroup/cpuset.cpus.effective", "0-7\n");
	tree_write(t, "/sys/fs/cgroup/c/cpuset.cpus", "\n");
	tree_write(t, "/sys/fs/cgroup/c/cpuset.mems", "\n");
	tree_write(t, "/sys/fs/cgroup/c/cpuset.cpus.effective", "0-7\n");
	tree_write(t, "/sys/fs/cgroup/c/cpuset.mems.effective", "0\n");
	tree_mkdir(t, "/run");
	return t;
}

static const struct stow_life life = { .pid = 7, .start = 4711 };

static void the_first_container_since_boot_is_entered(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = machine();
	_cleanup_free_ char *entry = NULL;

	assert_int_equal(stow_shared_enter(t->root, "c", &life, NULL, NULL), 0);
	entry = tree_read(t, STOW_OTHERS_DIR "/c");
	assert_string_equal(entry, "7 4711"); /* tree_read cuts the newline */
}

static void only_who_has_ended_leaves(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = machine();

	assert_int_equal(stow_shared_leave(t->root, "c", NULL), 0);
	assert_int_equal(stow_shared_enter(t->root, "c", &life, NULL, NULL), 0);
	assert_int_equal(stow_shared_leave(t->root, "c", NULL), 0);
	assert_int_equal(stow_shared_sweep(t->root, NULL), 0);
	tree_remove(t, "/proc/7");
	assert_int_equal(stow_shared_sweep(t->root, NULL), 1);
	assert_int_equal(stow_root_exists(t->root, STOW_OTHERS_DIR "/c"), 0);
}

/* This tree's kernel makes nothing effective: the write is seen, and that it did not help is told. */
static void a_new_container_is_taken_off_exclusive_cpus(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = machine();
	_cleanup_free_ char *cpus = NULL, *entry = NULL;

	tree_write(t, STOW_EXCLUSIVE_PATH, "2-3");
	assert_int_equal(stow_shared_enter(t->root, "c", &life, NULL, NULL), -EBUSY);
	cpus = tree_read(t, "/sys/fs/cgroup/c/cpuset.cpus");
	assert_string_equal(cpus, "0-1,4-7");
	entry = tree_read(t, STOW_OTHERS_DIR "/c"); /* what it was: nothing of its own */
	assert_string_equal(entry, "7 4711\ncpus=");
}

static void a_set_of_its_own_pins_cpus(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = machine();
	struct stow_idset pinned;
	char buf[32];

	assert_int_equal(stow_shared_enter(t->root, "c", &life, NULL, NULL), 0);
	assert_int_equal(stow_shared_pinned(t->root, &pinned, NULL), 0);
	assert_true(stow_idset_empty(&pinned));
	tree_write(t, "/sys/fs/cgroup/c/cpuset.cpus", "4-5\n");
	assert_int_equal(stow_shared_pinned(t->root, &pinned, NULL), 0);
	assert_string_equal(stow_idset_format(&pinned, buf, sizeof(buf)), "4-5");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_container_since_boot_is_entered),
		cmocka_unit_test(only_who_has_ended_leaves),
		cmocka_unit_test(a_new_container_is_taken_off_exclusive_cpus),
		cmocka_unit_test(a_set_of_its_own_pins_cpus),
	};

	return cmocka_run_group_tests_name("shared", tests, NULL, NULL);
}
