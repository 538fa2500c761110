// SPDX-License-Identifier: Apache-2.0
/* Reading settings: which files there are, and what is in them. */
#include "node/settings.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"
#include "node/settings_internal.h"

#define CMDLINE_MAX 65536
#define DEBUGFS	    "/sys/kernel/debug"
#define MATCHES_MAX 4096 /* files of one knob with a '*' */

const char *stow_knob_state_name(enum stow_knob_state state)
{
	static const char *const names[] = {
		[STOW_KNOB_PRESENT] = "present", [STOW_KNOB_ABSENT] = "absent",
		[STOW_KNOB_HIDDEN] = "hidden",	 [STOW_KNOB_UNREADABLE] = "unreadable",
		[STOW_KNOB_LEFT] = "gone",
	};

	return names[state];
}

const char *stow_knob_persist_name(enum stow_knob_persist persist)
{
	static const char *const names[] = {
		[STOW_PERSIST_NONE] = "none",
		[STOW_PERSIST_SYSCTL] = "sysctl.d",
		[STOW_PERSIST_TMPFILES] = "tmpfiles.d",
		[STOW_PERSIST_PARAMETER] = "kernel-parameter",
	};

	return names[persist];
}

/* --- the kernel's command line ----------------------------------------------------------- */

/* Compare a parameter's name as the kernel does: '-' and '_' are the same. */
static bool is_parameter(const char *word, size_t len, const char *name)
{
	if (strlen(name) != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (word[i] != name[i] &&
		    !(strchr("-_", word[i]) && strchr("-_", name[i]) && word[i]))
			return false;
	return true;
}

int stow_cmdline_get(const char *cmdline, const char *name, char *buf, size_t size)
{
	int n = 0;

	buf[0] = '\0';
	for (const char *p = cmdline; *p;) {
		const char *word = p, *value = NULL;
		bool quoted = false;
		size_t len;

		for (; *p && (quoted || !isspace((unsigned char)*p)); p++) {
			if (*p == '"')
				quoted = !quoted;
			else if (*p == '=' && !value)
				value = p + 1;
		}
		len = (size_t)(p - word);
		/* What follows is for the first process. */
		if (len == 2 && strncmp(word, "--", 2) == 0)
			break;
		if (is_parameter(word, value ? (size_t)(value - word) - 1 : len, name))
			stow_append(buf, size, "%s%.*s", n++ ? " " : "",
				    value ? (int)(p - value) : 0, value ? value : "");
		p += strspn(p, " \t\n");
	}
	return n;
}

static void read_parameter(struct stow_root *root, struct stow_knob_setting *s)
{
	_cleanup_free_ char *cmdline = NULL;
	struct stow_err err = { 0 };

	snprintf(s->path, sizeof(s->path), "/proc/cmdline");
	if (stow_root_read(root, CMDLINE_MAX, &cmdline, NULL, &err, "/proc/cmdline") < 0) {
		s->state = STOW_KNOB_HIDDEN;
		snprintf(s->why, sizeof(s->why), "%s", err.msg);
		return;
	}
	if (!stow_cmdline_get(cmdline, s->knob->parameter, s->value, sizeof(s->value))) {
		s->state = STOW_KNOB_ABSENT;
		snprintf(s->why, sizeof(s->why), "not on the kernel's command line");
		return;
	}
	stow_text_clean(s->value, sizeof(s->value) - 1);
	s->state = STOW_KNOB_PRESENT;
}

/* --- values ----------------------------------------------------------------------------- */

bool stow_knob_is_switch(const char *text, bool *ret_on)
{
	static const char *const on[] = { "1", "y", "yes", "on", "true", "enable" };
	static const char *const off[] = { "0", "n", "no", "off", "false", "disable" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(on); i++)
		if (strcasecmp(text, on[i]) == 0 || strcasecmp(text, off[i]) == 0) {
			*ret_on = strcasecmp(text, on[i]) == 0;
			return true;
		}
	return false;
}

/* Take apart "always [madvise] never": the word in brackets, and all words. */
static bool take_bracketed(struct stow_knob_setting *s, const char *text)
{
	const char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;

	if (!close || close == open + 1)
		return false;
	snprintf(s->value, sizeof(s->value), "%.*s", (int)(close - open - 1), open + 1);
	for (const char *p = text; *p; p++)
		if (*p != '[' && *p != ']')
			stow_append(s->choices, sizeof(s->choices), "%c", *p);
	return true;
}

static bool is_numbers(const char *text)
{
	char copy[STOW_KNOB_TEXT], *rest = copy;
	uint64_t number;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strsep(&rest, " \t"); word; word = strsep(&rest, " \t"))
		if (word[0] && stow_parse_u64(word, UINT64_MAX, &number, NULL) < 0)
			return false;
	return text[0];
}

