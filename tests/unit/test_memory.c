// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "node/memory.h"
#include "node/zones.h"

static int meminfo(const char *text, struct stow_meminfo *info, struct stow_err *err)
{
	/* A copy without a terminator: reading past the length is seen by the sanitizer. */
	_cleanup_free_ char *copy = malloc(strlen(text) + 1);

	memcpy(copy, text, strlen(text));
	copy[strlen(text)] = 'x';
	return stow_meminfo_parse(copy, strlen(text), info, err);
}

static int zoneinfo(const char *text, struct stow_zones *zones, struct stow_err *err)
{
	size_t len = strlen(text);
	_cleanup_free_ char *copy = malloc(len ? len : 1);

	memcpy(copy, text, len);
	return stow_zones_parse(copy, len, false, zones, err);
}

TEST(meminfo_of_machine_and_node)
{
	struct stow_meminfo info;

	assert_int_equal(meminfo("MemTotal:       16331824 kB\nMemFree:         7689128 kB\n",
				 &info, NULL),
			 0);
	assert_int_equal(info.total, UINT64_C(16331824) << 10);
	assert_int_equal(info.free, UINT64_C(7689128) << 10);
	/* as old kernels write it, with an empty line first */
	assert_int_equal(meminfo("\nNode 12 MemTotal:        2096684 kB\n"
				 "Node 12 MemFree:          935712 kB\nNode 12 MemUsed: 1 kB\n",
				 &info, NULL),
			 0);
	assert_int_equal(info.total, UINT64_C(2096684) << 10);
	assert_int_equal(info.free, UINT64_C(935712) << 10);
	assert_int_equal(meminfo("MemTotal: 5 kB\nMemFree: 3 kB", &info, NULL), 0);
	assert_int_equal(info.free, 3072);
}

TEST(meminfo_without_the_lines_is_nothing)
{
	struct stow_meminfo info = { 1, 1 };

	assert_int_equal(meminfo("", &info, NULL), 0);
	assert_int_equal(info.total, 0);
	assert_int_equal(meminfo("Cached: 5 kB\nMemTotalX: 7 kB\nMemTotal:7\n\n", &info, NULL), 0);
	assert_int_equal(info.total, 0);
	assert_int_equal(info.free, 0);
}

TEST(meminfo_refuses_nonsense)
{
	static const struct {
		const char *text;
		int error;
	} bad[] = {
		{ "MemTotal: \n", -EINVAL },
		{ "MemTotal: -5 kB\n", -EINVAL },
		{ "MemTotal:", -EINVAL },
		{ "Node MemTotal: 5 kB\n", -EINVAL },
		{ "Node 0 MemFree: kB\n", -EINVAL },
		{ "MemTotal: 18446744073709551615 kB\n", -ERANGE },
		{ "MemTotal: 99999999999999999999999 kB\n", -ERANGE },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct stow_meminfo info = { 42, 42 };
		struct stow_err err = { 0 };

		assert_int_equal(meminfo(bad[i].text, &info, &err), bad[i].error);
		assert_int_equal(err.code, -bad[i].error);
		assert_int_equal(info.total, 42);
	}
}

/* Linux 6.1: counters of a node under its first zone; the watermark "high" and the "high:" of the
 * per-CPU lists are different things. */
static const char two_nodes[] = "Node 0, zone      DMA\n"
				"  per-node stats\n"
				"      nr_inactive_anon 9999\n"
				"      nr_inactive_file 4000\n"
				"      nr_active_file 2000\n"
				"      nr_slab_reclaimable 800\n"
				"      nr_slab_unreclaimable 7777\n"
				"      nr_kernel_misc_reclaimable 200\n"
				"  pages free     3840\n"
				"        boost    0\n"
				"        min      58\n"
				"        low      100\n"
				"        high     140\n"
				"        spanned  4095\n"
				"        protection: (0, 2902, 7787)\n"
				"      nr_free_pages 3840\n"
				"      nr_zone_inactive_file 4444\n"
				"  pagesets\n"
				"    cpu: 0\n"
				"              count: 5\n"
				"              high:  5555\n"
				"              batch: 1\n"
				"  vm stats threshold: 4\n"
				"Node 0, zone   Normal\n"
				"  pages free     50000\n"
				"        min      300\n"
				"        low      400\n"
				"        high     500\n"
				"Node 0, zone  Movable\n"
				"  pages free     0\n"
				"        min      32\n"
				"        low      32\n"
				"        high     32\n"
				"Node 7, zone   Normal\n"
				"  per-node stats\n"
				"      nr_inactive_file 10\n"
				"      nr_active_file 10\n"
				"      nr_slab_reclaimable 4\n"
				"  pages free     1000\n"
				"        min      300\n"
				"        low      400\n"
				"        high     600\n";

