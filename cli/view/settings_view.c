// SPDX-License-Identifier: Apache-2.0
#include "cli/view/settings_view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/parse.h"

enum { NAME, VALUE, DEFAULT, MEANING, UNIT, STATE, GROUP, WHERE, RANGE, PERSIST, PARAMETER, SINCE };

const struct cli_column settings_columns[] = {
	[NAME] = { "SETTING", CLI_TEXT, "the kernel's name, or the end of the file's path" },
	[VALUE] = { "VALUE", CLI_TEXT, "what the kernel has now" },
	[DEFAULT] = { "DEFAULT", CLI_TEXT, "\"-\": it depends on the machine" },
	[MEANING] = { "MEANING", CLI_LAST, "what it does" },
	[UNIT] = { "UNIT", CLI_TEXT, "of the value", .extra = true },
	[STATE] = { "STATE", CLI_TEXT, "present, absent, hidden, unreadable or gone",
		    .extra = true },
	[GROUP] = { "GROUP", CLI_TEXT, "what it is about", .extra = true },
	[WHERE] = { "WHERE", CLI_TEXT, "the file in which this kernel keeps it", .extra = true },
	[RANGE] = { "RANGE", CLI_TEXT, "values that can be set", .extra = true },
	[PERSIST] = { "PERSIST", CLI_TEXT, "from where it is set at boot", .extra = true },
	[PARAMETER] = { "PARAMETER", CLI_TEXT, "the kernel parameter", .extra = true },
	[SINCE] = { "SINCE", CLI_TEXT, "the first kernel that has it", .extra = true },
	{ 0 },
};

static bool is_present(const struct stow_knob_setting *s)
{
	return s->state == STOW_KNOB_PRESENT;
}

/* Values that can be set, as "0..200" or "always|madvise|never"; false: there is no such text. */
static bool range_of(const struct stow_knob_setting *s, char *buf, size_t size)
{
	const struct stow_knob *knob = s->knob;

	buf[0] = '\0';
	if (s->choices[0]) {
		snprintf(buf, size, "%s", s->choices);
		for (char *p = buf; *p; p++)
			if (*p == ' ')
				*p = '|';
	} else if (knob->kind == STOW_KNOB_WORD) {
		for (size_t i = 0; knob->words[i]; i++)
			stow_append(buf, size, "%s%s", i ? "|" : "", knob->words[i]);
	} else if (knob->kind == STOW_KNOB_SWITCH) {
		snprintf(buf, size, "0|1");
	} else if (knob->max) {
		snprintf(buf, size, "%" PRIu64 "..%" PRIu64, knob->min, knob->max);
	}
	return buf[0];
}

static void text_or_unknown(struct cli_row *row, int column, const char *text)
{
	if (text && text[0])
		cli_row_text(row, column, text);
}

static void add_row(struct cli_table *table, const struct stow_knob_setting *s)
{
	struct cli_row *row = cli_table_row(table, NULL);
	const struct stow_knob *knob = s->knob;
	char range[STOW_KNOB_TEXT];

	cli_row_text(row, NAME, s->name);
	if (is_present(s))
		cli_row_text(row, VALUE, s->value[0] ? s->value : "yes");
	text_or_unknown(row, DEFAULT, knob->fallback);
	/* Of what is gone, the successor is what matters. */
	cli_row_text(row, MEANING, s->state == STOW_KNOB_LEFT ? s->why : knob->meaning);
	text_or_unknown(row, UNIT, knob->unit);
	cli_row_text(row, STATE, stow_knob_state_name(s->state));
	cli_row_text(row, GROUP, knob->group);
	if (s->state != STOW_KNOB_LEFT)
		text_or_unknown(row, WHERE, s->path);
	if (range_of(s, range, sizeof(range)))
		cli_row_text(row, RANGE, range);
	if (knob->persist != STOW_PERSIST_NONE)
		cli_row_text(row, PERSIST, stow_knob_persist_name(knob->persist));
	text_or_unknown(row, PARAMETER, knob->parameter);
	text_or_unknown(row, SINCE, knob->since);
}

int settings_print_table(const struct stow_knob_settings *settings, const struct cli_output *out,
			 bool all, struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	int r = cli_table_new(settings_columns, out, &table, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < settings->n; i++)
		if (all || (settings->list[i].state != STOW_KNOB_ABSENT &&
			    settings->list[i].state != STOW_KNOB_LEFT))
			add_row(table, &settings->list[i]);
	r = cli_table_print(table);
	return r < 0 ? stow_err_sys(err, -r, "printing settings") : 0;
}

/* --- one by one --------------------------------------------------------------------------- */

static void line(const char *key, const char *text)
{
	if (text && text[0])
		printf("  %-10s %s\n", key, text);
}

