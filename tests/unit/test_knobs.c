// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/idset.h"
#include "base/parse.h"
#include "node/settings.h"
#include "node/settings_internal.h"

#define VM  "/proc/sys/vm/"
#define THP "/sys/kernel/mm/transparent_hugepage/"

/* Read the one setting of that name. */
static struct stow_knob_setting get(struct tree *tree, const char *name)
{
	_cleanup_(stow_knob_settings_done) struct stow_knob_settings list = { 0 };
	struct stow_err err = { 0 };

	if (stow_knobs_read_named(tree->root, name, &list, &err) < 0)
		fail_msg("%s: %s", name, err.msg);
	assert_int_equal(list.n, 1);
	return list.list[0];
}

static int set(struct tree *tree, const char *name, const char *value, struct stow_err *err)
{
	struct stow_knob_setting s = get(tree, name);

	return stow_knob_set(tree->root, &s, value, err);
}

/* --- the table ---------------------------------------------------------------------------- */

TEST(table_is_consistent)
{
	size_t n;
	const struct stow_knob *knobs = stow_knobs(&n);

	assert_true(n > 60);
	for (size_t i = 0; i < n; i++) {
		const struct stow_knob *k = &knobs[i];
		const char *path = k->paths[0];
		bool boot = k->flags & STOW_KNOB_BOOT, gone = k->flags & STOW_KNOB_GONE;

		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(k->name, knobs[j].name);
		if (strlen(k->name) >= STOW_KNOB_NAME || !k->meaning || !k->group)
			fail_msg("%s", k->name);
		/* Each is in a file or on the command line, and says its default or why it has
		 * none. */
		assert_int_equal(boot, !path);
		assert_true(gone || k->fallback || k->depends);
		assert_true(!k->max || k->min <= k->max);
		if (k->persist == STOW_PERSIST_SYSCTL)
			assert_memory_equal(path, "/proc/sys/", 10);
		if (k->persist == STOW_PERSIST_TMPFILES)
			assert_memory_equal(path, "/sys/", 5);
		if (k->persist == STOW_PERSIST_PARAMETER)
			assert_non_null(k->parameter);
		/* What cannot be set says what can be done. */
		if (k->flags & STOW_KNOB_READ_ONLY && k->persist == STOW_PERSIST_NONE)
			assert_non_null(k->instead);
		if (k->kind == STOW_KNOB_WORD)
			assert_non_null(k->words);
		if (path && strchr(k->name, '*'))
			assert_non_null(strchr(path, '*'));
	}
}

TEST(defaults_are_valid)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	size_t n;
	const struct stow_knob *knobs = stow_knobs(&n);

	for (size_t i = 0; i < n; i++) {
		struct stow_knob_setting s = { .knob = &knobs[i] };
		char value[STOW_KNOB_TEXT];
		struct stow_err err = { 0 };
		bool on;

		snprintf(s.name, sizeof(s.name), "%s",
			 strchr(knobs[i].name, '*') ? "of one file" : knobs[i].name);
		if (!knobs[i].fallback)
			continue;
		if (knobs[i].kind == STOW_KNOB_SWITCH)
			assert_true(stow_knob_is_switch(knobs[i].fallback, &on));
		if (knobs[i].flags & STOW_KNOB_READ_ONLY)
			continue;
		if (stow_knob_check(tree->root, &s, knobs[i].fallback, value, &err) < 0)
			fail_msg("%s", err.msg);
	}
}

/* --- reading ------------------------------------------------------------------------------ */

TEST(names_paths_and_sysctl_names_find_a_setting)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_knob_settings_done) struct stow_knob_settings list = { 0 };
	struct stow_err err = { 0 };

	tree_write(tree, VM "swappiness", "60\n");
	assert_string_equal(get(tree, "swappiness").value, "60");
	assert_string_equal(get(tree, "vm.swappiness").value, "60");
	assert_string_equal(get(tree, "vm/swappiness").value, "60");
	assert_string_equal(get(tree, VM "swappiness").value, "60");
	assert_int_equal(stow_knobs_read_named(tree->root, "swapines", &list, &err), -ENOENT);
	assert_string_equal(err.msg,
			    "there is no setting \"swapines\", did you mean \"swappiness\"?");
	/* A sysctl and a kernel parameter of one name are two settings. */
	tree_write(tree, "/proc/sys/kernel/numa_balancing", "1\n");
	tree_write(tree, "/proc/cmdline", "quiet numa_balancing=disable isolcpus=2-3\n");
	assert_string_equal(get(tree, "numa_balancing").value, "1");
	assert_string_equal(get(tree, "numa_balancing=").value, "disable");
	assert_string_equal(get(tree, "isolcpus").value, "2-3");
}