TEST(available_memory_is_computed_as_the_kernel_does)
{
	struct stow_zones zones;
	struct stow_zone_sums sums;

	assert_int_equal(zoneinfo(two_nodes, &zones, NULL), 0);
	assert_int_equal(zones.n, 4);
	assert_true(stow_zones_sum(&zones, 0, &sums));
	assert_int_equal(sums.free, 53840);
	assert_int_equal(sums.low, 532);
	assert_int_equal(sums.high, 672);
	assert_int_equal(sums.file, 6000);
	assert_int_equal(sums.reclaimable, 1000);
	/* free - high, + file - min(half, low), + slab - min(half, low) */
	assert_int_equal(stow_zone_available(&sums), 53840 - 672 + (6000 - 532) + (1000 - 500));
	assert_true(stow_zones_sum(&zones, 7, &sums));
	assert_int_equal(stow_zone_available(&sums), 1000 - 600 + (20 - 10) + (4 - 2));
	assert_false(stow_zones_sum(&zones, 1, &sums));
	stow_zones_done(&zones);
}

TEST(lists_by_zone_add_up)
{
	/* Linux before 4.8 */
	static const char old[] = "Node 0, zone      DMA\n"
				  "  pages free     100\n        low      1\n        high     2\n"
				  "    nr_inactive_file 10\n    nr_slab_reclaimable 3\n"
				  "Node 0, zone   Normal\n"
				  "  pages free     200\n        low      1\n        high     2\n"
				  "    nr_inactive_file 30\n    nr_active_file 2\n"
				  "    nr_slab_reclaimable 5\n";
	struct stow_zone_sums sums;
	struct stow_zones zones;

	assert_int_equal(zoneinfo(old, &zones, NULL), 0);
	assert_true(stow_zones_sum(&zones, 0, &sums));
	assert_int_equal(sums.file, 42);
	assert_int_equal(sums.reclaimable, 8);
	stow_zones_done(&zones);
}

TEST(available_is_never_negative)
{
	struct stow_zone_sums empty = { .free = 10, .low = 80, .high = 100 };
	struct stow_zone_sums huge = { .free = UINT64_MAX,
				       .file = UINT64_MAX,
				       .reclaimable = UINT64_MAX };

	assert_int_equal(stow_zone_available(&empty), 0);
	empty.file = 200; /* gives 120, of which 90 go to the watermarks */
	assert_int_equal(stow_zone_available(&empty), 30);
	assert_true(stow_zone_available(&huge) == UINT64_MAX);
}

TEST(zoneinfo_refuses_nonsense)
{
	static const struct {
		const char *text;
		int error;
	} bad[] = {
		{ "", -EINVAL },
		{ "hello\n", -EINVAL },
		{ "  pages free 5\n", -EINVAL }, /* of no node */
		{ "Node zone DMA\n", -EINVAL },
		{ "Node 99999, zone DMA\n", -ERANGE },
		{ "Node 99999999999999999999, zone DMA\n", -ERANGE },
		{ "Node 0, zone DMA\n  pages free many\n", -EINVAL },
		{ "Node 0, zone DMA\n  pages free", -EINVAL },
		{ "Node 0, zone DMA\n  high 18446744073709551616\n", -ERANGE },
		{ "Node 0, zone DMA\n high 18446744073709551615\n", -ERANGE },
		{ "Node 0, zone DMA\n nr_active_file 18446744073709551615\n nr_inactive_file 1\n",
		  -ERANGE },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct stow_zones zones = { NULL, 42 };
		struct stow_err err = { 0 };

		assert_int_equal(zoneinfo(bad[i].text, &zones, &err), bad[i].error);
		assert_int_equal(err.code, -bad[i].error);
		assert_int_equal(zones.n, 42);
	}
}

TEST(many_nodes_in_any_order)
{
	_cleanup_free_ char *text = malloc(2000 * 64);
	struct stow_zone_sums sums;
	struct stow_zones zones;
	size_t len = 0;

	for (int round = 0; round < 2; round++)
		for (int n = 999; n >= 0; n--)
			len += (size_t)sprintf(text + len, "Node %d, zone X\n  pages free %d\n", n,
					       n);
	assert_int_equal(stow_zones_parse(text, len, false, &zones, NULL), 0);
	assert_int_equal(zones.n, 2000);
	for (int n = 0; n < 1000; n++) {
		assert_true(stow_zones_sum(&zones, n, &sums));
		assert_int_equal(sums.free, 2 * n);
	}
	stow_zones_done(&zones);
}

TEST(zoneinfo_longer_than_any_other_file)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	size_t size = (size_t)9 << 20;
	_cleanup_free_ char *text = malloc(size);
	struct stow_zones zones;

	memset(text, '\n', size);
	memcpy(text, two_nodes, sizeof(two_nodes) - 1);
	memcpy(text + size - 14, "Node 8, zone X", 14);
	tree_write_data(tree, "/proc/zoneinfo", text, size);
	assert_int_equal(stow_zones_read(tree->root, false, &zones, NULL), 0);
	assert_int_equal(zones.n, 5);
	stow_zones_done(&zones);
}

TEST(this_machine_reads)
{
	struct stow_zone_sums sums;
	struct stow_zones zones;
	struct stow_root *root;

	assert_int_equal(stow_root_open("/", &root, NULL), 0);
	if (stow_zones_read(root, false, &zones, NULL) == -ENOENT) {
		stow_root_free(root);
		skip();
	}
	assert_true(zones.n > 0);
	assert_true(stow_zones_sum(&zones, zones.list[0].node, &sums));
	assert_true(stow_zone_available(&sums) > 0);
	stow_zones_done(&zones);
	stow_root_free(root);
}
