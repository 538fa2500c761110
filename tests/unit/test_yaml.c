// SPDX-License-Identifier: Apache-2.0
/* YAML by a table: mappings in mappings, where an error is, and that no file is a bomb. */
#include "unit.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/idset.h"
#include "base/yaml.h"

struct shelf {
	char *name;
	uint32_t rows;
	struct stow_idset slots;
	uint64_t memory;
	int id;
};

struct store {
	char **labels;
	struct {
		uint64_t width;
		struct {
			uint64_t depth;
		} inner;
	} size;
	struct shelf *shelves;
	size_t n_shelves;
};

#define SHELF(field) offsetof(struct shelf, field)
#define STORE(field) offsetof(struct store, field)

enum { NAME, ROWS, SLOTS, MEMORY };
static const struct stow_setting shelf_settings[] = {
	[NAME] = { "name", STOW_SETTING_TEXT, SHELF(name), 1, 8, NULL, NULL, NULL },
	[ROWS] = { "rows", STOW_SETTING_COUNT, SHELF(rows), 0, 0, NULL, NULL, NULL },
	[SLOTS] = { "slots", STOW_SETTING_IDS, SHELF(slots), 0, 0, NULL, NULL, NULL },
	[MEMORY] = { "memory", STOW_SETTING_MEMORY, SHELF(memory), 4096, 0, NULL, NULL, NULL },
	{ "id", STOW_SETTING_ID, SHELF(id), 0, 0, NULL, NULL, NULL },
	{ 0 },
};
static const struct stow_yaml_table shelf = { .settings = shelf_settings, .required = "name" };

static const struct stow_setting inner_settings[] = {
	{ "depth", STOW_SETTING_NUMBER, STORE(size.inner.depth) - STORE(size.inner), 0, 9, NULL,
	  NULL, NULL },
	{ 0 },
};
static const struct stow_yaml_table inner = { .settings = inner_settings };

static const struct stow_setting size_settings[] = {
	{ "width", STOW_SETTING_NUMBER, 0, 1, 9, NULL, NULL, NULL },
	{ 0 },
};
static const struct stow_yaml_nested size_nested[] = {
	{ .name = "inner", .table = &inner, .offset = STORE(size.inner) - STORE(size) },
	{ 0 },
};
static const struct stow_yaml_table size = { .settings = size_settings, .nested = size_nested };

/* Rows and slots are not given together. */
static int check_shelf(const void *entries, size_t n, const unsigned int *lines, size_t *ret_key,
		       struct stow_err *err)
{
	assert_non_null(((const struct shelf *)entries)[n].name);
	if (!lines[ROWS] || !lines[SLOTS])
		return 0;
	*ret_key = SLOTS;
	return stow_err_set(err, EINVAL, "rows are given in line %u", lines[ROWS]);
}

static int check_label(const struct stow_setting *setting, const char *text, struct stow_err *err)
{
	assert_string_equal(setting->name, "labels");
	return strcmp(text, "bad") ? 0 : stow_err_set(err, EINVAL, "\"%s\" is no label", text);
}

static const struct stow_setting settings[] = {
	{ "labels", STOW_SETTING_LIST, STORE(labels), 1, 0, NULL, NULL, NULL },
	{ 0 },
};
static const struct stow_yaml_nested nested[] = {
	{ .name = "size", .table = &size, .offset = STORE(size) },
	{ .name = "shelves",
	  .table = &shelf,
	  .offset = STORE(shelves),
	  .n_offset = STORE(n_shelves),
	  .entry_size = sizeof(struct shelf),
	  .min = 1,
	  .check = check_shelf },
	{ 0 },
};
static const struct stow_yaml_table table = {
	.settings = settings,
	.nested = nested,
	.check = check_label,
};

static void done(struct store *store)
{
	for (size_t i = 0; i < store->n_shelves; i++)
		free(store->shelves[i].name);
	free(store->shelves);
	stow_settings_done(settings, store);
}

static int parse(struct store *store, const char *text, struct stow_err *err)
{
	*store = (struct store){ 0 };
	return stow_yaml_parse(&table, store, text, strlen(text), "/etc/x.yaml", err);
}