TEST(newest_place_comes_first_and_the_old_one_counts)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_knob_setting s;

	tree_write(tree, "/proc/sys/kernel/numa_balancing_scan_size_mb", "128\n");
	s = get(tree, "numa_balancing/scan_size_mb");
	assert_string_equal(s.value, "128");
	assert_string_equal(s.path, "/proc/sys/kernel/numa_balancing_scan_size_mb");
	tree_write(tree, "/sys/kernel/debug/sched/numa_balancing/scan_size_mb", "256\n");
	s = get(tree, "kernel.numa_balancing_scan_size_mb");
	assert_string_equal(s.value, "256");
	assert_string_equal(s.path, "/sys/kernel/debug/sched/numa_balancing/scan_size_mb");
}

TEST(every_file_of_a_pattern_is_a_setting)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_knob_settings_done) struct stow_knob_settings list = { 0 };
	struct stow_knob_setting s;

	tree_write(tree, THP "hugepages-2048kB/enabled", "always [inherit] madvise never\n");
	tree_write(tree, THP "hugepages-64kB/enabled", "always inherit madvise [never]\n");
	tree_write(tree, THP "hugepages-kB/enabled", "[x]\n");
	tree_write(tree, THP "hugepages-8kB/shmem_enabled", "[never]\n");
	assert_int_equal(stow_knobs_read_named(tree->root,
					       "transparent_hugepage/hugepages-*kB/enabled", &list,
					       NULL),
			 0);
	assert_int_equal(list.n, 2);
	assert_string_equal(list.list[0].name, "transparent_hugepage/hugepages-64kB/enabled");
	assert_string_equal(list.list[0].value, "never");
	assert_string_equal(list.list[0].choices, "always inherit madvise never");
	assert_string_equal(list.list[1].value, "inherit");
	s = get(tree, "weighted_interleave/node*");
	assert_int_equal(s.state, STOW_KNOB_ABSENT);
	assert_non_null(strstr(s.why, "since 6.9"));
	assert_int_equal(set(tree, "weighted_interleave/node*", "1", NULL), -ENOENT);
}

TEST(a_setting_without_a_value_has_a_reason)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_knob_setting s = get(tree, "numa_balancing/scan_delay_ms");

	assert_int_equal(s.state, STOW_KNOB_HIDDEN);
	assert_string_equal(s.why, "/sys is not there");
	tree_mkdir(tree, "/sys/kernel/debug");
	s = get(tree, "numa_balancing/scan_delay_ms");
	assert_int_equal(s.state, STOW_KNOB_HIDDEN);
	assert_non_null(strstr(s.why, "debugfs is not mounted"));
	tree_mkdir(tree, "/sys/kernel/debug/sched");
	assert_int_equal(get(tree, "numa_balancing/scan_delay_ms").state, STOW_KNOB_ABSENT);
	tree_mkdir(tree, "/proc/sys");
	s = get(tree, "zone_reclaim_interval");
	assert_int_equal(s.state, STOW_KNOB_LEFT);
	assert_string_equal(s.why, "gone; instead: zone_reclaim_mode");
	s = get(tree, "isolcpus=");
	assert_int_equal(s.state, STOW_KNOB_HIDDEN);
	tree_write(tree, "/proc/cmdline", "quiet\n");
	assert_int_equal(get(tree, "isolcpus=").state, STOW_KNOB_ABSENT);
}

