// SPDX-License-Identifier: Apache-2.0
/* A daemon's settings: file, flags, defaults, and what is said about a wrong one. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/settings.h"

struct values {
	char *text;
	char **list;
	uint64_t number, duration, size;
	bool on;
	int word;
};

#define AT(field) offsetof(struct values, field)
#define MS	  STOW_MILLISECOND

static const char *const words[] = { "slow", "fast", NULL };

static const struct stow_setting table[] = {
	{ "text", STOW_SETTING_TEXT, AT(text), 0, 0, NULL, "TEXT", "" },
	{ "list", STOW_SETTING_LIST, AT(list), 0, 0, NULL, "A,B", "" },
	{ "number", STOW_SETTING_NUMBER, AT(number), 1, 64, NULL, "N", "" },
	{ "duration", STOW_SETTING_DURATION, AT(duration), 100 * MS, 3600000 * MS, NULL, "T", "" },
	{ "size", STOW_SETTING_SIZE, AT(size), 4096, 0, NULL, "SIZE", "" },
	{ "on", STOW_SETTING_SWITCH, AT(on), 0, 0, NULL, NULL, "" },
	{ "word", STOW_SETTING_WORD, AT(word), 0, 0, words, "WORD", "" },
	{ 0 },
};

static int parse(struct values *v, const char *text, struct stow_err *err)
{
	return stow_settings_parse(table, v, text, strlen(text), "x.yaml", err);
}

/* One value in the file, and what it is refused with. */
static void refused(const char *text, const char *why)
{
	struct values v = { .number = 7, .duration = 7, .size = 7, .word = 7 };
	struct stow_err err = { 0 };
	int r = parse(&v, text, &err);

	assert_int_equal(r, -EINVAL);
	assert_string_equal(err.msg, why);
	assert_int_equal(v.number, 7);
	assert_int_equal(v.duration, 7);
	assert_int_equal(v.size, 7);
	assert_int_equal(v.word, 7);
	stow_settings_done(table, &v);
}

TEST(every_kind_is_read)
{
	struct values v = { 0 };
	struct stow_err err;

	assert_int_equal(parse(&v,
			       "# a comment\n"
			       "text: a b\n"
			       "list:\n  - a:7200\n  - b\n"
			       "number: 64\n"
			       "duration: 1h\n"
			       "size: 64Mi\n"
			       "on: true\n"
			       "word: fast\n",
			       &err),
			 0);
	assert_string_equal(v.text, "a b");
	assert_string_equal(v.list[0], "a:7200");
	assert_string_equal(v.list[1], "b");
	assert_null(v.list[2]);
	assert_int_equal(v.number, 64);
	assert_int_equal(v.duration, 3600000 * MS);
	assert_int_equal(v.size, 64 << 20);
	assert_true(v.on);
	assert_int_equal(v.word, 1);
	stow_settings_done(table, &v);
	assert_null(v.text);
	assert_null(v.list);
}

TEST(a_list_is_also_one_line)
{
	struct values v = { 0 };
	struct stow_err err;

	assert_int_equal(parse(&v, "list: [a, b]\n", &err), 0);
	assert_string_equal(v.list[1], "b");
	assert_int_equal(parse(&v, "list: \",c,,d,\"\n", &err), 0);
	assert_string_equal(v.list[0], "c");
	assert_string_equal(v.list[1], "d");
	assert_null(v.list[2]);
	assert_int_equal(parse(&v, "list: []\n", &err), 0);
	assert_true(!v.list || !v.list[0]);
	stow_settings_done(table, &v);
}

TEST(the_bounds_belong_to_it)
{
	struct values v = { 0 };
	struct stow_err err;

	assert_int_equal(parse(&v, "number: 1\nduration: 100ms\nsize: 4Ki\n", &err), 0);
	assert_int_equal(v.number, 1);
	assert_int_equal(v.duration, 100 * MS);
	assert_int_equal(v.size, 4096);
	assert_int_equal(parse(&v, "duration: 60m\nsize: 9223372036854775807\n", &err), 0);
	assert_int_equal(v.duration, 3600000 * MS);
	assert_int_equal(v.size, INT64_MAX);
	stow_settings_done(table, &v);
	refused("number: 0\n", "x.yaml:1: number: 0 is not between 1 and 64");
	refused("number: 65\n", "x.yaml:1: number: 65 is not between 1 and 64");
	refused("duration: 99ms\n", "x.yaml:1: duration: 99ms is not between 100ms and 3600s");
	refused("duration: 3600001ms\n",
		"x.yaml:1: duration: 3600001ms is not between 100ms and 3600s");
	refused("size: 4095\n", "x.yaml:1: size: 4095 is less than 4Ki");
}

