// SPDX-License-Identifier: Apache-2.0
/* Zones as the kernel shows them, and how it computes their watermarks. */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "node/watermarks.h"
#include "node/zones.h"
#include "tree.h"

static int parse(const char *text, struct stow_zones *zones, struct stow_err *err)
{
	size_t len = strlen(text);
	_cleanup_free_ char *copy = malloc(len ? len : 1);

	memcpy(copy, text, len);
	return stow_zones_parse(copy, len, true, zones, err);
}

static int parse_blocks(const char *text, struct stow_zones *zones, struct stow_err *err)
{
	size_t len = strlen(text);
	_cleanup_free_ char *copy = malloc(len ? len : 1);

	memcpy(copy, text, len);
	return stow_zones_parse_blocks(copy, len, zones, err);
}

/* As Linux 6.18 writes it, shortened. */
static const char normal[] = "Node 0, zone      DMA\n"
			     "  per-node stats\n"
			     "      nr_inactive_anon 22066\n"
			     "      pgpromote_success 7\n"
			     "  pages free     3840\n"
			     "        boost    0\n"
			     "        min      11\n"
			     "        low      14\n"
			     "        high     17\n"
			     "        promo    20\n"
			     "        spanned  4095\n"
			     "        present  3998\n"
			     "        managed  3840\n"
			     "        cma      0\n"
			     "        protection: (0, 3019, 21323)\n"
			     "      nr_free_pages 3840\n"
			     "  pagesets\n"
			     "    cpu: 0\n"
			     "              count:    5\n"
			     "              high:     9\n"
			     "              batch:    1\n"
			     "              high_min: 7\n"
			     "              high_max: 240\n"
			     "  vm stats threshold: 4\n"
			     "    cpu: 3\n"
			     "              count:    8\n"
			     "              high:     9\n"
			     "              batch:    1\n"
			     "              high_min: 7\n"
			     "              high_max: 240\n"
			     "  vm stats threshold: 4\n"
			     "  node_unreclaimable:  1\n"
			     "  start_pfn:           1\n"
			     "Node 0, zone  Movable\n"
			     "  pages free     0\n"
			     "        min      0\n"
			     "        managed  0\n"
			     "        protection: (0, 0, 0)\n"
			     "Node 12, zone   Normal\n"
			     "  pages free     100\n"
			     "        min      10\n"
			     "        low      20\n"
			     "        high     30\n"
			     "        managed  5000\n"
			     "        protection: (0)\n";

TEST(zones_are_as_shown)
{
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };
	const struct stow_zone *zone;

	assert_int_equal(parse(normal, &zones, NULL), 0);
	assert_int_equal(zones.n, 3);
	zone = &zones.list[0];
	assert_int_equal(zone->node, 0);
	assert_string_equal(zone->name, "DMA");
	assert_int_equal(stow_zone_get(zone, STOW_ZONE_FREE), 3840);
	assert_int_equal(stow_zone_get(zone, STOW_ZONE_BOOST), 0);
	assert_int_equal(stow_zone_get(zone, STOW_ZONE_MIN), 11);
	assert_int_equal(stow_zone_get(zone, STOW_ZONE_LOW), 14);
	assert_int_equal(stow_zone_get(zone, STOW_ZONE_HIGH), 17); /* not a list's "high:" */
	assert_int_equal(stow_zone_get(zone, STOW_ZONE_PROMO), 20);
	assert_int_equal(stow_zone_get(zone, STOW_ZONE_SPANNED), 4095);
	assert_int_equal(stow_zone_get(zone, STOW_ZONE_PRESENT), 3998);
	assert_int_equal(stow_zone_get(zone, STOW_ZONE_MANAGED), 3840);
	assert_int_equal(stow_zone_get(zone, STOW_ZONE_CMA), 0);
	assert_int_equal(zone->n_protection, 3);
	assert_int_equal(zone->protection[2], 21323);
	assert_int_equal(zone->start_pfn, 1);
	assert_int_equal(zone->unreclaimable, 1);
	assert_int_equal(zone->n_cpus, 2);
	assert_int_equal(zone->lists[STOW_LIST_COUNT], 13);
	assert_int_equal(zone->lists[STOW_LIST_HIGH], 18);
	assert_int_equal(zone->cpus[1].cpu, 3);
	assert_int_equal(zone->cpus[1].amounts[STOW_LIST_COUNT], 8);
	assert_int_equal(zone->cpus[1].amounts[STOW_LIST_HIGH_MAX], 240);
	assert_int_equal(zones.list[1].index, 1);
	assert_false(stow_zone_has_pages(&zones.list[1]));
	assert_int_equal(zones.list[2].node, 12);
	assert_int_equal(zones.list[2].index, 0);
	/* What is not shown is unknown, not 0. */
	assert_true(stow_zone_get(&zones.list[2], STOW_ZONE_PROMO) == STOW_UNKNOWN);
	assert_true(stow_zone_get(&zones.list[2], STOW_ZONE_BOOST) == STOW_UNKNOWN);
	assert_true(zones.list[2].start_pfn == STOW_UNKNOWN);
	assert_true(zones.list[2].lists[STOW_LIST_COUNT] == STOW_UNKNOWN);
}

