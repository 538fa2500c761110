// SPDX-License-Identifier: Apache-2.0
#include "base/setting.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/idset.h"
#include "base/parse.h"

const struct stow_setting *stow_setting_find(const struct stow_setting *settings, const char *name)
{
	for (; settings->name; settings++)
		if (strcmp(settings->name, name) == 0)
			return settings;
	return NULL;
}

void stow_list_clear(char ***list)
{
	for (size_t i = 0; *list && (*list)[i]; i++)
		free((*list)[i]);
	free(*list);
	*list = NULL;
}

int stow_list_append(char ***list, const char *text, size_t len, struct stow_err *err)
{
	size_t n = 0;
	char **grown;

	while (*list && (*list)[n])
		n++;
	grown = reallocarray(*list, n + 2, sizeof(*grown));
	if (!grown)
		return stow_err_set(err, ENOMEM, "out of memory");
	*list = grown;
	grown[n + 1] = NULL;
	grown[n] = strndup(text, len);
	return grown[n] ? 0 : stow_err_set(err, ENOMEM, "out of memory");
}

/* Set a list from "a,b,c". */
static int set_list(char ***list, const char *text, struct stow_err *err)
{
	int r = 0;

	stow_list_clear(list);
	while (r == 0 && *text) {
		size_t len = strcspn(text, ",");

		if (len > 0)
			r = stow_list_append(list, text, len, err);
		text += len + (text[len] == ',');
	}
	return r;
}

static int set_text(const struct stow_setting *s, char **value, const char *text,
		    struct stow_err *err)
{
	size_t len = strlen(text);
	char *copy;

	if (len < s->min)
		return stow_err_set(err, EINVAL, "expected at least %" PRIu64 " byte%s", s->min,
				    s->min == 1 ? "" : "s");
	if (s->max && len > s->max)
		return stow_err_set(err, EINVAL, "\"%.64s...\" is longer than %" PRIu64 " bytes",
				    text, s->max);
	copy = strdup(text);
	if (!copy)
		return stow_err_set(err, ENOMEM, "out of memory");
	free(*value);
	*value = copy;
	return 0;
}

/* Format a bound in the setting's own unit. */
static const char *show(const struct stow_setting *s, uint64_t value, char *buf, size_t size)
{
	if (s->type == STOW_SETTING_SIZE)
		return stow_format_size(value, buf, size);
	if (s->type == STOW_SETTING_DURATION && value % STOW_SECOND)
		snprintf(buf, size, "%" PRIu64 "ms", value / STOW_MILLISECOND);
	else if (s->type == STOW_SETTING_DURATION)
		snprintf(buf, size, "%" PRIu64 "s", value / STOW_SECOND);
	else
		snprintf(buf, size, "%" PRIu64, value);
	return buf;
}

static int check_memory(const struct stow_setting *s, uint64_t bytes, const char *text,
			struct stow_err *err)
{
	char meant[32];

	if (bytes == 0 || bytes >= s->min)
		return 0;
	if (stow_quantity_meant(text, meant, sizeof(meant)))
		return stow_err_set(err, EINVAL,
				    "\"%.64s\" is less than a page of memory; did you mean \"%s\"?",
				    text, meant);
	return stow_err_set(err, EINVAL, "\"%.64s\" is less than a page of memory", text);
}

static int read_number(const struct stow_setting *s, const char *text, uint64_t *ret,
		       struct stow_err *err)
{
	if (s->type == STOW_SETTING_SIZE || s->type == STOW_SETTING_MEMORY)
		return stow_parse_quantity(text, ret, err);
	if (s->type == STOW_SETTING_DURATION)
		return stow_parse_duration(text, ret, err);
	if (stow_parse_u64(text, UINT64_MAX, ret, NULL) < 0)
		return stow_err_set(err, EINVAL, "\"%.64s\" is not a whole number", text);
	return 0;
}

static int set_number(const struct stow_setting *s, void *value, const char *text,
		      struct stow_err *err)
{
	uint64_t number, max = s->type == STOW_SETTING_COUNT && !s->max ? UINT32_MAX : s->max;
	char low[32], high[32];
	int r = read_number(s, text, &number, err);

	if (r == 0 && s->type == STOW_SETTING_MEMORY)
		r = check_memory(s, number, text, err);
	else if (r == 0 && number < s->min && !max)
		r = stow_err_set(err, EINVAL, "%.64s is less than %s", text,
				 show(s, s->min, low, sizeof(low)));
	else if (r == 0 && (number < s->min || (max && number > max)))
		r = stow_err_set(err, EINVAL, "%.64s is not between %s and %s", text,
				 show(s, s->min, low, sizeof(low)),
				 show(s, max, high, sizeof(high)));
	if (r < 0)
		return r;
	if (s->type == STOW_SETTING_COUNT)
		*(uint32_t *)value = (uint32_t)number;
	else
		*(uint64_t *)value = number;
	return 0;
}

static int set_switch(bool *value, const char *text, struct stow_err *err)
{
	static const char *const words[] = { "true", "false", "yes", "no", "on", "off" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(words); i++)
		if (strcmp(text, words[i]) == 0) {
			*value = i % 2 == 0;
			return 0;
		}
	return stow_err_set(err, EINVAL, "\"%.64s\" is neither true nor false", text);
}

static int set_word(const struct stow_setting *s, int *value, const char *text,
		    struct stow_err *err)
{
	char why[STOW_WHY_MAX];
	int i = stow_parse_word_why(text, s->words, why);

	if (i < 0)
		return stow_err_set(err, EINVAL, "\"%.64s\" %s", text, why);
	*value = i;
	return 0;
}

static int set_id(int *value, const char *text, struct stow_err *err)
{
	uint64_t id;

	if (strcmp(text, "*") == 0)
		*value = -1;
	else if (stow_parse_u64(text, STOW_IDSET_MAX - 1, &id, NULL) == 0)
		*value = (int)id;
	else
		return stow_err_set(err, EINVAL, "\"%.64s\" is neither a node's number nor \"*\"",
				    text);
	return 0;
}

static int set(const struct stow_setting *setting, void *value, const char *text,
	       struct stow_err *err)
{
	switch (setting->type) {
	case STOW_SETTING_TEXT:
		return set_text(setting, value, text, err);
	case STOW_SETTING_LIST:
		return set_list(value, text, err);
	case STOW_SETTING_SWITCH:
		return set_switch(value, text, err);
	case STOW_SETTING_WORD:
		return set_word(setting, value, text, err);
	case STOW_SETTING_IDS:
		return stow_idset_parse(text, value, err);
	case STOW_SETTING_ID:
		return set_id(value, text, err);
	default:
		return set_number(setting, value, text, err);
	}
}

int stow_setting_set(const struct stow_setting *setting, void *base, const char *text,
		     struct stow_err *err)
{
	int r = set(setting, (char *)base + setting->offset, text, err);

	if (r != -ERANGE)
		return r;
	/* Parsers of sets and sizes tell these apart; of a setting, both are a value to correct. */
	if (err)
		err->code = EINVAL;
	return -EINVAL;
}

void stow_settings_done(const struct stow_setting *settings, void *base)
{
	for (; settings->name; settings++) {
		void *value = (char *)base + settings->offset;

		if (settings->type == STOW_SETTING_TEXT) {
			free(*(char **)value);
			*(char **)value = NULL;
		} else if (settings->type == STOW_SETTING_LIST) {
			stow_list_clear(value);
		}
	}
}