TEST(an_error_is_one_line)
{
#define NO_TIME(text) "x.yaml:1: duration: \"" text "\" is not a time such as 500ms, 1s, 5m or 2h"
	refused("duration: 5\n", NO_TIME("5"));
	refused("duration: 5 s\n", NO_TIME("5 s"));
	refused("duration: -5s\n", NO_TIME("-5s"));
	refused("duration: s\n", NO_TIME("s"));
	refused("duration: 1d\n", NO_TIME("1d"));
	/* Over 2^64 ns, and over 2^64. */
	refused("duration: 5124095577h\n",
		"x.yaml:1: duration: \"5124095577h\" is too long a time");
	refused("duration: 99999999999999999999h\n",
		"x.yaml:1: duration: \"99999999999999999999h\" is too long a time");
	refused("duration: 999999999999999999999999999h\n",
		NO_TIME("999999999999999999999999999h"));
	refused("size: 64MiB\n", "x.yaml:1: size: \"64MiB\" is not a quantity like 512Mi, 8Gi or "
				 "1073741824; did you "
				 "mean \"64Mi\"?");
	refused("size: 8Ei\n", "x.yaml:1: size: \"8Ei\" is more than the largest quantity, 8Ei");
	refused("number: 1.5\n", "x.yaml:1: number: \"1.5\" is not a whole number");
	refused("number: 0x10\n", "x.yaml:1: number: \"0x10\" is not a whole number");
	refused("number:\n", "x.yaml:1: number: \"\" is not a whole number");
	refused("\non: maybe\n", "x.yaml:2: on: \"maybe\" is neither true nor false");
	refused("word: faster\n",
		"x.yaml:1: word: \"faster\" is not one of slow, fast; did you mean \"fast\"?");
	refused("word: \"a\\nb\"\n", "x.yaml:1: word: \"a?b\" is not one of slow, fast");
	refused("text: [a]\n", "x.yaml:1: text: expected one value");
	refused("text: {a: b}\n", "x.yaml:1: text: expected one value");
	refused("list: {a: b}\n", "x.yaml:1: list: expected a list");
	refused("list: [[a]]\n", "x.yaml:1: list: expected a list of plain values");
	refused("list:\n  - a\n  - {b: c}\n", "x.yaml:3: list: expected a list of plain values");
	refused("text: &a b\nlist: [*a]\n",
		"x.yaml:2: list: \"*a\" is an alias; write the value itself");
}

TEST(keys_are_known_and_given_once)
{
	refused("numbr: 5\n", "x.yaml:1: unknown key \"numbr\"; did you mean \"number\"?");
	refused("zebra-crossing: 5\n", "x.yaml:1: unknown key \"zebra-crossing\"");
	refused("text: a\ntext: b\n", "x.yaml:2: \"text\" is given twice");
	refused("[a]: b\n", "x.yaml:1: expected KEY: VALUE");
	refused("- a\n", "x.yaml:1: expected lines of KEY: VALUE");
	refused("text\n", "x.yaml:1: expected lines of KEY: VALUE");
}

/* What is read of it must be all of it. */
TEST(nothing_is_cut_off_in_silence)
{
	refused("text: \"a\\0b\"\n", "x.yaml:1: text: a NUL byte cannot be part of it");
	refused("list: [a, \"b\\0\"]\n", "x.yaml:1: list: a NUL byte cannot be part of it");
	refused("\"text\\0\": a\n", "x.yaml:1: expected KEY: VALUE");
	refused("text: a\n---\ntext: b\n", "x.yaml:2: a second document; expected one");
}

TEST(an_empty_file_is_valid)
{
	static const char *const nothing[] = { "", "\n\n", "# only this\n", "---\n", "{}\n" };
	struct values v = { .number = 5 };
	struct stow_err err;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(nothing); i++)
		assert_int_equal(parse(&v, nothing[i], &err), 0);
	assert_int_equal(v.number, 5);
}