/* Put what the file has into `value`. False: it makes no sense. */
static bool take_value(struct stow_knob_setting *s, char *text)
{
	struct stow_idset set;
	uint64_t number;
	bool on;

	for (size_t len = strlen(text); len && isspace((unsigned char)text[len - 1]); len--)
		text[len - 1] = '\0';
	snprintf(s->value, sizeof(s->value), "%s", text);
	switch (s->knob->kind) {
	case STOW_KNOB_NUMBER:
		return stow_parse_u64(text, UINT64_MAX, &number, NULL) == 0;
	case STOW_KNOB_SWITCH:
		return stow_knob_is_switch(text, &on);
	case STOW_KNOB_WORD:
		if (strchr(text, '['))
			return take_bracketed(s, text);
		return text[0] && strspn(text, "abcdefghijklmnopqrstuvwxyz_-+NY") == strlen(text);
	case STOW_KNOB_LIST:
		for (char *p = s->value; *p; p++)
			if (*p == '\t')
				*p = ' ';
		return is_numbers(text);
	case STOW_KNOB_RANGES:
		return stow_idset_parse(text, &set, NULL) == 0;
	case STOW_KNOB_STRING:
		return text[0] && strlen(text) == strcspn(text, "\n");
	}
	return false;
}

/* Say why a file cannot be found. Without its file system that does not mean that the kernel lacks
 * it. */
static void explain_missing(struct stow_root *root, struct stow_knob_setting *s)
{
	const char *mount = strncmp(s->path, "/proc/", 6) == 0 ? "/proc/sys" : "/sys";
	int r = stow_root_exists(root, "%s", mount);

	if (r != 1) {
		s->state = STOW_KNOB_HIDDEN;
		snprintf(s->why, sizeof(s->why), "%s %s", mount,
			 r == 0 ? "is not there" : "cannot be read");
		return;
	}
	s->state = STOW_KNOB_ABSENT;
	snprintf(s->why, sizeof(s->why), "this kernel does not have it%s%s%s",
		 s->knob->since ? " (since " : "", s->knob->since ? s->knob->since : "",
		 s->knob->since ? ")" : "");
	if (strncmp(s->path, DEBUGFS "/", strlen(DEBUGFS "/")) != 0)
		return;
	r = stow_root_exists(root, DEBUGFS "/sched");
	if (r == 1)
		return;
	s->state = STOW_KNOB_HIDDEN;
	snprintf(s->why, sizeof(s->why), "%s",
		 r == -EACCES ? "only root can read " DEBUGFS
			      : "debugfs is not mounted on " DEBUGFS ", or the kernel has none");
}

static void read_file(struct stow_root *root, struct stow_knob_setting *s)
{
	struct stow_err err = { 0 };
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	/* Read from the start to the end: files of debugfs know no positions. */
	int r = stow_root_read(root, STOW_KNOB_TEXT - 1, &text, &len, &err, "%s", s->path);

	if (r == -ENOENT || r == -ENOTDIR) {
		explain_missing(root, s);
		return;
	}
	if (r == -EACCES || r == -EPERM) {
		s->state = STOW_KNOB_HIDDEN;
		snprintf(s->why, sizeof(s->why), "only root can read %s", s->path);
		return;
	}
	if (r < 0) {
		s->state = STOW_KNOB_UNREADABLE;
		snprintf(s->why, sizeof(s->why), "%s", err.msg);
		return;
	}
	if (strlen(text) != len || !take_value(s, text)) {
		char quoted[64];

		s->state = STOW_KNOB_UNREADABLE;
		stow_text_ascii(text);
		snprintf(s->why, sizeof(s->why), "%s has \"%s\", which is not a valid value",
			 s->path, stow_text_quote(text, quoted, sizeof(quoted)));
		s->value[0] = s->choices[0] = '\0';
		return;
	}
	stow_text_clean(s->value, sizeof(s->value) - 1);
	stow_text_clean(s->choices, sizeof(s->choices) - 1);
	s->state = STOW_KNOB_PRESENT;
}