TEST(garbage_is_refused_in_one_line)
{
	static const struct {
		const char *text;
		int error;
	} bad[] = {
		{ "", -EINVAL },
		{ "\n\n", -EINVAL },
		{ "\x7f"
		  "ELF\x01\x02",
		  -EINVAL },
		{ "Node 0, zone\n", -EINVAL },
		{ "Node x, zone DMA\n", -EINVAL },
		{ "Node 0 zone DMA\n", -EINVAL },
		{ "Node 0, zone abcdefghijklmnop\n", -EINVAL },
		{ "Node 8192, zone DMA\n", -ERANGE },
		{ "Node 99999999999999999999, zone DMA\n", -ERANGE },
		{ "Node 0, zone DMA\n min\n", -EINVAL },
		{ "Node 0, zone DMA\n min -5\n", -EINVAL },
		{ "Node 0, zone DMA\n min 18446744073709551615\n", -ERANGE },
		{ "Node 0, zone DMA\n min 18446744073709551616\n", -ERANGE },
		{ "Node 0, zone DMA\n protection: 5\n", -EINVAL },
		{ "Node 0, zone DMA\n protection: (5\n", -EINVAL },
		{ "Node 0, zone DMA\n protection: ()\n", -EINVAL },
		{ "Node 0, zone DMA\n protection: (1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8)\n", -ERANGE },
		{ "Node 0, zone DMA\n cpu: 8192\n", -ERANGE },
		{ "Node 0, zone DMA\n cpu: \n", -EINVAL },
		{ "Node 0, zone DMA\n cpu: 1\n count: x\n", -EINVAL },
		{ "Node 0, zone DMA\n cpu: 1\n count: 18446744073709551614\n cpu: 2\n count: 9\n",
		  -ERANGE },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct stow_zones zones = { 0 };
		struct stow_err err = { 0 };

		assert_int_equal(parse(bad[i].text, &zones, &err), bad[i].error);
		assert_int_equal(err.code, -bad[i].error);
		assert_null(strchr(err.msg, '\n'));
		assert_null(zones.list);
	}
}

