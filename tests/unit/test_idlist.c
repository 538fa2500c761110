// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cleanup.h"
#include "base/idlist.h"

static void assert_list(const char *in, const char *out, size_t count)
{
	_cleanup_free_ uint64_t *ids = NULL;
	_cleanup_free_ char *text = NULL;
	size_t n;

	assert_int_equal(stow_idlist_parse(in, &ids, &n, NULL), 0);
	assert_non_null(ids);
	assert_int_equal(n, count);
	text = stow_idlist_format(ids, n);
	assert_string_equal(text, out);
}

TEST(reads_and_writes_lists)
{
	assert_list("", "", 0);
	assert_list(" \n", "", 0);
	assert_list("0\n", "0", 1);
	assert_list("48-55,60", "48-55,60", 9);
	assert_list("3,2,1", "1-3", 3);
	assert_list("5,1-3,2-6,5", "1-6", 6);
	assert_list("7-7", "7", 1);
	assert_list("1,3,5", "1,3,5", 3);
	assert_list("8191-8193,4294967296", "8191-8193,4294967296", 4);
	assert_list("18446744073709551614-18446744073709551615",
		    "18446744073709551614-18446744073709551615", 2);
}

TEST(reads_ranges_with_a_step)
{
	assert_list("0-6:2", "0,2,4,6", 4);
	assert_list("0-7:2", "0,2,4,6", 4);
	assert_list("1-9:3,2", "1-2,4,7", 4);
	assert_list("5-5:2", "5", 1);
	assert_list("0-3:1", "0-3", 4);
	assert_list("0-3:99", "0", 1);
	assert_list("18446744073709551610-18446744073709551615:4",
		    "18446744073709551610,18446744073709551614", 2);
}

TEST(refuses_what_is_no_list)
{
	static const char *const bad[] = {
		"a",	 "-1",	"3-1",	 "1,,2", "1,",	  ",1",	     "0x3",	"1 2",	  "1-",
		"1-2-3", "1:2", "0-6:0", "0-6:", "6-0:2", "0-6:2:2", "0-6:2/4", "0-6:-1",
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct stow_err err = { 0 };
		uint64_t *ids = NULL;
		size_t n = 42;

		assert_int_equal(stow_idlist_parse(bad[i], &ids, &n, &err), -EINVAL);
		assert_int_equal(err.code, EINVAL);
		assert_non_null(strstr(err.msg, bad[i]));
		assert_null(ids); /* untouched on failure */
		assert_int_equal(n, 42);
	}
}

TEST(refuses_more_than_it_holds)
{
	static const char *const bad[] = {
		"18446744073709551616",
		"0-18446744073709551615",
		"0-1048576",
		"0-1048574,1,2",
		"18446744073709551615,0-18446744073709551614",
		"0-18446744073709551615:2",
	};
	struct stow_err err = { 0 };
	uint64_t *ids = NULL;
	size_t n;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		assert_int_equal(stow_idlist_parse(bad[i], &ids, &n, &err), -ERANGE);
		assert_int_equal(err.code, ERANGE);
		assert_null(ids);
	}
	assert_list("0-1048575", "0-1048575", STOW_IDLIST_MAX);
}

TEST(longest_numbers_fit)
{
	uint64_t ids[8];
	_cleanup_free_ char *text = NULL;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(ids); i++)
		ids[i] = UINT64_MAX - 2 * (STOW_ARRAY_SIZE(ids) - 1 - i);
	text = stow_idlist_format(ids, STOW_ARRAY_SIZE(ids));
	assert_int_equal(strlen(text), STOW_ARRAY_SIZE(ids) * 21 - 1);
	assert_string_equal(text + strlen(text) - 21, ",18446744073709551615");
}

TEST(sorts_and_finds)
{
	uint64_t ids[] = { 7, UINT64_MAX, 0, 7, UINT64_C(1) << 63, 1 };

	stow_idlist_sort(NULL, 0);
	stow_idlist_sort(ids, 6);
	assert_int_equal(ids[0], 0);
	assert_int_equal(ids[1], 1);
	assert_int_equal(ids[3], 7);
	assert_true(ids[4] == UINT64_C(1) << 63);
	assert_true(ids[5] == UINT64_MAX);
	assert_true(stow_idlist_has(ids, 6, UINT64_MAX));
	assert_true(stow_idlist_has(ids, 6, 0));
	assert_false(stow_idlist_has(ids, 6, 8));
	assert_false(stow_idlist_has(NULL, 0, 0));
}