/* Replace the '*' of a pattern by a number. */
static void fill_in(char *buf, size_t size, const char *pattern, uint64_t number)
{
	const char *star = strchr(pattern, '*');

	snprintf(buf, size, "%.*s%" PRIu64 "%s", (int)(star - pattern), pattern, number, star + 1);
}

/* Return whether a folder's entry fits the component with the '*', and the number in it. */
static bool fits(const char *entry, const char *component, size_t len, uint64_t *ret)
{
	size_t before = strcspn(component, "*"), after = len - before - 1, n = strlen(entry);
	char digits[24];

	if (n <= before + after || n - before - after >= sizeof(digits) ||
	    strncmp(entry, component, before) != 0 ||
	    strncmp(entry + n - after, component + before + 1, after) != 0)
		return false;
	memcpy(digits, entry + before, n - before - after);
	digits[n - before - after] = '\0';
	return stow_parse_u64(digits, UINT64_MAX, ret, NULL) == 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Collect the numbers for which a path with a '*' exists, ascending. */
static int list_numbers(struct stow_root *root, const char *path, uint64_t **ret, size_t *ret_n,
			struct stow_err *err)
{
	const char *star = strchr(path, '*'), *component = star, *rest = strchr(star, '/');
	_cleanup_closedir_ DIR *dir = NULL;
	size_t len;
	struct dirent *e;

	*ret = NULL;
	*ret_n = 0;
	while (component[-1] != '/')
		component--;
	len = rest ? (size_t)(rest - component) : strlen(component);
	dir = stow_root_opendir(root, NULL, "%.*s", (int)(component - 1 - path), path);
	if (!dir)
		return 0;
	while (*ret_n < MATCHES_MAX && (e = readdir(dir))) {
		char full[STOW_KNOB_PATH];
		uint64_t number, *place;

		if (!fits(e->d_name, component, len, &number))
			continue;
		/* A size of shared memory only has no file for other memory. */
		fill_in(full, sizeof(full), path, number);
		if (stow_root_exists(root, "%s", full) == 0)
			continue;
		place = STOW_APPEND(*ret, *ret_n);
		if (!place)
			return stow_err_sys(err, ENOMEM, "settings");
		*place = number;
	}
	if (*ret_n)
		qsort(*ret, *ret_n, sizeof(**ret), by_number);
	return 0;
}

static struct stow_knob_setting *append(struct stow_knob_settings *list,
					const struct stow_knob *knob)
{
	struct stow_knob_setting *s = STOW_APPEND(list->list, list->n);

	if (s) {
		s->knob = knob;
		snprintf(s->name, sizeof(s->name), "%s", knob->name);
	}
	return s;
}

/* Find the place of a knob without a '*': the first path that exists, else the newest. */
static void find_path(struct stow_root *root, struct stow_knob_setting *s)
{
	snprintf(s->path, sizeof(s->path), "%s", s->knob->paths[0]);
	for (size_t i = 0; i < STOW_KNOB_PATHS && s->knob->paths[i]; i++)
		if (stow_root_exists(root, "%s", s->knob->paths[i]) == 1) {
			snprintf(s->path, sizeof(s->path), "%s", s->knob->paths[i]);
			return;
		}
}

static void read_one(struct stow_root *root, struct stow_knob_setting *s)
{
	read_file(root, s);
	if (s->state == STOW_KNOB_ABSENT && (s->knob->flags & STOW_KNOB_GONE)) {
		s->state = STOW_KNOB_LEFT;
		snprintf(s->why, sizeof(s->why), "gone; instead: %s", s->knob->instead);
	}
}

/* Append the settings of one knob: one for each number that its '*' can be. */
static int read_knob(struct stow_root *root, const struct stow_knob *knob,
		     struct stow_knob_settings *ret, struct stow_err *err)
{
	_cleanup_free_ uint64_t *numbers = NULL;
	struct stow_knob_setting *s;
	size_t n = 0;
	int r;

	if (knob->flags & STOW_KNOB_BOOT || !strchr(knob->paths[0], '*')) {
		s = append(ret, knob);
		if (!s)
			return stow_err_sys(err, ENOMEM, "settings");
		if (knob->flags & STOW_KNOB_BOOT) {
			read_parameter(root, s);
		} else {
			find_path(root, s);
			read_one(root, s);
		}
		return 0;
	}
	r = list_numbers(root, knob->paths[0], &numbers, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n || i == 0; i++) {
		s = append(ret, knob);
		if (!s)
			return stow_err_sys(err, ENOMEM, "settings");
		snprintf(s->path, sizeof(s->path), "%s", knob->paths[0]);
		if (!n) {
			explain_missing(root, s);
			break;
		}
		fill_in(s->name, sizeof(s->name), knob->name, numbers[i]);
		fill_in(s->path, sizeof(s->path), knob->paths[0], numbers[i]);
		read_one(root, s);
	}
	return 0;
}

void stow_knob_settings_done(struct stow_knob_settings *settings)
{
	free(settings->list);
	*settings = (struct stow_knob_settings){ 0 };
}

int stow_knobs_read(struct stow_root *root, struct stow_knob_settings *ret, struct stow_err *err)
{
	struct stow_knob_settings list = { 0 };
	const struct stow_knob *knobs;
	size_t n;
	int r = 0;

	knobs = stow_knobs(&n);
	for (size_t i = 0; i < n && r == 0; i++)
		r = read_knob(root, &knobs[i], &list, err);
	if (r < 0) {
		stow_knob_settings_done(&list);
		return r;
	}
	*ret = list;
	return 0;
}

/* --- names ------------------------------------------------------------------------------- */

/* Return whether `name` is the setting's name or its path, or what sysctl(8) calls it. */
static bool is_named(const struct stow_knob_setting *s, const char *name)
{
	char dotted[STOW_KNOB_PATH];

	if (strcmp(s->name, name) == 0 || strcmp(s->knob->name, name) == 0 ||
	    strcmp(s->path, name) == 0)
		return true;
	for (size_t i = 0; i < STOW_KNOB_PATHS && s->knob->paths[i]; i++) {
		const char *path = s->knob->paths[i];

		if (strcmp(path, name) == 0)
			return true;
		if (strncmp(path, "/proc/sys/", 10) != 0)
			continue;
		snprintf(dotted, sizeof(dotted), "%s", path + 10);
		if (strcmp(dotted, name) == 0)
			return true;
		for (char *p = dotted; *p; p++)
			if (*p == '/')
				*p = '.';
		if (strcmp(dotted, name) == 0)
			return true;
	}
	return false;
}

static int not_found(const struct stow_knob_settings *all, const char *name, struct stow_err *err)
{
	_cleanup_free_ const char **names = calloc(all->n + 1, sizeof(*names));
	char quoted[STOW_KNOB_NAME];
	int near = -1;

	stow_text_quote(name, quoted, sizeof(quoted));
	for (size_t i = 0; names && i < all->n; i++)
		names[i] = all->list[i].name;
	if (names && strlen(name) < STOW_KNOB_NAME)
		near = stow_nearest(name, names);
	if (near >= 0)
		return stow_err_set(err, ENOENT, "there is no setting \"%s\", did you mean \"%s\"?",
				    quoted, names[near]);
	return stow_err_set(err, ENOENT,
			    "there is no setting \"%s\"; 'numastow settings' lists them", quoted);
}

int stow_knobs_read_named(struct stow_root *root, const char *name, struct stow_knob_settings *ret,
			  struct stow_err *err)
{
	_cleanup_(stow_knob_settings_done) struct stow_knob_settings all = { 0 };
	const char *given = name;
	char parameter[STOW_KNOB_NAME];
	size_t n = 0;
	int r = stow_knobs_read(root, &all, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < all.n; i++)
		n += is_named(&all.list[i], name);
	/* Of numa_balancing, a sysctl and a kernel parameter, the parameter is numa_balancing=. */
	if (!n && strlen(name) < sizeof(parameter) - 1) {
		snprintf(parameter, sizeof(parameter), "%s=", name);
		name = parameter;
		for (size_t i = 0; i < all.n; i++)
			n += is_named(&all.list[i], name);
	}
	if (!n)
		return not_found(&all, given, err);
	ret->list = calloc(n, sizeof(*ret->list));
	if (!ret->list)
		return stow_err_sys(err, ENOMEM, "settings");
	ret->n = 0;
	for (size_t i = 0; i < all.n; i++)
		if (is_named(&all.list[i], name))
			ret->list[ret->n++] = all.list[i];
	return 0;
}