TEST(blocks_come_from_buddyinfo)
{
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };

	assert_int_equal(parse(normal, &zones, NULL), 0);
	assert_int_equal(parse_blocks("Node 0, zone      DMA      4      2      0      1 \n"
				      "Node 12, zone   Normal      0      0      0      7 \n"
				      "Node 13, zone   Normal      0      0      0      0 \n",
				      &zones, NULL),
			 0);
	assert_int_equal(zones.list[0].n_orders, 4);
	assert_int_equal(zones.list[0].blocks[1], 2);
	/* 16 pages are free: 4 single ones, 2 blocks of 2, 1 of 8. */
	assert_int_equal(stow_zone_unusable(&zones.list[0], 0), 0);
	assert_int_equal(stow_zone_unusable(&zones.list[0], 1), 250);
	assert_int_equal(stow_zone_unusable(&zones.list[0], 2), 500);
	assert_int_equal(stow_zone_unusable(&zones.list[0], 3), 500);
	assert_int_equal(stow_zone_unusable(&zones.list[0], 4), -1);
	assert_int_equal(stow_zone_unusable(&zones.list[1], 0), -1); /* not in buddyinfo */
	assert_int_equal(zones.list[2].blocks[3], 7);
	/* A zone that only buddyinfo has; without free memory all of it is unusable. */
	assert_int_equal(zones.n, 4);
	assert_int_equal(zones.list[3].node, 13);
	assert_true(stow_zone_get(&zones.list[3], STOW_ZONE_FREE) == STOW_UNKNOWN);
	assert_int_equal(stow_zone_unusable(&zones.list[3], 2), 1000);
}

/* More orders than there can be. */
static const char many_orders[] =
	"Node 0, zone DMA 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n";

TEST(blocks_that_are_garbage_change_nothing)
{
	static const char *const bad[] = {
		"",
		"Node 0, zone DMA\n",
		"Node 0, zone DMA 1 2 x\n",
		"zone DMA 1 2\n",
		"Node 0, zone DMA 1 2 3\nNode 0, zone\n",
		"Node 0, zone DMA 99999999999999999999999\n",
		many_orders,
	};
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };

	assert_int_equal(parse(normal, &zones, NULL), 0);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct stow_err err = { 0 };

		assert_true(parse_blocks(bad[i], &zones, &err) < 0);
		assert_int_not_equal(err.code, 0);
		assert_int_equal(zones.n, 3);
		assert_int_equal(zones.list[0].n_orders, 0);
	}
}

TEST(unusable_free_space_of_any_size)
{
	struct stow_zone zone = { .n_orders = STOW_ORDERS_MAX };

	for (int i = 0; i < STOW_ORDERS_MAX; i++)
		zone.blocks[i] = UINT64_MAX;
	assert_int_equal(stow_zone_unusable(&zone, 0), 0);
	assert_int_equal(stow_zone_unusable(&zone, 31), 499);
}

/* 1,024 nodes, and a zone with 4,096 CPUs. */
TEST(large_machines_are_read)
{
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };
	_cleanup_free_ char *text = NULL, *blocks = NULL;
	size_t size = 0, blocks_size = 0;
	FILE *out = open_memstream(&text, &size), *buddy = open_memstream(&blocks, &blocks_size);

	for (int node = 0; node < 1024; node++) {
		fprintf(out,
			"Node %d, zone   Normal\n  pages free     %d\n        min      1\n"
			"        low      2\n        high     3\n        managed  1000\n"
			"        protection: (0, 0)\n  pagesets\n",
			node, node + 100);
		for (int cpu = 0; cpu < (node == 7 ? 4096 : 2); cpu++)
			fprintf(out, "    cpu: %d\n              count: 1\n", cpu);
		fprintf(out, "Node %d, zone  Movable\n  pages free     0\n        managed  0\n",
			node);
		fprintf(buddy, "Node %d, zone   Normal %d 0 0\n", node, node);
	}
	fclose(out);
	fclose(buddy);
	assert_int_equal(stow_zones_parse(text, size, true, &zones, NULL), 0);
	assert_int_equal(stow_zones_parse_blocks(blocks, blocks_size, &zones, NULL), 0);
	assert_int_equal(zones.n, 2048);
	for (size_t i = 0; i < zones.n; i++) {
		assert_int_equal(zones.list[i].node, i / 2);
		assert_int_equal(zones.list[i].index, i % 2);
		assert_int_equal(stow_zone_get(&zones.list[i], STOW_ZONE_FREE),
				 i % 2 ? 0 : i / 2 + 100);
		if (i % 2 == 0)
			assert_int_equal(zones.list[i].blocks[0], i / 2);
	}
	assert_int_equal(zones.list[14].n_cpus, 4096);
	assert_int_equal(zones.list[14].lists[STOW_LIST_COUNT], 4096);
	assert_int_equal(zones.list[14].cpus[4095].cpu, 4095);
	assert_int_equal(stow_zones_pressure(&zones, 1023, false), STOW_PRESSURE_NONE);
}

