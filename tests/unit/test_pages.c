// SPDX-License-Identifier: Apache-2.0
/* Where pages are, as /proc/PID/numa_maps says it. Moving them is for the virtual machines. */
#include "unit.h"

#include "base/cleanup.h"
#include "node/pages.h"
#include "tree.h"

static struct stow_idset set_of(const char *list)
{
	struct stow_idset set;

	assert_int_equal(stow_idset_parse(list, &set, NULL), 0);
	return set;
}

static struct stow_numa_map line(const char *text, const char *nodes)
{
	struct stow_idset set = set_of(nodes);
	struct stow_numa_map map;

	assert_int_equal(stow_numa_maps_line(text, &set, &map), 0);
	return map;
}

static void pages_of_the_asked_nodes_count(void **state)
{
	static const char text[] = "55d0c2b7d000 default heap anon=10 dirty=10 active=0 N0=3 N1=2 "
				   "N10=5 kernelpagesize_kB=4\n";

	assert_int_equal(line(text, "0").pages, 3);
	assert_int_equal(line(text, "1").pages, 2);
	assert_int_equal(line(text, "0-1").pages, 5);
	assert_int_equal(line(text, "10").pages, 5);
	assert_int_equal(line(text, "0-15").pages, 10);
	assert_int_equal(line(text, "2-9").pages, 0);
	assert_int_equal(line(text, "").pages, 0);
	assert_true(line(text, "0").start == UINT64_C(0x55d0c2b7d000));
	assert_int_equal(line(text, "0").page_size, 4096);
}

static void huge_pages_have_their_size(void **state)
{
	static const char text[] = "7f2a00000000 bind:0,3 file=/anon_hugepage\\040(deleted) huge "
				   "anon=4 dirty=4 N3=4 kernelpagesize_kB=2048";

	assert_int_equal(line(text, "3").page_size, 2 << 20);
	assert_int_equal(line(text, "3").pages, 4);
	/* A mapping without pages does not say. */
	assert_int_equal(line("7ffd5b200000 default", "0").page_size, 4096);
	assert_int_equal(line("7ffd5b200000 default N0=1 kernelpagesize_kB=0", "0").page_size,
			 4096);
}

/* The kernel escapes what would be a word of its own in a file's name. */
static void names_are_no_numbers(void **state)
{
	assert_int_equal(line("1000 default file=/tmp/N0=7 N0=1", "0").pages, 1);
	assert_int_equal(line("1000 default file=/tmp/a\\040N0\\0757 N0=1", "0").pages, 1);
	assert_int_equal(
		line("1000 default file=/N0 N=9 N0= N0=x N0=-1 Nx=1 XN0=1 n0=1", "0").pages, 0);
	assert_int_equal(line("1000 default N99999999999999999999=1 N8192=1 N0=1", "0").pages, 1);
	assert_int_equal(line("1000 default N0=18446744073709551616", "0").pages, 0);
}

static void a_long_name_hides_nothing_behind_it(void **state)
{
	char text[1024];

	for (size_t len = 250; len < 262; len++) {
		int n = snprintf(text, sizeof(text), "1000 default file=/");

		memset(text + n, 'a', len);
		snprintf(text + (size_t)n + len, 64, " N0=1 kernelpagesize_kB=4");
		assert_int_equal(line(text, "0").pages, 1);
	}
}

static void what_is_no_line_is_refused(void **state)
{
	static const char *const bad[] = {
		"", "\n", "default N0=1", "x", "1000", "1000\tdefault", "fffffffffffffffff default"
	};
	struct stow_idset nodes = set_of("0");
	struct stow_numa_map map;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		assert_int_equal(stow_numa_maps_line(bad[i], &nodes, &map), -EINVAL);
}

static void a_process_is_summed_up(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_idset nodes = set_of("1");
	struct stow_err err;
	uint64_t bytes;

	tree_write(t, "/proc/7/numa_maps",
		   "1000 default file=/bin/x mapped=2 N0=1 N1=2 kernelpagesize_kB=4\n"
		   "not a line\n"
		   "2000 default huge N1=3 kernelpagesize_kB=2048\n"
		   "3000 default\n"
		   "4000 default stack N1=1 kernelpagesize_kB=4");
	assert_int_equal(stow_pages_mapped(t->root, 7, &nodes, &bytes, &err), 0);
	assert_int_equal(bytes, 3 * 4096 + 3 * (2 << 20));
	tree_write(t, "/proc/7/numa_maps", "%s", "");
	assert_int_equal(stow_pages_mapped(t->root, 7, &nodes, &bytes, &err), 0);
	assert_int_equal(bytes, 0);
	assert_int_equal(stow_pages_mapped(t->root, 8, &nodes, &bytes, &err), -ESRCH);
	assert_non_null(strstr(err.msg, "process 8 has ended"));
}

static void another_machines_pages_stay(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_page_move move = { .from = set_of("0"), .to = set_of("1"), .batch = 4096 };
	struct stow_err err;

	tree_write(t, "/proc/7/numa_maps", "1000 default N0=1\n");
	assert_int_equal(stow_pages_move(t->root, 7, &move, &err), -ENOTSUP);
	assert_int_equal(move.moved, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_of_the_asked_nodes_count),
		cmocka_unit_test(huge_pages_have_their_size),
		cmocka_unit_test(names_are_no_numbers),
		cmocka_unit_test(a_long_name_hides_nothing_behind_it),
		cmocka_unit_test(what_is_no_line_is_refused),
		cmocka_unit_test(a_process_is_summed_up),
		cmocka_unit_test(another_machines_pages_stay),
	};

	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
