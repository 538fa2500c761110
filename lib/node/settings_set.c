// SPDX-License-Identifier: Apache-2.0
/* Setting: checking values, writing them with reading back, and keeping them over a boot. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"
#include "node/memory.h"
#include "node/settings_internal.h"

#define FILE_MAX (1U << 20)
#define HEADER	 "# Written by numastow settings --persist; lines of other settings stay.\n"

/* --- checking ----------------------------------------------------------------------------- */

/* Refuse a value. The error has the setting's name, the value, and what it must be. */
static int refuse(const struct stow_knob_setting *s, const char *text, int errnum,
		  const char *valid, struct stow_err *err)
{
	char quoted[64];

	return stow_err_set(err, errnum, "%s: \"%s\" is not valid; it must be %s", s->name,
			    stow_text_quote(text, quoted, sizeof(quoted)), valid);
}

static void describe_range(const struct stow_knob *knob, char *buf, size_t size)
{
	if (knob->max)
		snprintf(buf, size, "a number from %" PRIu64 " to %" PRIu64, knob->min, knob->max);
	else
		snprintf(buf, size, "a number from %" PRIu64, knob->min);
	if (knob->unit)
		stow_append(buf, size, " (%s)", knob->unit);
}

static int check_number(struct stow_root *root, const struct stow_knob_setting *s, const char *text,
			struct stow_err *err)
{
	const struct stow_knob *knob = s->knob;
	struct stow_meminfo memory = { 0 };
	_cleanup_free_ char *meminfo = NULL;
	char valid[160];
	uint64_t number;
	size_t len;

	describe_range(knob, valid, sizeof(valid));
	if (stow_parse_u64(text, UINT64_MAX, &number, NULL) < 0)
		return refuse(s, text, EINVAL, valid, err);
	if (number < knob->min || (knob->max && number > knob->max))
		return refuse(s, text, ERANGE, valid, err);
	if (!(knob->flags & STOW_KNOB_KEPT_FREE))
		return 0;
	if (stow_root_read(root, STOW_ROOT_READ_MAX, &meminfo, &len, NULL, "/proc/meminfo") < 0 ||
	    stow_meminfo_parse(meminfo, len, &memory, NULL) < 0 || !memory.total)
		return stow_err_set(
			err, EINVAL,
			"%s: the machine's memory is unknown (/proc/meminfo), and too high "
			"a value ends programs",
			s->name);
	if (number > memory.total / 4 >> 10) {
		snprintf(valid, sizeof(valid),
			 "at most %" PRIu64 ", a quarter of the memory in KiB: the kernel accepts "
			 "more, and ends programs at once",
			 memory.total / 4 >> 10);
		return refuse(s, text, ERANGE, valid, err);
	}
	return 0;
}

/* Check a word against those that this kernel lists, or else against the table's. */
static int check_word(const struct stow_knob_setting *s, const char *text, struct stow_err *err)
{
	char choices[STOW_KNOB_TEXT] = "", valid[STOW_KNOB_TEXT + 16];
	char *rest = choices;

	if (s->choices[0])
		snprintf(choices, sizeof(choices), "%s", s->choices);
	for (size_t i = 0; !s->choices[0] && s->knob->words[i]; i++)
		stow_append(choices, sizeof(choices), "%s%s", i ? " " : "", s->knob->words[i]);
	snprintf(valid, sizeof(valid), "one of %s", choices);
	for (char *word = strsep(&rest, " "); word; word = strsep(&rest, " "))
		if (strcmp(word, text) == 0)
			return 0;
	return refuse(s, text, EINVAL, valid, err);
}

/* Check a list of at most as many numbers as the kernel has: the rest keeps its value. */
static int check_list(struct stow_root *root, const struct stow_knob_setting *s, const char *text,
		      char ret[static STOW_KNOB_TEXT], struct stow_err *err)
{
	char copy[STOW_KNOB_TEXT], *rest = copy;
	char valid[96];
	int n = 0, have = 0;

	for (const char *p = s->value; *p; p++)
		have += isdigit((unsigned char)*p) && (p == s->value || p[-1] == ' ');
	snprintf(valid, sizeof(valid), "up to %d numbers, separated by blanks or commas", have);
	if (strlen(text) >= sizeof(copy))
		return refuse(s, text, EINVAL, valid, err);
	snprintf(copy, sizeof(copy), "%s", text);
	ret[0] = '\0';
	for (char *word = strsep(&rest, ", \t"); word; word = strsep(&rest, ", \t")) {
		int r;

		if (!word[0])
			continue;
		r = check_number(root, s, word, err);
		if (r < 0)
			return r;
		stow_append(ret, STOW_KNOB_TEXT, "%s%s", n++ ? " " : "", word);
	}
	return !n || n > have ? refuse(s, text, EINVAL, valid, err) : 0;
}