/* --- pressure ------------------------------------------------------------- */

static enum stow_pressure pressure(uint64_t free, uint64_t movable_free, bool kernel)
{
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };
	char text[1024];

	snprintf(text, sizeof(text),
		 "Node 0, zone Normal\n pages free %" PRIu64 "\n min 100\n low 200\n high 300\n"
		 " managed 9000\n protection: (0, 50)\n"
		 "Node 0, zone Movable\n pages free %" PRIu64 "\n min 10\n low 20\n high 30\n"
		 " managed 900\n protection: (0, 0)\n"
		 "Node 1, zone Normal\n pages free 0\n min 0\n low 0\n high 0\n managed 0\n"
		 " protection: (0, 0)\n",
		 free, movable_free);
	assert_int_equal(parse(text, &zones, NULL), 0);
	assert_int_equal(stow_zones_pressure(&zones, 1, kernel), STOW_PRESSURE_NO_MEMORY);
	assert_int_equal(stow_zones_pressure(&zones, 2, kernel), STOW_PRESSURE_NO_MEMORY);
	return stow_zones_pressure(&zones, 0, kernel);
}

TEST(pressure_is_that_of_the_best_zone)
{
	/* With protection (50): 351 are 301 for user memory. */
	assert_int_equal(pressure(351, 0, false), STOW_PRESSURE_NONE);
	assert_int_equal(pressure(350, 0, false), STOW_PRESSURE_BELOW_HIGH);
	assert_int_equal(pressure(251, 0, false), STOW_PRESSURE_BELOW_HIGH);
	assert_int_equal(pressure(250, 0, false), STOW_PRESSURE_BELOW_LOW);
	assert_int_equal(pressure(150, 0, false), STOW_PRESSURE_BELOW_MIN);
	assert_int_equal(pressure(10, 0, false), STOW_PRESSURE_BELOW_MIN);
	assert_int_equal(pressure(150, 31, false), STOW_PRESSURE_NONE);
	assert_int_equal(pressure(150, 21, false), STOW_PRESSURE_BELOW_HIGH);
	/* The kernel's own allocations have neither zone Movable nor that protection. */
	assert_int_equal(pressure(301, 0, true), STOW_PRESSURE_NONE);
	assert_int_equal(pressure(150, 31, true), STOW_PRESSURE_BELOW_LOW);
}

TEST(pressure_that_is_not_known)
{
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };

	assert_int_equal(parse("Node 0, zone Normal\n pages free 5\n managed 9\n", &zones, NULL),
			 0);
	assert_int_equal(stow_zones_pressure(&zones, 0, false), STOW_PRESSURE_UNKNOWN);
	for (int i = STOW_PRESSURE_UNKNOWN; i <= STOW_PRESSURE_BELOW_MIN; i++) {
		assert_true(*stow_pressure_word(i));
		assert_true(*stow_pressure_sentence(i));
	}
}

/* --- watermarks ----------------------------------------------------------- */

/* What a guest with Linux 6.1, 4 GiB and 512 MiB of Movable showed, after its knobs were written:
 * Movable has a share there. */
