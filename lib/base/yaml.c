// SPDX-License-Identifier: Apache-2.0
#include "base/yaml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"

#define KEYS_MAX   96	/* of one mapping */
#define LIST_MAX   4096 /* entries: more than one for each node or namespace is a mistake */
#define TEXT_MAX   4096 /* bytes of a value */
#define SKIP_DEPTH 32	/* levels of a value that is skipped */

/* The text, and the reader's position in it, for errors. */
struct reader {
	const char *text;
	size_t len;
	yaml_parser_t parser;
	yaml_event_t event;
	unsigned int line;
	char path[128]; /* "reserved.cpus" */
	struct stow_err *err;
};

/* Add a key to the path; return the former length. */
static size_t enter(struct reader *rd, const char *key)
{
	size_t len = strlen(rd->path);

	snprintf(rd->path + len, sizeof(rd->path) - len, "%s%s", len ? "." : "", key);
	return len;
}

static void leave(struct reader *rd, size_t len)
{
	rd->path[len] = '\0';
}

static int syntax_error(struct reader *rd)
{
	const yaml_parser_t *p = &rd->parser;

	if (p->error == YAML_MEMORY_ERROR)
		return stow_err_set(rd->err, ENOMEM, "out of memory");
	leave(rd, 0);
	rd->line = (unsigned int)p->problem_mark.line + 1;
	/* An error about bytes has only an offset. */
	if (p->error == YAML_READER_ERROR) {
		rd->line = 1;
		for (size_t i = 0; i < rd->len && i < p->problem_offset; i++)
			rd->line += rd->text[i] == '\n';
	}
	return stow_err_set(rd->err, EINVAL, "this is not YAML: %s",
			    p->problem ? p->problem : "unreadable");
}

/* Read the next event. */
static int next(struct reader *rd)
{
	yaml_event_delete(&rd->event);
	if (!yaml_parser_parse(&rd->parser, &rd->event))
		return syntax_error(rd);
	rd->line = (unsigned int)rd->event.start_mark.line + 1;
	if (rd->event.type == YAML_ALIAS_EVENT)
		return stow_err_set(rd->err, EINVAL,
				    "\"*%.64s\" is an alias; write the value itself",
				    (const char *)rd->event.data.alias.anchor);
	return 0;
}

/* Get a scalar's text, which must not contain NUL, of at most `max` bytes. */
static int get_text(struct reader *rd, size_t max, const char **ret)
{
	size_t len = rd->event.data.scalar.length;

	*ret = (const char *)rd->event.data.scalar.value;
	if (strlen(*ret) != len)
		return stow_err_set(rd->err, EINVAL, "a NUL byte cannot be part of it");
	if (len > max)
		return stow_err_set(rd->err, EINVAL, "\"%.64s...\" is longer than %zu bytes", *ret,
				    max);
	return 0;
}

/* Collect the names of all keys of a mapping. */
static size_t get_keys(const struct stow_yaml_table *table, const char *ret[static KEYS_MAX + 1],
		       size_t *ret_settings)
{
	size_t n = 0;

	for (const struct stow_setting *s = table->settings; s->name && n < KEYS_MAX; s++)
		ret[n++] = s->name;
	*ret_settings = n;
	for (const struct stow_yaml_nested *m = table->nested; m && m->name && n < KEYS_MAX; m++)
		ret[n++] = m->name;
	ret[n] = NULL;
	return n;
}