/* A kernel parameter's value is only checked for what would make it another parameter. */
static int check_parameter(const struct stow_knob_setting *s, const char *text,
			   struct stow_err *err)
{
	for (const char *p = text; *p; p++)
		if (!isgraph((unsigned char)*p) || *p == '"')
			return refuse(s, text, EINVAL, "printable, without blanks and quotes", err);
	if (!text[0])
		return refuse(s, text, EINVAL, "not empty", err);
	return 0;
}

static int is_settable(const struct stow_knob_setting *s, struct stow_err *err)
{
	const struct stow_knob *knob = s->knob;

	if (strchr(s->name, '*'))
		return stow_err_set(err, ENOENT, "%s: %s", s->name,
				    s->why[0] ? s->why : "name one of its settings");
	if (knob->flags & STOW_KNOB_GONE)
		return stow_err_set(err, EROFS, "%s: kernels do not have it any more; instead: %s",
				    s->name, knob->instead);
	if (knob->flags & STOW_KNOB_READ_ONLY && knob->instead)
		return stow_err_set(err, EROFS, "%s: it is not set here; instead: %s", s->name,
				    knob->instead);
	return 0;
}

int stow_knob_check(struct stow_root *root, const struct stow_knob_setting *setting,
		    const char *text, char ret[static STOW_KNOB_TEXT], struct stow_err *err)
{
	char value[STOW_KNOB_TEXT];
	bool on = false;
	int r = is_settable(setting, err);

	if (r < 0)
		return r;
	if (strlen(text) >= sizeof(value))
		return refuse(setting, text, EINVAL, "shorter", err);
	snprintf(value, sizeof(value), "%s", text);
	if (setting->knob->flags & STOW_KNOB_BOOT) {
		r = check_parameter(setting, text, err);
	} else if (setting->knob->kind == STOW_KNOB_NUMBER) {
		r = check_number(root, setting, text, err);
	} else if (setting->knob->kind == STOW_KNOB_SWITCH) {
		if (!stow_knob_is_switch(text, &on))
			return refuse(setting, text, EINVAL, "on or off (1 or 0)", err);
		snprintf(value, sizeof(value), "%d", on);
	} else if (setting->knob->kind == STOW_KNOB_WORD) {
		r = check_word(setting, text, err);
	} else if (setting->knob->kind == STOW_KNOB_LIST) {
		r = check_list(root, setting, text, value, err);
	} else {
		r = stow_err_set(err, EROFS, "%s: it cannot be set", setting->name);
	}
	if (r == 0)
		snprintf(ret, STOW_KNOB_TEXT, "%s", value);
	return r;
}

/* --- writing ------------------------------------------------------------------------------ */

/* Return whether what was read back is what was written. A shorter list leaves the rest alone. */
static bool is_equal(const struct stow_knob_setting *s, const char *written)
{
	bool a, b;

	switch (s->knob->kind) {
	case STOW_KNOB_SWITCH:
		return stow_knob_is_switch(s->value, &a) && stow_knob_is_switch(written, &b) &&
		       a == b;
	case STOW_KNOB_LIST: {
		size_t len = strlen(written);

		return strncmp(s->value, written, len) == 0 &&
		       (s->value[len] == '\0' || s->value[len] == ' ');
	}
	case STOW_KNOB_NUMBER: {
		uint64_t x, y;

		return stow_parse_u64(s->value, UINT64_MAX, &x, NULL) == 0 &&
		       stow_parse_u64(written, UINT64_MAX, &y, NULL) == 0 && x == y;
	}
	default:
		return strcmp(s->value, written) == 0;
	}
}

/* Add what is known about a failure to its text. */
static int write_failed(const struct stow_knob_setting *s, const char *value, int r,
			const struct stow_err *why, struct stow_err *err)
{
	if (r == -EACCES || r == -EPERM)
		return stow_err_set(err, -r, "%s=%s: only root can set it (%s)", s->name, value,
				    why->msg);
	if (r == -EBUSY && strcmp(s->name, "ksm/merge_across_nodes") == 0)
		return stow_err_set(err, EBUSY,
				    "%s=%s: pages are merged; take them apart first: "
				    "numastow settings ksm/run=2",
				    s->name, value);
	if (r == -EINVAL)
		return stow_err_set(err, EINVAL,
				    "%s=%s: this kernel does not accept the value (%s)", s->name,
				    value, why->msg);
	return stow_err_set(err, -r, "%s=%s: %s", s->name, value, why->msg);
}

int stow_knob_set(struct stow_root *root, struct stow_knob_setting *setting, const char *text,
		  struct stow_err *err)
{
	_cleanup_(stow_knob_settings_done) struct stow_knob_settings again = { 0 };
	struct stow_err why = { 0 };
	char value[STOW_KNOB_TEXT];
	int r = stow_knob_check(root, setting, text, value, err);

