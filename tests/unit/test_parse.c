// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

TEST(quantities_as_kubernetes_reads_them)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "+1", 1 },
		{ "1Ki", 1024 },
		{ "8Gi", UINT64_C(8) << 30 },
		{ "1.5Gi", UINT64_C(3) << 29 },
		{ ".5Mi", 1 << 19 },
		{ "1.", 1 },
		{ "512M", 512000000 },
		{ "1k", 1000 },
		{ "1e9", 1000000000 },
		{ "1E3", 1000 },
		{ "4096000m", 4096 }, /* what controllers write that multiply */
		{ "0m", 0 },
		{ "0.5Ki", 512 },
		{ "20e-1", 2 },
		{ "7Ei", UINT64_C(7) << 60 },
		{ "9223372036854775807", INT64_MAX },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(good); i++) {
		uint64_t bytes = 42;

		if (stow_parse_quantity(good[i].text, &bytes, NULL) != 0 || bytes != good[i].bytes)
			fail_msg("%s: %llu", good[i].text, (unsigned long long)bytes);
	}
}

TEST(what_is_no_quantity_is_refused)
{
	static const struct {
		const char *text;
		int r;
	} bad[] = {
		{ "", -EINVAL },
		{ "-1", -EINVAL },
		{ "-0", -EINVAL },
		{ "1.2.3", -EINVAL },
		{ "Gi", -EINVAL },
		{ "1 Gi", -EINVAL },
		{ "8gi", -EINVAL },
		{ "8GiB", -EINVAL },
		{ "0x10", -EINVAL },
		{ "1e", -EINVAL },
		{ "1e99", -EINVAL },
		{ "5e-1", -EINVAL }, /* fractions of a byte */
		{ "100m", -EINVAL },
		{ "1500m", -EINVAL },
		{ "1.5", -EINVAL },
		{ "0.3Ki", -EINVAL },
		{ "8Ei", -ERANGE },
		{ "1e18Ki", -EINVAL },
		{ "9223372036854775808", -ERANGE },
		{ "99999999999999999999999999999999999999999", -ERANGE },
		{ "0.0000000000000000000000000001", -ERANGE },
		{ "9999999999999999Ei", -ERANGE },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		uint64_t bytes = 42;
		struct stow_err err = { 0 };
		int r = stow_parse_quantity(bad[i].text, &bytes, &err);

		if (r != bad[i].r || bytes != 42 || err.code != -r)
			fail_msg("\"%s\": %d, %s", bad[i].text, r, err.msg);
	}
}

TEST(an_error_suggests_the_nearest_valid_value)
{
	static const struct {
		const char *text, *message;
	} bad[] = {
		{ "512m", "\"512m\" is not a whole number of bytes; did you mean \"512Mi\"?" },
		{ "1.5", "\"1.5\" is not a whole number of bytes; did you mean \"1.5Gi\"?" },
		{ "5e-1", "\"5e-1\" is not a whole number of bytes" },
		{ "1g", "\"1g\" is not a quantity like 512Mi, 8Gi or 1073741824; did you mean "
			"\"1Gi\"?" },
		{ "1.5GB", "\"1.5GB\" is not a quantity like 512Mi, 8Gi or 1073741824; did you "
			   "mean \"1.5Gi\"?" },
		{ "64K", "\"64K\" is not a quantity like 512Mi, 8Gi or 1073741824; did you mean "
			 "\"64Ki\"?" },
		{ "8 Gi", "\"8 Gi\" is not a quantity like 512Mi, 8Gi or 1073741824" },
		{ "1.2.3", "\"1.2.3\" is not a quantity like 512Mi, 8Gi or 1073741824" },
		{ "-1g", "\"-1g\" is negative" },
		{ "9999999999999999999g",
		  "\"9999999999999999999g\" is not a quantity like 512Mi, 8Gi or 1073741824" },
	};
	char buf[32];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct stow_err err = { 0 };
		uint64_t bytes;

		assert_true(stow_parse_quantity(bad[i].text, &bytes, &err) < 0);
		assert_string_equal(err.msg, bad[i].message);
	}
	assert_true(stow_quantity_meant("512", buf, sizeof(buf)));
	assert_string_equal(buf, "512Mi");
	/* What is right needs no other word. */
	assert_false(stow_quantity_meant("1Ki", buf, sizeof(buf)));
	/* What is proposed is right itself. */
	assert_false(stow_quantity_meant("0.3g", buf, sizeof(buf)));
	assert_false(stow_quantity_meant("g", buf, sizeof(buf)));
	assert_false(stow_quantity_meant("", buf, sizeof(buf)));
	assert_false(stow_quantity_meant("123456", buf, 8));
}

TEST(an_amount_has_a_unit)
{
	char buf[32];

	assert_string_equal(stow_format_amount(1, buf, sizeof(buf)), "1 byte of");
	assert_string_equal(stow_format_amount(512, buf, sizeof(buf)), "512 bytes of");
	assert_string_equal(stow_format_amount(0, buf, sizeof(buf)), "0");
	assert_string_equal(stow_format_amount(1024, buf, sizeof(buf)), "1Ki");
}

