// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"

TEST(names_of_processes_are_those_of_comm)
{
	static const struct {
		const char *status, *name;
	} cases[] = {
		{ "Name:\tdb\nUmask:\t0022\n", "db" },
		{ "Name:\ta\\nb\n", "a?b" },	 /* comm has a newline */
		{ "Name:\ta\\\\nb\n", "a\\nb" }, /* a backslash and an n */
		{ "Name:\t\\\\\n", "\\" },
		{ "Name:\ta\\", "a\\" },
		{ "Name:\t\x1b[2J\n", "?[2J" },
		{ "Name:\t\n", "" },
		{ "Umask:\t0022\n", "" },
		{ "Name:\tlonger than it\n", "longer " },
	};
	char buf[8];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		stow_text_process_name(cases[i].status, buf, sizeof(buf));
		assert_string_equal(buf, cases[i].name);
	}
}

TEST(texts_are_cleaned)
{
	static const struct {
		const char *in, *out;
		size_t most;
	} cases[] = {
		{ "plain", "plain", 10 },
		{ "a\nb\tc\x7f", "a?b?c?", 10 },
		{ "\x1b[2J", "?[2J", 10 },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", 10 },
		{ "\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x82\xac\xf0\x9f\x98\x80", 10 },
		{ "\xc2\x9b", "??", 10 },		 /* U+009B, a terminal's CSI */
		{ "\xc0\xaf\xc1\x81", "????", 10 },	 /* overlong */
		{ "\xe0\x80\xaf", "???", 10 },		 /* overlong */
		{ "\xed\xa0\x80", "???", 10 },		 /* a surrogate */
		{ "\xf4\x90\x80\x80", "????", 10 },	 /* above U+10FFFF */
		{ "\xf8\x88\x80\x80\x80", "?????", 10 }, /* five bytes */
		{ "\xe2\x82", "??", 10 },		 /* cut */
		{ "x\xff", "x?", 10 },
		{ "abcdef", "abc", 3 },
		{ "ab\xe2\x82\xac", "ab", 4 }, /* not in the middle of one */
		{ "ab\xe2\x82\xac", "ab\xe2\x82\xac", 5 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		char *copy = stow_text_copy(cases[i].in, cases[i].most), text[16];

		strcpy(text, cases[i].in);
		stow_text_clean(text, cases[i].most);
		assert_string_equal(text, cases[i].out);
		assert_string_equal(copy, cases[i].out);
		free(copy);
	}
}

TEST(quotes_are_printable_ascii)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "gr\xc3\xbc\n\x7f", "gr????" },
		{ "12345678", "12345678" },
		{ "123456789", "12345678..." },
		{ "1234567\xe2\x82\xac", "1234567?..." },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		char buf[12];

		assert_ptr_equal(stow_text_quote(cases[i].in, buf, sizeof(buf)), buf);
		assert_string_equal(buf, cases[i].out);
	}
}

TEST(a_field_of_a_status_is_found)
{
	static const char text[] =
		"Name:\tx y\nNames:\tz\nnuma_preferred_nid  :   1\nEmpty:\nLast: 7";
	char buf[8];

	assert_true(stow_text_field(text, "Name", buf, sizeof(buf)));
	assert_string_equal(buf, "x y");
	assert_true(stow_text_field(text, "numa_preferred_nid", buf, sizeof(buf)));
	assert_string_equal(buf, "1");
	assert_true(stow_text_field(text, "Empty", buf, sizeof(buf)));
	assert_string_equal(buf, "");
	assert_true(stow_text_field(text, "Last", buf, sizeof(buf)));
	assert_string_equal(buf, "7");
	assert_true(stow_text_field(text, "Name", buf, 3)); /* truncated */
	assert_string_equal(buf, "x ");
	assert_false(stow_text_field(text, "Nam", buf, sizeof(buf)));
	assert_false(stow_text_field(text, "ame", buf, sizeof(buf)));
	assert_false(stow_text_field("", "Name", buf, sizeof(buf)));
}

TEST(sizes_of_a_status_are_in_bytes)
{
	static const char text[] = "VmPin:\t      64 kB\nVmLck: 0 kB\nVmRSS:\tmany kB\n"
				   "VmSwap:\t18014398509481984 kB\n";
	uint64_t bytes = 1;

	assert_true(stow_parse_kib(text, "VmPin", &bytes));
	assert_int_equal(bytes, 64 << 10);
	assert_true(stow_parse_kib(text, "VmLck", &bytes));
	assert_int_equal(bytes, 0);
	assert_false(stow_parse_kib(text, "VmRSS", &bytes));
	assert_false(stow_parse_kib(text, "VmSwap", &bytes)); /* over 64 bits */
	assert_false(stow_parse_kib(text, "VmSize", &bytes));
	assert_int_equal(bytes, 0);
}

TEST(words_of_lists_are_whole)
{
	assert_true(stow_text_has_word("cpuset cpu io\n", "cpu"));
	assert_true(stow_text_has_word("cpuset cpu io\n", "io"));
	assert_true(stow_text_has_word("rw,cpuset,noprefix", "noprefix"));
	assert_true(stow_text_has_word(" memory", "memory"));
	assert_false(stow_text_has_word("cpuset io", "cpu"));
	assert_false(stow_text_has_word("cpuacct,cpu2", "cpu"));
	assert_false(stow_text_has_word("", "cpu"));
	assert_false(stow_text_has_word("cpu, ", ""));
}

TEST(nuls_in_names_are_marked)
{
	static const struct {
		const char *text, *marked; /* NULL: no copy */
	} cases[] = {
		{ "{\"a\":\"b\"}", NULL },
		{ "{\"a\\u0000x\" : 1}", "{\"a\\ufffdx\" : 1}" },
		{ "{\"a\":\"b\\u0000\"}", "{\"a\":\"b\\u0000\"}" }, /* a value */
		{ "{\"a\\\\u0000\":1}", "{\"a\\\\u0000\":1}" },	    /* a backslash */
		{ "{\"\\u0000\\\"\\u0000\":[\"\\u0000\"]}",
		  "{\"\\ufffd\\\"\\ufffd\":[\"\\u0000\"]}" },
		{ "\"\\u0000", "\"\\u0000" }, /* cut off */
		{ "{\"\\u0000\\", "{\"\\u0000\\" },
		{ "{\"\\u0000\"", "{\"\\u0000\"" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *copy = NULL;

		assert_int_equal(stow_text_json_names(cases[i].text, strlen(cases[i].text), &copy),
				 0);
		if (cases[i].marked)
			assert_string_equal(copy, cases[i].marked);
		else
			assert_null(copy);
	}
}