TEST(garbage_is_no_value)
{
	static const struct {
		const char *name, *path, *text;
	} odd[] = {
		{ "swappiness", VM "swappiness", "" },
		{ "swappiness", VM "swappiness", "sixty\n" },
		{ "swappiness", VM "swappiness", "-1\n" },
		{ "swappiness", VM "swappiness", "60 60\n" },
		{ "swappiness", VM "swappiness", "99999999999999999999999\n" },
		{ "numa_stat", VM "numa_stat", "2\n" },
		{ "lowmem_reserve_ratio", VM "lowmem_reserve_ratio", "256 x 32\n" },
		{ "transparent_hugepage/enabled", THP "enabled", "always [] never\n" },
		{ "transparent_hugepage/enabled", THP "enabled", "always [never\n" },
		{ "transparent_hugepage/enabled", THP "enabled", "\033[31m\n" },
		{ "hugepages-*kB/demote_size", "/sys/kernel/mm/hugepages/hugepages-4kB/demote_size",
		  "a\nb\n" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(odd); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
		struct stow_knob_setting s;

		tree_write(tree, odd[i].path, "%s", odd[i].text);
		s = get(tree, odd[i].name);
		if (s.state != STOW_KNOB_UNREADABLE || s.value[0] || !strstr(s.why, odd[i].path) ||
		    strpbrk(s.why, "\n\033"))
			fail_msg("%zu: state %d, \"%s\"", i, s.state, s.why);
		assert_int_equal(set(tree, s.name, "1", NULL) < 0, 1);
	}
}

TEST(command_lines_are_read_as_the_kernel_does)
{
	static const struct {
		const char *line, *name, *value;
		int n;
	} lines[] = {
		{ "quiet isolcpus=2-3", "isolcpus", "2-3", 1 },
		{ "hugepagesz=1G hugepages=0:2 hugepagesz=2M hugepages=8", "hugepages", "0:2 8",
		  2 },
		{ "xisolcpus=1 isolcpusx=1 isolcpus", "isolcpus", "", 1 },
		{ "movable-node", "movable_node", "", 1 },
		{ "a=\"x isolcpus=1\" isolcpus=\"4,5\"", "isolcpus", "\"4,5\"", 1 },
		{ "a -- isolcpus=1", "isolcpus", "", 0 },
		{ "numa=fake=4\n", "numa", "fake=4", 1 },
		{ "", "numa", "", 0 },
		{ "   =  ", "numa", "", 0 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(lines); i++) {
		char value[64];

		assert_int_equal(stow_cmdline_get(lines[i].line, lines[i].name, value,
						  sizeof(value)),
				 lines[i].n);
		assert_string_equal(value, lines[i].value);
	}
}

/* --- setting ------------------------------------------------------------------------------ */

TEST(a_value_is_written_and_read_back)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_knob_setting s;
	char *text;

	tree_write(tree, VM "swappiness", "60\n");
	s = get(tree, "swappiness");
	assert_int_equal(stow_knob_set(tree->root, &s, "10", NULL), 0);
	assert_string_equal(s.value, "10");
	tree_write(tree, "/sys/kernel/mm/numa/demotion_enabled", "false\n");
	assert_int_equal(set(tree, "demotion_enabled", "yes", NULL), 0);
	text = tree_read(tree, "/sys/kernel/mm/numa/demotion_enabled");
	assert_string_equal(text, "1");
	free(text);
	tree_write(tree, VM "lowmem_reserve_ratio", "256\t256\t32\t0\n");
	assert_int_equal(set(tree, "lowmem_reserve_ratio", "128,128 32", NULL), 0);
	text = tree_read(tree, VM "lowmem_reserve_ratio");
	assert_string_equal(text, "128 128 32");
	free(text);
}

TEST(a_bad_value_changes_nothing)
{
	static const struct {
		const char *name, *path, *has, *value;
		int error;
	} bad[] = {
		{ "swappiness", VM "swappiness", "60", "201", -ERANGE },
		{ "swappiness", VM "swappiness", "60", "", -EINVAL },
		{ "swappiness", VM "swappiness", "60", "-1", -EINVAL },
		{ "swappiness", VM "swappiness", "60", "6O", -EINVAL },
		{ "swappiness", VM "swappiness", "60", "60\n", -EINVAL },
		{ "zone_reclaim_mode", VM "zone_reclaim_mode", "0", "8", -ERANGE },
		{ "watermark_scale_factor", VM "watermark_scale_factor", "10", "0", -ERANGE },
		{ "numa_stat", VM "numa_stat", "1", "2", -EINVAL },
		{ "min_free_kbytes", VM "min_free_kbytes", "45056", "262145", -ERANGE },
		{ "min_free_kbytes", VM "min_free_kbytes", "45056", "10", -ERANGE },
		{ "lowmem_reserve_ratio", VM "lowmem_reserve_ratio", "256 32", "1 2 3", -EINVAL },
		{ "lowmem_reserve_ratio", VM "lowmem_reserve_ratio", "256 32", " ", -EINVAL },
		{ "transparent_hugepage/enabled", THP "enabled", "always [madvise] never",
		  "inherit", -EINVAL },
		{ "auto_online_blocks", "/sys/devices/system/memory/auto_online_blocks",
		  "offline\n", "on", -EINVAL },
		/* Those that are set elsewhere. */
		{ "nr_hugepages", VM "nr_hugepages", "0", "4", -EROFS },
		{ "memory_hotplug.memmap_on_memory",
		  "/sys/module/memory_hotplug/parameters/memmap_on_memory", "N", "Y", -EROFS },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
		struct stow_err err = { 0 };
		char *text;

		tree_write(tree, "/proc/meminfo", "MemTotal: 1048576 kB\nMemFree: 5 kB\n");
		tree_write(tree, bad[i].path, "%s\n", bad[i].has);
		if (set(tree, bad[i].name, bad[i].value, &err) != bad[i].error)
			fail_msg("%zu: %s", i, err.msg);
		/* It names the setting, and the value unless no value would be valid. */
		assert_non_null(strstr(err.msg, bad[i].name));
		text = tree_read(tree, bad[i].path);
		assert_string_equal(text, bad[i].has);
		free(text);
	}
}

/* A kernel that accepts a write, and does something else. */
static void halves(void *ctx, struct stow_root *root, const char *path, const char *value)
{
	tree_write(ctx, path, "1\n");
}

static int busy(void *ctx, const char *path, const char *value)
{
	return value ? -EBUSY : 0;
}

TEST(what_the_kernel_made_of_it_counts)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_root_ops ops = { .ctx = tree, .wrote = halves };
	struct stow_err err = { 0 };

	tree_write(tree, VM "stat_interval", "1\n");
	tree_write(tree, "/sys/kernel/mm/ksm/merge_across_nodes", "1\n");
	tree->root->ops = &ops;
	assert_int_equal(set(tree, "stat_interval", "2", &err), -EIO);
	assert_string_equal(err.msg, "stat_interval=2: the kernel accepted it, but has 1");
	ops = (struct stow_root_ops){ .before = busy };
	assert_int_equal(set(tree, "ksm/merge_across_nodes", "0", &err), -EBUSY);
	assert_non_null(strstr(err.msg, "ksm/run=2"));
	tree->root->ops = NULL;
}

