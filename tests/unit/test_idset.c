// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cleanup.h"
#include "base/idset.h"

static void assert_list(const char *in, const char *out)
{
	struct stow_idset set;
	char buf[256];

	assert_int_equal(stow_idset_parse(in, &set, NULL), 0);
	assert_string_equal(stow_idset_format(&set, buf, sizeof(buf)), out);
}

TEST(reads_what_the_kernel_writes)
{
	assert_list("", "");
	assert_list("\n", "");
	assert_list("0\n", "0");
	assert_list("0-3,8,10-11", "0-3,8,10-11");
	assert_list("3,2,1", "1-3");
	assert_list("63-64", "63-64");
	assert_list("8191", "8191");
}

TEST(refuses_what_is_no_list)
{
	static const char *const bad[] = { "a",
					   "-1",
					   "3-1",
					   "1,,2",
					   "1,",
					   ",1",
					   "0x3",
					   "1 2",
					   "1-",
					   "8192",
					   "99999999999999999999" };
	struct stow_idset set = { .bits = { 42 } };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct stow_err err = { 0 };
		int r = stow_idset_parse(bad[i], &set, &err);

		assert_true(r == -EINVAL || r == -ERANGE);
		assert_int_equal(err.code, -r);
		assert_non_null(strstr(err.msg, bad[i]));
		assert_int_equal(set.bits[0], 42); /* untouched on failure */
	}
}

TEST(as_bytes_and_back)
{
	static const uint8_t more[STOW_IDSET_MAX / 8 + 1] = { 0x81, [STOW_IDSET_MAX / 8] = 0xff };
	uint8_t bytes[STOW_IDSET_MAX / 8];
	struct stow_idset set, back;

	assert_int_equal(stow_idset_parse("0,9,8191", &set, NULL), 0);
	assert_int_equal(stow_idset_to_bytes(&set, bytes), sizeof(bytes));
	assert_int_equal(bytes[0], 1);
	assert_int_equal(bytes[1], 2);
	stow_idset_from_bytes(bytes, sizeof(bytes), &back);
	assert_true(stow_idset_equal(&back, &set));
	stow_idset_from_bytes(bytes, 2, &back);
	assert_int_equal(stow_idset_to_bytes(&back, bytes), 2);
	assert_int_equal(stow_idset_count(&back), 2);
	stow_idset_from_bytes(more, sizeof(more), &back);
	assert_int_equal(stow_idset_count(&back), 2);
	stow_idset_from_bytes(NULL, 0, &back);
	assert_int_equal(stow_idset_to_bytes(&back, bytes), 0);
}

TEST(cuts_a_long_list_behind_a_whole_range)
{
	struct stow_idset set;
	char buf[12];

	assert_int_equal(stow_idset_parse("100,102,104,106", &set, NULL), 0);
	assert_string_equal(stow_idset_format(&set, buf, sizeof(buf)), "100,102...");
}

TEST(whole_list_survives_a_round_trip)
{
	struct stow_idset set = { 0 }, back;
	char *text;

	for (int i = 0; i < STOW_IDSET_MAX; i += 2)
		stow_idset_add(&set, i);
	text = stow_idset_to_list(&set);
	assert_non_null(text);
	assert_int_equal(stow_idset_parse(text, &back, NULL), 0);
	assert_true(stow_idset_equal(&set, &back));
	assert_int_equal(stow_idset_count(&back), STOW_IDSET_MAX / 2);
	free(text);
}

TEST(set_algebra)
{
	struct stow_idset a, b, c;
	char buf[64];

	stow_idset_parse("0-7,64", &a, NULL);
	stow_idset_parse("4-9", &b, NULL);
	assert_true(stow_idset_intersects(&a, &b));
	assert_false(stow_idset_subset(&b, &a));
	c = a;
	stow_idset_minus(&c, &b);
	assert_string_equal(stow_idset_format(&c, buf, sizeof(buf)), "0-3,64");
	c = a;
	stow_idset_and(&c, &b);
	assert_string_equal(stow_idset_format(&c, buf, sizeof(buf)), "4-7");
	assert_true(stow_idset_subset(&c, &a));
	c = a;
	stow_idset_or(&c, &b);
	assert_string_equal(stow_idset_format(&c, buf, sizeof(buf)), "0-9,64");
	assert_int_equal(stow_idset_next(&c, 10), 64);
	assert_int_equal(stow_idset_next(&c, 65), -1);
}