static void refused(const char *text, const char *why)
{
	struct stow_err err = { 0 };
	struct store store;
	int r = parse(&store, text, &err);

	if (r != -EINVAL || strcmp(err.msg, why) != 0)
		fail_msg("%s\n%d: %s", text, r, err.msg);
	done(&store);
	/* The same without a place for the words. */
	assert_int_equal(parse(&store, text, NULL), -EINVAL);
	done(&store);
}

TEST(mappings_are_in_mappings_and_in_lists)
{
	struct stow_err err = { 0 };
	struct store store;

	assert_int_equal(parse(&store,
			       "shelves:\n"
			       "- name: a\n"
			       "  rows: 4294967295\n"
			       "  id: '*'\n"
			       "- {slots: '0-1,8', id: 3, name: b, memory: 4Ki}\n"
			       "size:\n"
			       "  inner: {depth: 0}\n"
			       "  width: 9\n"
			       "labels: [x, y]\n",
			       &err),
			 0);
	assert_int_equal(store.n_shelves, 2);
	assert_string_equal(store.shelves[0].name, "a");
	assert_int_equal(store.shelves[0].rows, UINT32_MAX);
	assert_int_equal(store.shelves[0].id, -1);
	assert_int_equal(store.shelves[0].memory, 0);
	assert_string_equal(store.shelves[1].name, "b");
	assert_int_equal(stow_idset_count(&store.shelves[1].slots), 3);
	assert_int_equal(store.shelves[1].id, 3);
	assert_int_equal(store.shelves[1].memory, 4096);
	assert_int_equal(store.size.width, 9);
	assert_string_equal(store.labels[1], "y");
	done(&store);
}

TEST(an_error_has_its_line_and_the_valid_values)
{
	refused("size:\n  width: x\n", "/etc/x.yaml:2: size.width: \"x\" is not a whole number");
	refused("size:\n  inner:\n    depth: 10\n",
		"/etc/x.yaml:3: size.inner.depth: 10 is not between 0 and 9");
	refused("size:\n  widht: 3\n",
		"/etc/x.yaml:2: size: unknown key \"widht\"; did you mean \"width\"?");
	refused("shelfs: 3\n", "/etc/x.yaml:1: unknown key \"shelfs\"; did you mean \"shelves\"?");
	/* A key of another mapping is none here. */
	refused("size:\n  name: a\n", "/etc/x.yaml:2: size: unknown key \"name\"");
	refused("size:\n  width: 1\n  width: 1\n", "/etc/x.yaml:3: size: \"width\" is given twice");
	refused("size: 3\n", "/etc/x.yaml:1: size: expected lines of KEY: VALUE");
	refused("size:\nlabels: [a]\n", "/etc/x.yaml:1: size: expected lines of KEY: VALUE");
	refused("shelves: {name: a}\n", "/etc/x.yaml:1: shelves: expected a list");
	refused("shelves: [a]\n", "/etc/x.yaml:1: shelves: expected lines of KEY: VALUE");
	refused("shelves: []\n", "/etc/x.yaml:1: shelves: too few entries; expected at least 1");
	refused("labels: []\n", "/etc/x.yaml:1: labels: too few entries; expected at least 1");
	refused("shelves:\n- name: a\n- id: 3\n\n",
		"/etc/x.yaml:3: shelves: this entry has no \"name\"");
	refused("shelves:\n- name: a\n  slots: 3-1\n",
		"/etc/x.yaml:3: shelves.slots: \"3-1\" is not a list like 0-3,8");
	refused("shelves:\n- name: a\n  slots: 9000\n",
		"/etc/x.yaml:3: shelves.slots: \"9000\": numbers must be below 8192");
	refused("shelves:\n- name: a\n  rows: 4294967296\n",
		"/etc/x.yaml:3: shelves.rows: 4294967296 is not between 0 and 4294967295");
	refused("shelves:\n- name: a\n  id: -1\n",
		"/etc/x.yaml:3: shelves.id: \"-1\" is neither a node's number nor \"*\"");
	refused("shelves:\n- name: a\n  memory: 4095\n",
		"/etc/x.yaml:3: shelves.memory: \"4095\" is less than a page of memory; did you "
		"mean \"4095Mi\"?");
	refused("shelves:\n- name: ''\n", "/etc/x.yaml:2: shelves.name: expected at least 1 byte");
	refused("shelves:\n- name: 123456789\n",
		"/etc/x.yaml:2: shelves.name: \"123456789...\" is longer than 8 bytes");
	refused("shelves:\n- name: a\n- rows: 1\n  slots: 1\n  name: b\n",
		"/etc/x.yaml:4: shelves.slots: rows are given in line 3");
	refused("labels:\n- a\n- bad\n", "/etc/x.yaml:3: labels: \"bad\" is no label");
	refused("labels: a,bad\n", "/etc/x.yaml:1: labels: \"bad\" is no label");
}

