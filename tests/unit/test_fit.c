// SPDX-License-Identifier: Apache-2.0
/* base/fit: how columns share a terminal, and where texts wrap; base/grid: tables of texts. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fit.h"
#include "base/grid.h"

TEST(texts_wrap)
{
	static const struct {
		const char *text;
		int width;
		const char *wanted;
	} cases[] = {
		{ "", 5, "" },
		{ "one two", 7, "one two" },
		{ "one two", 6, "one\ntwo" },
		{ "one  two", 3, "one\ntwo" },
		{ "one two ", 3, "one\ntwo" },
		{ "0-3,8-11,16", 8, "0-3,\n8-11,16" },
		{ "/a/bcd/efg", 7, "/a/bcd/\nefg" },
		{ "abcdefgh", 3, "abc\ndef\ngh" },
		{ "a bcdefgh", 3, "a\nbcd\nefg\nh" },
		{ "\xc3\xa4\xc3\xb6\xc3\xbc", 2, "\xc3\xa4\xc3\xb6\n\xc3\xbc" },
		{ "ab", 1, "a\nb" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		char *wrapped = stow_fit_wrap(cases[i].text, cases[i].width);

		assert_string_equal(wrapped, cases[i].wanted);
		free(wrapped);
	}
}

/* What stow_fit_print() prints. */
static char *printed(const char *label, int indent, const char *text, int width)
{
	char *out = NULL;
	size_t size;
	FILE *to = open_memstream(&out, &size);

	stow_fit_print(to, 2, label, indent, text, width);
	assert_int_equal(fclose(to), 0);
	return out;
}

TEST(a_label_and_its_text)
{
	static const struct {
		const char *label, *text;
		int width;
		const char *wanted;
	} cases[] = {
		{ "ab", "one two", 0, "  ab    one two\n" },
		{ "", "one", 0, "        one\n" },
		{ "abcd", "one", 0, "  abcd  one\n" },
		{ "abcde", "one", 0, "  abcde\n        one\n" },
		{ "abcdefghij", "one", 0, "  abcdefghij\n        one\n" },
		{ "abcdefghij", "", 80, "  abcdefghij\n" },
		{ "ab", "fourteen chars seven", 30, "  ab    fourteen chars seven\n" },
		{ "ab", "fourteen chars seven more", 30,
		  "  ab    fourteen chars seven\n        more\n" },
		/* 20 columns at least */
		{ "ab", "fourteen chars seven", 5, "  ab    fourteen chars seven\n" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		char *out = printed(cases[i].label, 8, cases[i].text, cases[i].width);

		assert_string_equal(out, cases[i].wanted);
		free(out);
	}
}

TEST(long_columns_yield)
{
	struct stow_fit columns[] = { { 5, 5, 0 }, { 60, 10, 0 }, { 20, 10, 0 }, { 4, 4, 0 } };
	int shown[4], n = stow_fit_part(columns, 4, 1, 0, 50, shown);

	assert_int_equal(n, 4);
	assert_true(stow_fit_widths(columns, shown, n, 50));
	assert_int_equal(columns[0].width, 5);
	assert_int_equal(columns[1].width, 19);
	assert_int_equal(columns[2].width, 19);
	assert_int_equal(columns[3].width, 4);
	assert_true(stow_fit_widths(columns, shown, n, 200));
	assert_int_equal(columns[1].width, 60);
}

/* Each part has the keys, and something else. */
TEST(parts_repeat_their_keys)
{
	const struct stow_fit columns[] = { { 4, 4, 0 }, { 6, 6, 0 }, { 9, 9, 0 }, { 50, 50, 0 } };
	int shown[4];

	assert_int_equal(stow_fit_part(columns, 4, 1, 0, 21, shown), 3);
	assert_int_equal(stow_fit_part(columns, 4, 1, 0, 20, shown), 2);
	assert_int_equal(stow_fit_part(columns, 4, 1, 2, 20, shown), 2);
	assert_int_equal(shown[0], 0);
	assert_int_equal(shown[1], 2);
	assert_int_equal(stow_fit_part(columns, 4, 1, 3, 20, shown), 2);
	assert_int_equal(shown[1], 3);
	assert_int_equal(stow_fit_part(columns, 4, 1, 0, 0, shown), 4);
}

static int below(void *data, size_t row)
{
	return fprintf(data, "  below %zu\n", row) < 0;
}

static void grid_is(int width, bool after, const char *wanted)
{
	static const struct stow_grid_column columns[] = { { "NAME", 6, 4, false, false },
							   { "N", 3, 0, true, false },
							   { "WHY", 3, 8, false, false } };
	char name[] = "abcdefgh", one[] = "1", why[] = "it does not fit", b[] = "b",
	     many[] = "1234", none[] = "-";
	char *cells[] = { name, one, why, b, many, none };
	struct stow_grid grid = { .columns = columns, .n = 3, .width = width };
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	grid.after = after ? below : NULL;
	grid.data = out;
	assert_int_equal(stow_grid_print(out, &grid, cells, 2, NULL), 0);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, wanted);
	free(text);
}