static void print_one(const struct stow_knob_setting *s)
{
	const struct stow_knob *knob = s->knob;
	char text[STOW_KNOB_TEXT + 32];

	printf("%s: %s\n", s->name, knob->meaning);
	if (is_present(s)) {
		snprintf(text, sizeof(text), "%s%s%s", s->value[0] ? s->value : "given",
			 knob->unit ? " " : "", knob->unit ? knob->unit : "");
		line("value", text);
	} else {
		snprintf(text, sizeof(text), "unknown: %s", s->why);
		if (s->state == STOW_KNOB_ABSENT)
			snprintf(text, sizeof(text), "none: %s", s->why);
		line("value", s->state == STOW_KNOB_LEFT ? s->why : text);
	}
	line("default", knob->fallback);
	line(knob->fallback ? "" : "default", knob->depends);
	if (range_of(s, text, sizeof(text)))
		line("valid", text);
	if (s->state != STOW_KNOB_LEFT)
		line("where", s->path);
	if (knob->persist == STOW_PERSIST_SYSCTL)
		line("at boot", STOW_SYSCTL_FILE);
	else if (knob->persist == STOW_PERSIST_TMPFILES)
		line("at boot", STOW_TMPFILES_FILE);
	if (knob->parameter) {
		snprintf(text, sizeof(text), "%s=", knob->parameter);
		line("parameter", text);
	}
	line("since", knob->since);
	if (s->state != STOW_KNOB_LEFT)
		line("instead", knob->instead);
}

void settings_print_each(const struct stow_knob_settings *settings)
{
	for (size_t i = 0; i < settings->n; i++) {
		if (i)
			putchar('\n');
		print_one(&settings->list[i]);
	}
}

/* --- JSON --------------------------------------------------------------------------------- */

/* A value by its kind: a number, a truth value, an array of numbers, or a string. */
static json_object *value_json(struct json_writer *w, const struct stow_knob *knob,
			       const char *text)
{
	json_object *list;
	uint64_t number;

	switch (knob->kind) {
	case STOW_KNOB_NUMBER:
		if (stow_parse_u64(text, UINT64_MAX, &number, NULL) == 0)
			return json_object_new_uint64(number);
		break;
	case STOW_KNOB_SWITCH:
		return json_object_new_boolean(strcasecmp(text, "1") == 0 ||
					       strcasecmp(text, "y") == 0 ||
					       strcasecmp(text, "true") == 0);
	case STOW_KNOB_LIST:
		list = json_object_new_array();
		for (const char *p = text; *p;) {
			char word[32];
			size_t len = strcspn(p, " ");

			snprintf(word, sizeof(word), "%.*s", (int)len, p);
			if (len && stow_parse_u64(word, UINT64_MAX, &number, NULL) == 0)
				json_append(w, list, json_object_new_uint64(number));
			p += len + (p[len] == ' ');
		}
		return list;
	case STOW_KNOB_WORD:
	case STOW_KNOB_RANGES:
	case STOW_KNOB_STRING:
		break;
	}
	return json_object_new_string(text);
}

static void put_choices(struct json_writer *w, json_object *o, const struct stow_knob_setting *s)
{
	json_object *list = json_object_new_array();
	char choices[STOW_KNOB_TEXT], *rest = choices;

	snprintf(choices, sizeof(choices), "%s", s->choices);
	for (size_t i = 0; !s->choices[0] && s->knob->words[i]; i++)
		stow_append(choices, sizeof(choices), "%s%s", i ? " " : "", s->knob->words[i]);
	for (char *word = strsep(&rest, " "); word; word = strsep(&rest, " "))
		if (word[0])
			json_append(w, list, json_object_new_string(word));
	json_put(w, o, "choices", list);
}

static json_object *setting_json(struct json_writer *w, const struct stow_knob_setting *s)
{
	const struct stow_knob *knob = s->knob;
	json_object *o = json_object_new_object();

	json_put(w, o, "name", json_object_new_string(s->name));
	json_put(w, o, "group", json_object_new_string(knob->group));
	json_put(w, o, "state", json_object_new_string(stow_knob_state_name(s->state)));
	if (is_present(s))
		json_put(w, o, "value", value_json(w, knob, s->value));
	else
		json_object_object_add(o, "value", NULL);
	if (knob->fallback)
		json_put(w, o, "default", value_json(w, knob, knob->fallback));
	else
		json_object_object_add(o, "default", NULL);
	json_put_text(w, o, "default_depends", knob->depends);
	json_put_text(w, o, "unit", knob->unit);
	if (knob->kind == STOW_KNOB_NUMBER && knob->max) {
		json_put(w, o, "min", json_object_new_uint64(knob->min));
		json_put(w, o, "max", json_object_new_uint64(knob->max));
	}
	if (knob->kind == STOW_KNOB_WORD)
		put_choices(w, o, s);
	json_put_text(w, o, "path", s->state == STOW_KNOB_LEFT ? NULL : s->path);
	json_put_text(w, o, "persist",
		      knob->persist ? stow_knob_persist_name(knob->persist) : NULL);
	json_put_text(w, o, "parameter", knob->parameter);
	json_put_text(w, o, "since", knob->since);
	json_put_text(w, o, "instead", knob->instead);
	json_put_text(w, o, "meaning", knob->meaning);
	json_put_text(w, o, "reason", s->why);
	return o;
}

int settings_print_json(const struct stow_knob_settings *settings)
{
	struct json_writer w;
	json_object *o = cli_output_object(&w), *list = json_object_new_array();

	for (size_t i = 0; i < settings->n; i++)
		json_append(&w, list, setting_json(&w, &settings->list[i]));
	json_put(&w, o, "settings", list);
	return json_print(&w, o);
}