/* Return whether the value is YAML's null: of a list, an empty one. */
static bool is_null(const struct reader *rd)
{
	const char *text = (const char *)rd->event.data.scalar.value;

	return rd->event.type == YAML_SCALAR_EVENT &&
	       rd->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (!text[0] || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

/* --- a setting ------------------------------------------------------------ */

/* Check the texts that a setting got; of a list, the entries from `n` on. */
static int check_texts(struct reader *rd, const struct stow_yaml_table *table,
		       const struct stow_setting *s, const void *value, size_t n)
{
	char *const *list;
	int r = 0;

	if (!table->check)
		return 0;
	if (s->type == STOW_SETTING_TEXT)
		return table->check(s, *(char *const *)value, rd->err);
	if (s->type != STOW_SETTING_LIST)
		return 0;
	list = *(char **const *)value;
	if (!list)
		return 0;
	for (; list[n] && r == 0; n++)
		r = table->check(s, list[n], rd->err);
	return r;
}

static int read_list(struct reader *rd, const struct stow_yaml_table *table,
		     const struct stow_setting *s, char ***list)
{
	const char *text;
	size_t n = 0;
	int r;

	stow_list_clear(list);
	while ((r = next(rd)) == 0 && rd->event.type != YAML_SEQUENCE_END_EVENT) {
		if (rd->event.type != YAML_SCALAR_EVENT)
			return stow_err_set(rd->err, EINVAL, "expected a list of plain values");
		if (n == LIST_MAX)
			return stow_err_set(rd->err, EINVAL, "expected at most %d entries",
					    LIST_MAX);
		r = get_text(rd, TEXT_MAX, &text);
		if (r == 0)
			r = stow_list_append(list, text, strlen(text), rd->err);
		if (r == 0)
			r = check_texts(rd, table, s, list, n++);
		if (r < 0)
			return r;
	}
	return r;
}

static int read_setting(struct reader *rd, const struct stow_yaml_table *table,
			const struct stow_setting *s, void *base)
{
	void *value = (char *)base + s->offset;
	const char *text;
	int r;

	if (table->nulls && s->type == STOW_SETTING_LIST && is_null(rd)) {
		stow_list_clear(value);
		r = 0;
	} else if (rd->event.type == YAML_SCALAR_EVENT) {
		r = get_text(rd, STOW_MAX((size_t)s->max, (size_t)TEXT_MAX), &text);
		if (r == 0)
			r = stow_setting_set(s, base, text, rd->err);
		if (r == 0)
			r = check_texts(rd, table, s, value, 0);
	} else if (s->type != STOW_SETTING_LIST) {
		r = stow_err_set(rd->err, EINVAL, "expected one value");
	} else if (rd->event.type == YAML_SEQUENCE_START_EVENT) {
		r = read_list(rd, table, s, value);
	} else {
		r = stow_err_set(rd->err, EINVAL, "expected a list");
	}
	if (r == 0 && s->type == STOW_SETTING_LIST && s->min && !*(char ***)value)
		r = stow_err_set(rd->err, EINVAL, "too few entries; expected at least %d",
				 (int)s->min);
	return r;
}

/* --- mappings ------------------------------------------------------------- */

static int read_mapping(struct reader *rd, const struct stow_yaml_table *table, void *base,
			unsigned int lines[static KEYS_MAX]);

/* Make room for one more entry, zeroed, and count it. */
static void *add_entry(const struct stow_yaml_nested *m, void *base)
{
	char **entries = (char **)((char *)base + m->offset), *grown;
	size_t *n = (size_t *)((char *)base + m->n_offset);

	grown = reallocarray(*entries, *n + 1, m->entry_size);
	if (!grown)
		return NULL;
	*entries = grown;
	return memset(grown + (*n)++ * m->entry_size, 0, m->entry_size);
}

static int read_entry(struct reader *rd, const struct stow_yaml_nested *m, void *base)
{
	char *const *entries = (char **)((char *)base + m->offset);
	const size_t *n = (size_t *)((char *)base + m->n_offset);
	unsigned int lines[KEYS_MAX] = { 0 };
	void *entry = add_entry(m, base);
	size_t key = 0;
	int r;

	if (!entry)
		return stow_err_set(rd->err, ENOMEM, "out of memory");
	r = read_mapping(rd, m->table, entry, lines);
	if (r < 0 || !m->check)
		return r;
	r = m->check(*entries, *n - 1, lines, &key, rd->err);
	if (r < 0) {
		rd->line = lines[key];
		(void)enter(rd, m->table->settings[key].name);
	}
	return r;
}

static int read_nested(struct reader *rd, const struct stow_yaml_nested *m, void *base)
{
	const size_t *n = (size_t *)((char *)base + m->n_offset);
	unsigned int lines[KEYS_MAX] = { 0 };
	int r;

	if (m->entry_size == 0)
		return read_mapping(rd, m->table, (char *)base + m->offset, lines);
	if (m->table->nulls && is_null(rd))
		return 0;
	if (rd->event.type != YAML_SEQUENCE_START_EVENT)
		return stow_err_set(rd->err, EINVAL, "expected a list");
	while ((r = next(rd)) == 0 && rd->event.type != YAML_SEQUENCE_END_EVENT) {
		if (*n == LIST_MAX)
			return stow_err_set(rd->err, EINVAL, "expected at most %d entries",
					    LIST_MAX);
		r = read_entry(rd, m, base);
		if (r < 0)
			return r;
	}
	if (r == 0 && *n < m->min)
		r = stow_err_set(rd->err, EINVAL, "too few entries; expected at least %zu", m->min);
	return r;
}

static int unknown_key(struct reader *rd, const char *key, const char *const *keys)
{
	int near = stow_nearest(key, keys);

	if (near < 0)
		return stow_err_set(rd->err, EINVAL, "unknown key \"%.64s\"", key);
	return stow_err_set(rd->err, EINVAL, "unknown key \"%.64s\"; did you mean \"%s\"?", key,
			    keys[near]);
}

/* Skip the value of a key; the current event is the key. libyaml takes longer with each level. */
static int skip_value(struct reader *rd)
{
	size_t depth = 0;
	int r;

	do {
		r = next(rd);
		if (rd->event.type == YAML_MAPPING_START_EVENT ||
		    rd->event.type == YAML_SEQUENCE_START_EVENT)
			depth++;
		else if (rd->event.type == YAML_MAPPING_END_EVENT ||
			 rd->event.type == YAML_SEQUENCE_END_EVENT)
			depth--;
		if (depth > SKIP_DEPTH)
			return stow_err_set(rd->err, EINVAL, "expected at most %d levels",
					    SKIP_DEPTH);
	} while (r == 0 && depth > 0);
	return r;
}

static const struct stow_yaml_other *find_other(const struct stow_yaml_table *table,
						const char *key)
{
	for (const struct stow_yaml_other *o = table->others; o && o->name; o++)
		if (strcmp(o->name, key) == 0)
			return o;
	return NULL;
}

/* Read a key and its value; the current event is the key. */
static int read_pair(struct reader *rd, const struct stow_yaml_table *table, void *base,
		     unsigned int lines[static KEYS_MAX])
{
	const char *keys[KEYS_MAX + 1], *key;
	const struct stow_yaml_other *other;
	size_t settings, n = get_keys(table, keys, &settings), i = 0, len;
	int r;

	if (rd->event.type != YAML_SCALAR_EVENT || get_text(rd, TEXT_MAX, &key) < 0)
		return stow_err_set(rd->err, EINVAL, "expected KEY: VALUE");
	other = find_other(table, key);
	if (other) {
		*(bool *)((char *)base + other->offset) = true;
		return skip_value(rd);
	}
	while (i < n && strcmp(keys[i], key) != 0)
		i++;
	if (i == n)
		return unknown_key(rd, key, keys);
	if (lines[i])
		return stow_err_set(rd->err, EINVAL, "\"%s\" is given twice", keys[i]);
	lines[i] = rd->line;
	len = enter(rd, keys[i]);
	r = next(rd);
	if (r == 0)
		r = i < settings ? read_setting(rd, table, &table->settings[i], base)
				 : read_nested(rd, &table->nested[i - settings], base);
	if (r == 0)
		leave(rd, len);
	return r;
}

/* Read a mapping; the current event is its start. */
static int read_mapping(struct reader *rd, const struct stow_yaml_table *table, void *base,
			unsigned int lines[static KEYS_MAX])
{
	const char *keys[KEYS_MAX + 1];
	size_t settings, n = get_keys(table, keys, &settings);
	unsigned int line = rd->line;
	int r;

	if (rd->event.type != YAML_MAPPING_START_EVENT)
		return stow_err_set(rd->err, EINVAL, "expected lines of KEY: VALUE");
	while ((r = next(rd)) == 0 && rd->event.type != YAML_MAPPING_END_EVENT) {
		r = read_pair(rd, table, base, lines);
		if (r < 0)
			return r;
	}
	if (r < 0 || !table->required)
		return r;
	for (size_t i = 0; i < n; i++)
		if (lines[i] && strcmp(keys[i], table->required) == 0)
			return 0;
	rd->line = line;
	return stow_err_set(rd->err, EINVAL, "this entry has no \"%s\"", table->required);
}

/* --- the file ------------------------------------------------------------- */

static int read_document(struct reader *rd, const struct stow_yaml_table *table, void *base)
{
	unsigned int lines[KEYS_MAX] = { 0 };
	int r = next(rd); /* the start of the stream, then that of a document */

	if (r == 0)
		r = next(rd);
	if (r < 0 || rd->event.type == YAML_STREAM_END_EVENT)
		return r; /* only comments */
	r = next(rd);
	if (r == 0 && !(rd->event.type == YAML_SCALAR_EVENT && rd->event.data.scalar.length == 0))
		r = read_mapping(rd, table, base, lines);
	if (r == 0)
		r = next(rd); /* the end of the document */
	if (r == 0)
		r = next(rd);
	if (r == 0 && rd->event.type != YAML_STREAM_END_EVENT)
		r = stow_err_set(rd->err, EINVAL, "a second document; expected one");
	return r;
}

int stow_yaml_parse(const struct stow_yaml_table *table, void *base, const char *text, size_t len,
		    const char *name, struct stow_err *err)
{
	struct reader rd = { .text = text, .len = len, .line = 1, .err = err };
	int r;

	if (!yaml_parser_initialize(&rd.parser))
		return stow_err_set(err, ENOMEM, "%s: out of memory", name);
	yaml_parser_set_input_string(&rd.parser, (const unsigned char *)text, len);
	r = read_document(&rd, table, base);
	yaml_event_delete(&rd.event);
	yaml_parser_delete(&rd.parser);
	if (r < 0 && rd.path[0])
		return stow_err_wrap(err, r, "%s:%u: %s", name, rd.line, rd.path);
	return r < 0 ? stow_err_wrap(err, r, "%s:%u", name, rd.line) : 0;
}