TEST(grids_fit)
{
	grid_is(0, true,
		"NAME        N WHY\n"
		"abcdefgh    1 it does not fit\n  below 0\n"
		"b        1234 -\n  below 1\n");
	grid_is(22, true,
		"NAME        N WHY\n"
		"abcdefgh    1 it does\n              not fit\n  below 0\n"
		"b        1234 -\n  below 1\n");
	grid_is(13, true,
		"NAME        N\n"
		"abcdefgh    1\n"
		"b        1234\n"
		"\n"
		"NAME WHY\n"
		"abcd it does\nefgh not fit\n  below 0\n"
		"b    -\n  below 1\n");
}

/* What a program reads: rows of the selected columns, on a terminal of any width. */
static void styled_is(const struct stow_grid_style *style, const char *wanted)
{
	static const struct stow_grid_column columns[] = { { "NAME", 6, 4, false, false },
							   { "N", 3, 0, true, false },
							   { "WHY", 3, 8, false, true } };
	char name[] = "a \"b\\", one[] = "1", why[] = "$it\tis", b[] = "b", none[] = "-",
	     empty[] = "";
	char *cells[] = { name, one, why, b, none, empty };
	struct stow_grid grid = { .columns = columns, .n = 3, .width = 10, .style = style };
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(stow_grid_print(out, &grid, cells, 2, NULL), 0);
	assert_int_equal(stow_grid_print(out, &grid, cells, 0, NULL), 0);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, wanted);
	free(text);
}

TEST(grids_are_for_programs)
{
	static const struct stow_grid_style unknown = { .columns = "NAME,X" };
	static const struct stow_grid_column columns[] = { { "NAME", 6, 4, false, false } };
	struct stow_grid grid = { .columns = columns, .n = 1, .style = &unknown };
	struct stow_err err;

	styled_is(&(const struct stow_grid_style){ 0 }, "NAME     N\na \"b\\    1\nb        -\n");
	styled_is(&(const struct stow_grid_style){ .noheadings = true, .columns = "n,name" },
		  "  1 a \"b\\\n  - b\n");
	styled_is(&(const struct stow_grid_style){ .raw = true, .columns = "+WHY" },
		  "NAME N WHY\na\\x20\"b\\x5c 1 $it\\x09is\nb - -\n");
	styled_is(&(const struct stow_grid_style){ .raw = true, .noheadings = true, .all = true },
		  "a\\x20\"b\\x5c 1 $it\\x09is\nb - -\n");
	styled_is(&(const struct stow_grid_style){ .pairs = true, .all = true },
		  "NAME=\"a \\x22b\\x5c\" N=\"1\" WHY=\"\\x24it\\x09is\"\n"
		  "NAME=\"b\" N=\"\" WHY=\"\"\n");
	assert_int_equal(stow_grid_print(stdout, &grid, NULL, 0, &err), -EINVAL);
	assert_string_equal(err.msg, "--output \"X\": expected columns of NAME");
}