static const char guest[] =
	"Node 0, zone DMA\n pages free 3712\n boost 0\n min 64\n low 102\n high 140\n present "
	"3998\n"
	" managed 3840\n protection: (0, 1890, 1890, 1890, 1890)\n"
	"Node 0, zone DMA32\n pages free 1\n boost 0\n min 8186\n low 13025\n high 17864\n"
	" present 520000\n managed 483971\n protection: (0, 0, 0, 0, 0)\n"
	"Node 1, zone DMA\n pages free 0\n min 0\n low 0\n high 0\n present 0\n managed 0\n"
	" protection: (0, 0, 1536, 1996, 1996)\n"
	"Node 1, zone DMA32\n pages free 0\n min 0\n low 0\n high 0\n present 0\n managed 0\n"
	" protection: (0, 0, 0, 0, 0)\n"
	"Node 1, zone Normal\n pages free 1\n boost 0\n min 6651\n low 10583\n high 14515\n"
	" present 393216\n managed 393216\n protection: (0, 0, 0, 3680, 3680)\n"
	"Node 1, zone Movable\n pages free 1\n boost 0\n min 1992\n low 3169\n high 4346\n"
	" present 131072\n managed 117773\n protection: (0, 0, 0, 0, 0)\n";

static struct stow_zone_knobs knobs(void)
{
	return (struct stow_zone_knobs){
		.min_free_kbytes = 67584,
		.scale_factor = 100,
		.boost_factor = 15000,
		.ratio = { 256, 256, 32, 0, 0 },
		.n_ratio = 5,
		.page_size = 4096,
		.pmd_size = 2 << 20,
		.thp = 1,
	};
}

static void account(const char *text, const struct stow_zone_knobs *with, struct stow_zones *zones,
		    struct stow_zones_account *ret)
{
	assert_int_equal(parse(text, zones, NULL), 0);
	assert_int_equal(stow_zones_account(zones, with, ret, NULL), 0);
}

static char *replaced(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	char *result;

	assert_non_null(at);
	assert_true(asprintf(&result, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) >
		    0);
	return result;
}

TEST(watermarks_are_computed_as_the_kernel_does)
{
	_cleanup_(stow_zones_account_done) struct stow_zones_account a = { 0 };
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };
	struct stow_zone_knobs with = knobs();

	account(guest, &with, &zones, &a);
	assert_true(a.computed);
	assert_false(a.movable_capped);
	assert_true(a.movable_decides);
	assert_int_equal(a.why, STOW_WMARK_EQUAL);
	assert_int_equal(a.n_different, 0);
	assert_int_equal(a.zones[1].min, 8186);
	assert_int_equal(a.zones[1].low, 13025);
	assert_int_equal(a.zones[1].high, 17864);
	assert_int_equal(a.zones[1].promo, 17864 + 4839);
	assert_int_equal(a.zones[5].high, 4346);
	/* The protection of an empty zone is 0 for this kernel; the shown one was changed above. */
	assert_int_equal(a.zones[0].protection[1], 483971 / 256);
	assert_int_equal(a.zones[4].protection[3], 117773 / 32);
	assert_int_equal(a.zones[2].protection[3], 0);
	assert_int_equal(a.n_protection_different, 1);
	assert_int_equal(a.source, STOW_MIN_FREE_KHUGEPAGED);
	assert_int_equal(a.khugepaged, 512 * 11 * 3 * 4);
	assert_int_equal(a.square_root, 7509); /* of 3,524,108 KiB, times 4 */
}