	if (r < 0)
		return r;
	if (setting->knob->flags & (STOW_KNOB_BOOT | STOW_KNOB_READ_ONLY))
		return stow_err_set(
			err, EROFS,
			"%s: it is set by the kernel parameter %s only; --persist prints "
			"what to add",
			setting->name, setting->knob->parameter);
	if (setting->state != STOW_KNOB_PRESENT)
		return stow_err_set(err, ENOENT, "%s: %s", setting->name, setting->why);
	r = stow_root_write(root, value, &why, "%s", setting->path);
	if (r < 0)
		return write_failed(setting, value, r, &why, err);
	r = stow_knobs_read_named(root, setting->path, &again, err);
	if (r < 0)
		return r;
	*setting = again.list[0];
	if (setting->state != STOW_KNOB_PRESENT)
		return stow_err_set(err, EIO, "%s=%s: written, but it cannot be read back: %s",
				    setting->name, value, setting->why);
	if (!is_equal(setting, value))
		return stow_err_set(err, EIO, "%s=%s: the kernel accepted it, but has %s",
				    setting->name, value, setting->value);
	return 0;
}

/* --- keeping over a boot ------------------------------------------------------------------ */

const char *stow_knob_parameter(const struct stow_knob_setting *setting, const char *value,
				char *buf, size_t size)
{
	const struct stow_knob *knob = setting->knob;
	bool on = strcmp(value, "0") != 0;

	if (!knob->parameter || strchr(knob->name, '*') ||
	    (knob->flags & STOW_KNOB_READ_ONLY && knob->instead))
		return NULL;
	/* Two parameters have words of their own. */
	if (!(knob->flags & STOW_KNOB_BOOT) && strcmp(knob->parameter, "numa_balancing") == 0)
		value = on ? "enable" : "disable";
	else if (!(knob->flags & STOW_KNOB_BOOT) &&
		 strcmp(knob->parameter, "hugetlb_free_vmemmap") == 0)
		value = on ? "on" : "off";
	snprintf(buf, size, "%s=%s", knob->parameter, value);
	/* This parameter has no value. */
	if (strcmp(knob->parameter, "movable_node") == 0)
		snprintf(buf, size, "movable_node");
	return buf;
}

/* Make the line of a setting, and the part of it by which an earlier line is found. */
static void make_line(const struct stow_knob_setting *s, const char *value, char *line,
		      size_t line_size, char *key, size_t key_size)
{
	if (s->knob->persist == STOW_PERSIST_SYSCTL) {
		snprintf(key, key_size, "%s", s->path + strlen("/proc/sys/"));
		for (char *p = key; *p; p++)
			if (*p == '/')
				*p = '.';
		snprintf(line, line_size, "%s = %s\n", key, value);
	} else {
		snprintf(key, key_size, "%s", s->path);
		snprintf(line, line_size, "w %s - - - - %s\n", s->path, value);
	}
}

/* Return whether a line of the file sets `key`: "KEY = VALUE", or "w PATH ...". */
static bool sets(const char *line, size_t len, const char *key)
{
	size_t at = strspn(line, " \t"), key_len = strlen(key);

	if (key[0] == '/') {
		if (at >= len || line[at] != 'w')
			return false;
		at += strcspn(line + at, " \t\n");
		at += strspn(line + at, " \t");
	}
	return at + key_len < len && strncmp(line + at, key, key_len) == 0 &&
	       strchr(" \t=", line[at + key_len]);
}

int stow_knob_persist(struct stow_root *root, const struct stow_knob_setting *setting,
		      const char *value, struct stow_err *err)
{
	bool sysctl = setting->knob->persist == STOW_PERSIST_SYSCTL;
	const char *path = sysctl ? STOW_SYSCTL_FILE : STOW_TMPFILES_FILE;
	_cleanup_free_ char *old = NULL, *text = NULL;
	struct stow_err why = { 0 };
	char line[STOW_KNOB_PATH + STOW_KNOB_TEXT + 32], key[STOW_KNOB_PATH];
	size_t size;
	int r;

	if (!sysctl && setting->knob->persist != STOW_PERSIST_TMPFILES)
		return stow_err_set(err, EOPNOTSUPP, "%s: it is not set from a file at boot",
				    setting->name);
	make_line(setting, value, line, sizeof(line), key, sizeof(key));
	r = stow_root_read(root, FILE_MAX, &old, NULL, &why, "%s", path);
	if (r < 0 && r != -ENOENT)
		return stow_err_move(err, r, &why);
	size = (old ? strlen(old) : sizeof(HEADER)) + sizeof(line) + 2;
	text = calloc(1, size);
	if (!text)
		return stow_err_sys(err, ENOMEM, "%s", path);
	if (!old)
		stow_append(text, size, "%s", HEADER);
	for (const char *p = old ? old : ""; *p;) {
		size_t len = strcspn(p, "\n");

		if (!sets(p, len, key))
			stow_append(text, size, "%.*s\n", (int)len, p);
		p += len + (p[len] == '\n');
	}
	stow_append(text, size, "%s", line);
	r = stow_root_mkdir(root, sysctl ? "/etc/sysctl.d" : "/etc/tmpfiles.d", err);
	return r < 0 ? r : stow_root_replace(root, path, text, 0644, err);
}