TEST(what_is_no_yaml_has_a_line)
{
	refused("labels: [a]\nshelves: [{name: a}\nsize: {}\n",
		"/etc/x.yaml:3: this is not YAML: did not find expected ',' or ']'");
	refused("labels:\n- a\n- \x01\n",
		"/etc/x.yaml:3: this is not YAML: control characters are not allowed");
	refused("labels: [a]\nsize: \xff\n",
		"/etc/x.yaml:2: this is not YAML: invalid leading UTF-8 octet");
	refused("labels: [a]\n--- \nsize: {}\n", "/etc/x.yaml:2: a second document; expected one");
}

/* `head`, `n` times `item`, `tail` */
static char *repeat(const char *head, const char *item, size_t n, const char *tail)
{
	size_t len = strlen(head), step = strlen(item);
	char *text = malloc(len + n * step + strlen(tail) + 1);

	assert_non_null(text);
	memcpy(text, head, len);
	for (size_t i = 0; i < n; i++)
		memcpy(text + len + i * step, item, step);
	strcpy(text + len + n * step, tail);
	return text;
}

TEST(everything_has_a_bound)
{
	static const struct {
		const char *head, *item;
		size_t n;
		const char *tail, *why;
	} large[] = {
		{ "labels: [", "a,", 4096, "a]",
		  "/etc/x.yaml:1: labels: expected at most 4096 entries" },
		{ "shelves:\n", "- name: a\n", 4097, "",
		  "/etc/x.yaml:4098: shelves: expected at most 4096 entries" },
		{ "labels: [", "a", 4097, "]",
		  "/etc/x.yaml:1: labels: "
		  "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		  "aaaaaa...\" is longer than 4096 bytes" },
		/* What is deep is refused where it begins. */
		{ "size: ", "[", 5000, "", "/etc/x.yaml:1: size: expected lines of KEY: VALUE" },
		{ "size: ", "{inner: ", 5000, "",
		  "/etc/x.yaml:1: size.inner: unknown key \"inner\"" },
		{ "", "? ", 5000, "a", "/etc/x.yaml:1: expected KEY: VALUE" },
		{ "", "- ", 5000, "a", "/etc/x.yaml:1: expected lines of KEY: VALUE" },
	};
	struct stow_err err = { 0 };
	struct store store;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(large); i++) {
		_cleanup_free_ char *text =
			repeat(large[i].head, large[i].item, large[i].n, large[i].tail);

		refused(text, large[i].why);
	}
	for (size_t i = 0; i < 3; i++) {
		_cleanup_free_ char *text =
			repeat(large[i].head, large[i].item, i == 0 ? 4095 : 4096, large[i].tail);

		assert_int_equal(parse(&store, text, &err), 0);
		done(&store);
	}
}

TEST(no_file_is_more_than_its_text)
{
	refused("labels: &a [x]\nshelves: *a\n",
		"/etc/x.yaml:2: shelves: \"*a\" is an alias; write the value itself");
	refused("labels: &a [x, *a]\n",
		"/etc/x.yaml:1: labels: \"*a\" is an alias; write the value itself");
	refused("size: &s {width: 1}\nshelves:\n- <<: *s\n",
		"/etc/x.yaml:3: shelves: unknown key \"<<\"");
	refused("*a : 1\n", "/etc/x.yaml:1: \"*a\" is an alias; write the value itself");
}
