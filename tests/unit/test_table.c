// SPDX-License-Identifier: Apache-2.0
/* cli/view/table: what columns are selected, and what a cell is in JSON. */
#include "unit.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "cli/cli.h"
#include "cli/view/table.h"

enum { NAME, NODE, SIZE, RATIO, ONLINE, MORE };

static const struct cli_column columns[] = {
	{ "NAME", CLI_TREE, NULL, false, NULL },	 { "NODE", CLI_NUMBER, NULL, false, NULL },
	{ "MAX-SIZE", CLI_SIZE, NULL, false, NULL },	 { "RATIO", CLI_REAL, NULL, true, NULL },
	{ "ONLINE", CLI_BOOL, NULL, true, "is_online" }, { "MORE", CLI_LAST, NULL, true, NULL },
	{ NULL, CLI_TEXT, NULL, false, NULL },
};

static struct cli_table *table_of(const struct cli_output *out)
{
	struct cli_table *table = NULL;
	struct stow_err err = { 0 };

	assert_int_equal(cli_table_new(columns, out, &table, &err), 0);
	return table;
}

static void json_is(struct cli_table *table, const char *wanted)
{
	json_object *rows = cli_table_json(table);

	assert_string_equal(json_object_to_json_string_ext(rows, JSON_C_TO_STRING_PLAIN), wanted);
	json_object_put(rows);
	cli_table_free(table);
}

TEST(cells_have_types)
{
	const struct cli_output out = { .all = true };
	struct cli_table *table = table_of(&out);
	struct cli_row *row = cli_table_row(table, NULL);

	cli_row_text(row, NAME, "one");
	cli_row_signed(row, NODE, -1);
	cli_row_number(row, SIZE, UINT64_MAX - 1);
	cli_row_real(row, RATIO, 0.5);
	cli_row_number(row, ONLINE, 1);
	cli_row_format(row, MORE, "%d \"%s\"", 2, "x");
	json_is(table, "[{\"name\":\"one\",\"node\":-1,\"max_size\":18446744073709551614,"
		       "\"ratio\":0.5,\"is_online\":true,\"more\":\"2 \\\"x\\\"\"}]");
}

/* What is not set is null, never 0; and so is what is no number. */
TEST(unknown_is_null)
{
	const struct cli_output out = { .all = true };
	struct cli_table *table = table_of(&out);
	struct cli_row *row = cli_table_row(table, NULL);

	cli_row_real(row, RATIO, NAN);
	cli_row_text(row, NAME, NULL);
	cli_row_number(row, SIZE, STOW_UNKNOWN);
	json_is(table, "[{\"name\":null,\"node\":null,\"max_size\":null,\"ratio\":null,"
		       "\"is_online\":null,\"more\":null}]");
}

TEST(children_are_within)
{
	const struct cli_output out = { .columns = "NAME" };
	struct cli_table *table = table_of(&out);
	struct cli_row *a = cli_table_row(table, NULL), *b = cli_table_row(table, a);

	cli_row_text(a, NAME, "a");
	cli_row_text(b, NAME, "b");
	cli_row_text(cli_table_row(table, b), NAME, "c");
	cli_row_text(cli_table_row(table, a), NAME, "d");
	json_is(table, "[{\"name\":\"a\",\"children\":[{\"name\":\"b\",\"children\":"
		       "[{\"name\":\"c\"}]},{\"name\":\"d\"}]}]");
}

TEST(columns_are_selected)
{
	static const struct {
		const char *list;
		bool all;
		const char *keys;
	} cases[] = {
		{ NULL, false, "name node max_size " },
		{ NULL, true, "name node max_size ratio is_online more " },
		{ "node,name", false, "node name " },
		{ "NODE,node", false, "node " },
		{ "+more", false, "name node max_size more " },
		{ "+name,ratio", false, "name node max_size ratio " },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		const struct cli_output out = { .columns = cases[i].list, .all = cases[i].all };
		struct cli_table *table = table_of(&out);
		json_object *rows;
		char keys[128] = "";

		(void)cli_table_row(table, NULL);
		rows = cli_table_json(table);
		json_object_object_foreach(json_object_array_get_idx(rows, 0), key, value) {
			size_t len = strlen(keys);

			assert_null(value);
			snprintf(keys + len, sizeof(keys) - len, "%s ", key);
		}
		assert_string_equal(keys, cases[i].keys);
		json_object_put(rows);
		cli_table_free(table);
	}
}

TEST(unknown_columns_are_refused)
{
	static const char *const lists[] = { "", "nose", "name,", "name,,node", "+", "na" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(lists); i++) {
		const struct cli_output out = { .columns = lists[i] };
		struct cli_table *table = NULL;
		struct stow_err err = { 0 };

		assert_int_equal(cli_table_new(columns, &out, &table, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "expected columns of NAME,NODE,MAX-SIZE"));
		assert_null(table);
	}
}

TEST(nodes_are_filtered)
{
	struct cli_output out = { 0 };
	struct stow_err err = { 0 };

	assert_int_equal(cli_take_nodes("0,2-3", &out.nodes, &err), 0);
	assert_true(cli_output_wants_node(&out, 2));
	assert_false(cli_output_wants_node(&out, 1));
	assert_false(cli_output_wants_node(&out, -1));
	assert_int_equal(cli_take_nodes("", &out.nodes, &err), -EINVAL);
	assert_true(cli_output_wants_node(&out, 1));
}

/* What is left is rounded: just after 5m were asked for, it is 5m. What has passed is complete. */
TEST(spans_of_time)
{
	static const struct {
		uint64_t ms;
		const char *left, *passed;
	} cases[] = { { 0, "0s", "0s" },	  { 499, "0s", "0s" },
		      { 500, "1s", "0s" },	  { 119400, "119s", "119s" },
		      { 119999, "2m", "119s" },	  { 269999, "4m", "4m" },
		      { 270000, "5m", "4m" },	  { 299999, "5m", "4m" },
		      { 300000, "5m", "5m" },	  { 5399999, "90m", "89m" },
		      { 7199000, "2h", "119m" },  { 86399999, "24h", "23h" },
		      { 172799999, "2d", "47h" }, { 864000000, "10d", "10d" } };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		uint64_t ns = cases[i].ms * STOW_MILLISECOND;
		char buf[24];

		assert_string_equal(cli_format_span(ns, true, buf, sizeof(buf)), cases[i].left);
		assert_string_equal(cli_format_span(ns, false, buf, sizeof(buf)), cases[i].passed);
	}
	char whole[24];

	assert_string_equal(cli_format_span(UINT64_MAX, true, whole, sizeof(whole)), "213504d");
}

TEST(watch_has_a_least)
{
	struct stow_err err = { 0 };
	uint64_t every = 0;

	assert_int_equal(cli_take_watch(NULL, &every, &err), 0);
	assert_int_equal(every, 2000000000);
	assert_int_equal(cli_take_watch("500ms", &every, &err), 0);
	assert_int_equal(every, 500000000);
	assert_int_equal(cli_take_watch("1ms", &every, &err), -EINVAL);
	assert_int_equal(cli_take_watch("x", &every, &err), -EINVAL);
}