TEST(movable_is_capped_on_newer_kernels)
{
	/* 16896 pages, divided by 881027: 73, 9281, 7540; Movable's share, 2258, is in its gap. */
	static const char text[] =
		"Node 0, zone DMA\n boost 0\n min 73\n low 111\n high 149\n promo 187\n"
		" present 3998\n managed 3840\n"
		"Node 0, zone DMA32\n boost 0\n min 9281\n low 14120\n high 18959\n promo 23798\n"
		" present 520000\n managed 483971\n"
		"Node 1, zone Normal\n boost 0\n min 7540\n low 11472\n high 15404\n promo 19336\n"
		" present 393216\n managed 393216\n"
		"Node 1, zone Movable\n boost 0\n min 115\n low 1292\n high 2469\n promo 3646\n"
		" present 131072\n managed 117773\n";
	_cleanup_(stow_zones_account_done) struct stow_zones_account a = { 0 };
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };
	struct stow_zone_knobs with = knobs();

	account(text, &with, &zones, &a);
	assert_true(a.movable_capped);
	assert_true(a.movable_decides);
	assert_int_equal(a.why, STOW_WMARK_EQUAL);
	assert_int_equal(a.zones[3].min, 115);
	assert_int_equal(a.zones[3].low, 1292);
}

TEST(a_boost_is_in_what_is_shown)
{
	_cleanup_free_ char *text = replaced(guest, "boost 0\n min 8186\n low 13025\n high 17864",
					     "boost 512\n min 8698\n low 13537\n high 18376");
	_cleanup_(stow_zones_account_done) struct stow_zones_account a = { 0 };
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };
	struct stow_zone_knobs with = knobs();

	account(text, &with, &zones, &a);
	assert_int_equal(a.why, STOW_WMARK_EQUAL);
	assert_int_equal(a.zones[1].min, 8186);
}

TEST(differences_are_explained)
{
	_cleanup_free_ char *grown = replaced(guest, "managed 393216", "managed 400000");
	struct stow_zone_knobs with = knobs(), other_min = knobs(), other_scale = knobs();
	struct stow_zones_account a = { 0 };
	struct stow_zones zones = { 0 };

	/* Memory came since: the sum of all min is the old one, and each is a bit off. */
	account(grown, &with, &zones, &a);
	assert_int_equal(a.why, STOW_WMARK_MEMORY);
	assert_false(a.movable_capped);
	assert_true(a.n_different > 0);
	stow_zones_account_done(&a);
	stow_zones_done(&zones);

	other_min.min_free_kbytes = 20000;
	account(guest, &other_min, &zones, &a);
	assert_int_equal(a.why, STOW_WMARK_OTHER_MIN);
	assert_in_range(a.implied, 67500, 67584);
	stow_zones_account_done(&a);
	stow_zones_done(&zones);

	other_scale.scale_factor = 300;
	account(guest, &other_scale, &zones, &a);
	assert_int_equal(a.why, STOW_WMARK_OTHER_SCALE);
	assert_in_range(a.implied, 99, 100);
	stow_zones_account_done(&a);
	stow_zones_done(&zones);
}

static enum stow_min_free source_of(const char *text, uint64_t kib, uint64_t pmd_size)
{
	_cleanup_(stow_zones_account_done) struct stow_zones_account a = { 0 };
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };
	struct stow_zone_knobs with = knobs();

	with.min_free_kbytes = kib;
	with.pmd_size = pmd_size;
	account(text, &with, &zones, &a);
	return a.source;
}

TEST(min_free_has_a_source)
{
	static const char small[] = "Node 0, zone DMA\n present 3998\n managed 3840\n"
				    "Node 0, zone DMA32\n present 120000\n managed 110000\n";
	uint64_t huge = 2 << 20;

	assert_int_equal(source_of(guest, 67584, huge), STOW_MIN_FREE_KHUGEPAGED);
	assert_int_equal(source_of(guest, 7509, huge), STOW_MIN_FREE_SQUARE_ROOT);
	assert_int_equal(source_of(guest, 7400, huge), STOW_MIN_FREE_SQUARE_ROOT_EARLIER);
	assert_int_equal(source_of(guest, 20001, huge), STOW_MIN_FREE_ADMINISTRATOR);
	assert_int_equal(source_of(guest, 7510, huge), STOW_MIN_FREE_ADMINISTRATOR);
	assert_int_equal(source_of(guest, 67584, STOW_UNKNOWN), STOW_MIN_FREE_ADMINISTRATOR);
	/* Two zones want 45056 KiB, more than 5 % of 444 MiB. */
	assert_int_equal(source_of(small, 22000, huge), STOW_MIN_FREE_KHUGEPAGED_LIMITED);
	assert_int_equal(source_of(small, 45056, huge), STOW_MIN_FREE_ADMINISTRATOR);
}