TEST(what_is_no_yaml_has_a_line)
{
	struct values v = { 0 };
	struct stow_err err;

	assert_int_equal(parse(&v, "text: a\n\tlist: b\n", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "x.yaml:2: this is not YAML: "));
	stow_settings_done(table, &v);
	assert_int_equal(parse(&v, "list: [a\n", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "this is not YAML: "));
	stow_settings_done(table, &v);
}

TEST(a_file_has_a_size)
{
	char path[] = "/tmp/numastow-settings-XXXXXX", block[4096];
	struct values v = { 0 };
	struct stow_err err;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	memset(block, '\n', sizeof(block));
	for (int i = 0; i < 256; i++)
		assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
	assert_int_equal(stow_settings_load(table, &v, path, false, &err), 0);
	assert_int_equal(write(fd, "\n", 1), 1);
	assert_int_equal(stow_settings_load(table, &v, path, false, &err), -E2BIG);
	assert_non_null(strstr(err.msg, " is longer than 1048576 bytes"));
	close(fd);
	unlink(path);
	assert_int_equal(stow_settings_load(table, &v, path, true, &err), 0);
	assert_int_equal(stow_settings_load(table, &v, path, false, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
	/* A folder is no file. */
	assert_true(stow_settings_load(table, &v, "/tmp", true, &err) < 0);
}

#define FLAGS(...)                                                                              \
	stow_settings_flags(table, &v, (int)STOW_ARRAY_SIZE(((const char *[]){ __VA_ARGS__ })), \
			    (char **)(uintptr_t)(const char *[]){ __VA_ARGS__ }, own, given,    \
			    &config, &err)

TEST(flags_win_over_the_file_over_the_default)
{
	static const char *const own[] = { "help", "check", NULL };
	struct values v = { .number = 5, .size = 4096, .duration = 100 * MS };
	const char *config = NULL;
	bool given[2] = { false };
	struct stow_err err;

	assert_int_equal(parse(&v, "number: 6\nsize: 8Ki\nlist: [a, b]\non: true\n", &err), 0);
	assert_int_equal(FLAGS("prog", "--number", "7", "--list=c", "--on=false", "--check",
			       "--text=a=b", "--config", "/x"),
			 0);
	assert_int_equal(v.number, 7);
	assert_int_equal(v.size, 8192);
	assert_int_equal(v.duration, 100 * MS);
	assert_string_equal(v.list[0], "c");
	assert_null(v.list[1]);
	assert_string_equal(v.text, "a=b");
	assert_false(v.on);
	assert_false(given[0]);
	assert_true(given[1]);
	assert_string_equal(config, "/x");
	assert_int_equal(FLAGS("prog", "--on"), 0);
	assert_true(v.on);
	assert_int_equal(FLAGS("prog", "-h"), 0);
	assert_true(given[0]);
	stow_settings_done(table, &v);
}

TEST(wrong_flags_are_errors)
{
	static const char *const own[] = { "help", NULL };
	struct values v = { 0 };
	const char *config = NULL;
	bool given[1] = { false };
	struct stow_err err;

#define REFUSED(why, ...)                                              \
	do {                                                           \
		assert_int_equal(FLAGS("prog", __VA_ARGS__), -EINVAL); \
		assert_string_equal(err.msg, why);                     \
	} while (0)
	REFUSED("--number: \"x\" is not a whole number", "--number=x");
	REFUSED("option '--number' requires an argument", "--number");
	REFUSED("unrecognized option '--numbr'; did you mean \"number\"?", "--numbr=1");
	REFUSED("option '--help' doesn't allow an argument", "--help=1");
	REFUSED("\"number\": unexpected argument", "number");
	REFUSED("unrecognized option '-n'", "-n");
	/* Of a program that has no such option. */
	REFUSED("unrecognized option '-V'", "-V");
	REFUSED("unrecognized option '--'", "--");
	REFUSED("--on: \"1\" is neither true nor false", "--on=1");
	/* Longer than any name is no name's beginning. */
	REFUSED("unrecognized option '--numbernumbernumbernumbernumbernumbernumbernumbernumber"
		"numberxxx'",
		"--numbernumbernumbernumbernumbernumbernumbernumbernumbernumberxxxxxxxxxxx");
	assert_false(given[0]);
}