TEST(whole_numbers)
{
	uint64_t v = 0;

	assert_int_equal(stow_parse_u64("18446744073709551615", UINT64_MAX, &v, NULL), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(stow_parse_u64("18446744073709551616", UINT64_MAX, &v, NULL), -ERANGE);
	assert_int_equal(stow_parse_u64("11", 10, &v, NULL), -ERANGE);
	assert_int_equal(stow_parse_u64("", 10, &v, NULL), -EINVAL);
	assert_int_equal(stow_parse_u64(" 1", 10, &v, NULL), -EINVAL);
	assert_int_equal(stow_parse_u64("1\n", 10, &v, NULL), -EINVAL);
}

TEST(page_sizes)
{
	uint64_t v = 0;
	char buf[32];

	assert_int_equal(stow_parse_pagesize("2Mi", &v, NULL), 0);
	assert_int_equal(v, 2 << 20);
	assert_int_equal(stow_parse_pagesize("64KB", &v, NULL), 0);
	assert_int_equal(v, 64 << 10);
	assert_string_equal(stow_format_pagesize(UINT64_C(1) << 30, buf, sizeof(buf)), "1GB");
	assert_string_equal(stow_format_pagesize(UINT64_C(1) << 42, buf, sizeof(buf)), "4096GB");
	assert_string_equal(stow_format_size(UINT64_C(2) << 20, buf, sizeof(buf)), "2Mi");
	assert_string_equal(stow_format_size((UINT64_C(3) << 29), buf, sizeof(buf)), "1.5Gi");
	assert_int_equal(stow_parse_pagesize("3Mi", &v, NULL), -EINVAL);
	assert_int_equal(stow_parse_pagesize("0Mi", &v, NULL), -EINVAL);
	assert_int_equal(stow_parse_pagesize("Mi", &v, NULL), -EINVAL);
	assert_int_equal(stow_parse_pagesize("2M", &v, NULL), -EINVAL);
	assert_int_equal(stow_parse_pagesize("99999999999Gi", &v, NULL), -EINVAL);
}

TEST(durations)
{
	static const char *const bad[] = { "",	  "5",	"s",  "-1s", "1.5s",
					   "5 s", "5S", "5d", "1s ", "0x1s" };
	struct stow_err err = { 0 };
	uint64_t v = 42;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		assert_int_equal(stow_parse_duration(bad[i], &v, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "500ms"));
	assert_int_equal(stow_parse_duration("99999999999999999h", &v, NULL), -ERANGE);
	assert_int_equal(v, 42);
	assert_int_equal(stow_parse_duration("500ms", &v, NULL), 0);
	assert_int_equal(v, 500000000);
	assert_int_equal(stow_parse_duration("2h", &v, NULL), 0);
	assert_true(v == UINT64_C(7200000000000));
}

TEST(the_nearest_word)
{
	static const char *const words[] = { "cpus", "memory", "policy", NULL };

	assert_int_equal(stow_nearest("cpsu", words), 0);
	assert_int_equal(stow_nearest("memroy", words), 1);
	assert_int_equal(stow_nearest("bananas", words), -1);
}

TEST(times_have_a_unit)
{
	static const char *const bad[] = {
		"", "5", "s", "-1s", "1.5s", "5 s", "5sec", "1s ", "0x1s"
	};
	struct stow_err err;
	uint64_t ns = 42;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		assert_int_equal(stow_parse_duration(bad[i], &ns, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "500ms, 1s, 5m or 2h"));
	}
	assert_int_equal(stow_parse_duration("18446744074s", &ns, NULL), -ERANGE);
	assert_int_equal(stow_parse_duration("99999999999999999999999h", &ns, NULL), -ERANGE);
	assert_int_equal(ns, 42);
	assert_int_equal(stow_parse_duration("0s", &ns, NULL), 0);
	assert_int_equal(ns, 0);
	assert_int_equal(stow_parse_duration("1500ms", &ns, NULL), 0);
	assert_int_equal(ns, 1500000000);
	assert_int_equal(stow_parse_duration("2h", &ns, NULL), 0);
	assert_int_equal(ns, UINT64_C(7200000000000));
}

TEST(hexadecimal_digits)
{
	const char *text = "1aF-0", *p = text;
	uint64_t v;

	assert_true(stow_scan_hex(&p, &v));
	assert_int_equal(v, 0x1af);
	assert_ptr_equal(p, text + 3);
	assert_false(stow_scan_hex(&p, &v));
	p = "ffffffffffffffff";
	assert_true(stow_scan_hex(&p, &v));
	assert_true(v == UINT64_MAX && !*p);
	p = "10000000000000000";
	assert_false(stow_scan_hex(&p, &v));
}