TEST(what_is_unknown_is_not_computed)
{
	struct stow_zone_knobs no_min = knobs(), no_page = knobs(), no_ratio = knobs();
	struct stow_zones_account a = { 0 };
	struct stow_zones zones = { 0 };

	no_min.min_free_kbytes = STOW_UNKNOWN;
	no_page.page_size = STOW_UNKNOWN;
	no_ratio.n_ratio = 0;
	account(guest, &no_min, &zones, &a);
	assert_false(a.computed);
	assert_int_equal(a.why, STOW_WMARK_UNKNOWN);
	assert_int_equal(a.source, STOW_MIN_FREE_UNKNOWN);
	assert_true(a.zones[1].min == STOW_UNKNOWN);
	stow_zones_account_done(&a);
	stow_zones_done(&zones);
	account(guest, &no_page, &zones, &a);
	assert_false(a.computed);
	stow_zones_account_done(&a);
	stow_zones_done(&zones);
	account(guest, &no_ratio, &zones, &a);
	assert_int_equal(a.zones[0].n_protection, 0);
	assert_int_equal(a.n_protection_different, 0);
	stow_zones_account_done(&a);
	stow_zones_done(&zones);
}

TEST(settings_of_any_kind)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_zone_knobs with;
	struct stow_err err = { 0 };

	assert_int_equal(stow_zone_knobs_read(tree->root, &with, &err), 0);
	assert_true(with.min_free_kbytes == STOW_UNKNOWN);
	assert_int_equal(with.n_ratio, 0);
	assert_int_equal(with.thp, -1);

	tree_write(tree, "/proc/sys/vm/min_free_kbytes", "67584\n");
	tree_write(tree, "/proc/sys/vm/watermark_scale_factor", "ten\n");
	tree_write(tree, "/proc/sys/vm/lowmem_reserve_ratio", "256\t256\t32\t0\t0\n");
	tree_write(tree, "/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
	tree_write(tree, "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152\n");
	assert_int_equal(stow_zone_knobs_read(tree->root, &with, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "watermark_scale_factor"));
	assert_int_equal(with.min_free_kbytes, 67584);
	assert_true(with.scale_factor == STOW_UNKNOWN);
	assert_int_equal(with.n_ratio, 5);
	assert_int_equal(with.ratio[2], 32);
	assert_int_equal(with.thp, 0);
	assert_int_equal(with.pmd_size, 2 << 20);

	tree_write(tree, "/proc/sys/vm/watermark_scale_factor", "10\n");
	tree_write(tree, "/proc/sys/vm/lowmem_reserve_ratio", "%s", "");
	tree_write(tree, "/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
	assert_int_equal(stow_zone_knobs_read(tree->root, &with, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "lowmem_reserve_ratio"));
	assert_int_equal(with.thp, 1);
	assert_int_equal(with.scale_factor, 10);
}

TEST(the_size_of_a_page_follows_from_the_memory)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };

	assert_int_equal(parse(guest, &zones, NULL), 0);
	assert_int_equal(stow_zones_page_size(tree->root, &zones, UINT64_C(998800) * 4096), 4096);
	assert_int_equal(stow_zones_page_size(tree->root, &zones, UINT64_C(990000) * 65536), 65536);
	assert_true(stow_zones_page_size(tree->root, &zones, 0) == STOW_UNKNOWN);
	assert_true(stow_zones_page_size(tree->root, &zones, UINT64_MAX) == STOW_UNKNOWN);
}