/* --- keeping ------------------------------------------------------------------------------ */

static void keep(struct tree *tree, const char *name, const char *value)
{
	struct stow_knob_setting s = get(tree, name);
	struct stow_err err = { 0 };

	if (stow_knob_persist(tree->root, &s, value, &err) < 0)
		fail_msg("%s", err.msg);
}

TEST(files_for_the_boot_keep_other_lines)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_free_ char *sysctl = NULL, *tmpfiles = NULL;

	tree_write(tree, VM "swappiness", "60\n");
	tree_mkdir(tree, "/etc");
	keep(tree, "swappiness", "10");
	keep(tree, "zone_reclaim_mode", "1");
	keep(tree, "swappiness", "20");
	sysctl = tree_read(tree, STOW_SYSCTL_FILE);
	assert_string_equal(strchr(sysctl, '\n') + 1,
			    "vm.zone_reclaim_mode = 1\nvm.swappiness = 20");
	tree_write(tree, STOW_TMPFILES_FILE, "# mine\nw " THP "enabled - - - - never\nd /x");
	keep(tree, "transparent_hugepage/enabled", "always");
	keep(tree, "transparent_hugepage/defrag", "defer");
	tmpfiles = tree_read(tree, STOW_TMPFILES_FILE);
	assert_string_equal(tmpfiles, "# mine\nd /x\nw " THP "enabled - - - - always\nw " THP
				      "defrag - - - - defer");
}

TEST(parameters_are_named)
{
	static const struct {
		const char *name, *value, *parameter;
	} of[] = {
		{ "isolcpus=", "2-3", "isolcpus=2-3" },
		{ "movable_node=", "1", "movable_node" },
		{ "numa_balancing", "0", "numa_balancing=disable" },
		{ "numa_balancing", "2", "numa_balancing=enable" },
		{ "hugetlb_optimize_vmemmap", "1", "hugetlb_free_vmemmap=on" },
		{ "auto_online_blocks", "online_movable", "memhp_default_state=online_movable" },
		{ "transparent_hugepage/enabled", "never", "transparent_hugepage=never" },
		{ "swappiness", "10", NULL },
		{ "nr_hugepages", "10", NULL },
	};
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();

	for (size_t i = 0; i < STOW_ARRAY_SIZE(of); i++) {
		struct stow_knob_setting s = get(tree, of[i].name);
		char buf[64];
		const char *p = stow_knob_parameter(&s, of[i].value, buf, sizeof(buf));

		assert_int_equal(!p, !of[i].parameter);
		if (p)
			assert_string_equal(p, of[i].parameter);
	}
}

TEST(a_parameter_is_one_word)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_knob_setting s = get(tree, "isolcpus=");
	char value[STOW_KNOB_TEXT];
	struct stow_err err = { 0 };

	assert_int_equal(stow_knob_check(tree->root, &s, "2-3", value, NULL), 0);
	assert_int_equal(stow_knob_check(tree->root, &s, "2 init=/bin/sh", value, NULL), -EINVAL);
	assert_int_equal(stow_knob_check(tree->root, &s, "", value, NULL), -EINVAL);
	assert_int_equal(set(tree, "isolcpus=", "2-3", &err), -EROFS);
	assert_int_equal(stow_knob_persist(tree->root, &s, "2-3", NULL), -EOPNOTSUPP);
}
