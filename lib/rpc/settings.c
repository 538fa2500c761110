/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fit.h"
#include "base/parse.h"
#include "base/read.h"
#include "base/yaml.h"

#define NAMES_MAX  64
#define HELP_WIDTH 79

/* "; did you mean X?", or nothing. */
static const char *hint(const struct stow_setting *settings, const char *name, char *buf,
			size_t size)
{
	const char *names[NAMES_MAX] = { NULL };
	size_t n = 0;
	int near;

	for (; settings->name && n < NAMES_MAX - 1; settings++)
		names[n++] = settings->name;
	near = stow_nearest(name, names);
	if (near < 0)
		return "";
	snprintf(buf, size, "; did you mean \"%s\"?", names[near]);
	return buf;
}

/* --- the file ----------------------------------------------------------------------------------- */

int stow_settings_parse(const struct stow_setting *settings, void *base, const char *text,
			size_t len, const char *name, struct stow_err *err)
{
	const struct stow_yaml_table table = { .settings = settings };

	return stow_yaml_parse(&table, base, text, len, name, err);
}

int stow_settings_load(const struct stow_setting *settings, void *base, const char *path,
		       bool optional, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	struct stow_err why = { 0 };
	size_t len = 0;
	int r = stow_read_file(path, STOW_YAML_MAX, &text, &len, &why);

	if (r == -ENOENT && optional)
		return 0;
	if (r < 0)
		return stow_err_move(err, r, &why);
	return stow_settings_parse(settings, base, text, len, path, err);
}

/* --- the command line --------------------------------------------------------------------------- */

static int own_index(const char *const *own, const char *name)
{
	for (int i = 0; own && own[i]; i++)
		if (strcmp(own[i], name) == 0)
			return i;
	return -1;
}

/* Return the index of the program's own option that a letter stands for, as in other commands. */
static int own_letter(const char *const *own, const char *argument)
{
	if (strcmp(argument, "-h") == 0)
		return own_index(own, "help");
	return strcmp(argument, "-V") == 0 ? own_index(own, "version") : -1;
}

int stow_settings_arguments(const struct stow_setting *settings, void *base, int argc, char **argv,
			    const char *const *own, bool *given, const char **ret_config,
			    const char **words, size_t *ret_n_words, struct stow_err *err)
{
	bool options = true;
	size_t n = 0;

	for (int i = 1; i < argc; i++) {
		const char *equals = strchr(argv[i], '='), *value;
		const struct stow_setting *s;
		char name[64], near[96];
		int at, r;

		if (words && options && strcmp(argv[i], "--") == 0) {
			options = false;
			continue;
		}
		at = options ? own_letter(own, argv[i]) : -1;
		if (at >= 0) {
			given[at] = true;
			continue;
		}
		if (words && (!options || argv[i][0] != '-' || argv[i][1] == '\0')) {
			words[n++] = argv[i];
			continue;
		}
		if (strncmp(argv[i], "--", 2) != 0 || argv[i][2] == '\0')
			return argv[i][0] == '-'
				       ? stow_err_set(err, EINVAL, "unrecognized option '%.64s'",
						      argv[i])
				       : stow_err_set(err, EINVAL, "\"%.64s\": unexpected argument",
						      argv[i]);
		snprintf(name, sizeof(name), "%.*s",
			 (int)(equals ? (size_t)(equals - argv[i]) : strlen(argv[i])) - 2,
			 argv[i] + 2);
		value = equals ? equals + 1 : NULL;
		at = own_index(own, name);
		s = stow_setting_find(settings, name);
		if (at >= 0) {
			if (value)
				return stow_err_set(err, EINVAL,
						    "option '--%s' doesn't allow an argument",
						    name);
			given[at] = true;
			continue;
		}
		if (!s && strcmp(name, "config") != 0)
			return stow_err_set(err, EINVAL, "unrecognized option '--%s'%s", name,
					    hint(settings, name, near, sizeof(near)));
		if (s && s->type == STOW_SETTING_SWITCH && !value)
			value = "true";
		if (!value && ++i < argc)
			value = argv[i];
		if (!value)
			return stow_err_set(err, EINVAL, "option '--%s' requires an argument",
					    name);
		if (!s) {
			*ret_config = value;
			continue;
		}
		r = stow_setting_set(s, base, value, err);
		if (r < 0)
			return stow_err_wrap(err, r, "--%s", name);
	}
	if (words)
		*ret_n_words = n;
	return 0;
}

int stow_settings_flags(const struct stow_setting *settings, void *base, int argc, char **argv,
			const char *const *own, bool *given, const char **ret_config,
			struct stow_err *err)
{
	return stow_settings_arguments(settings, base, argc, argv, own, given, ret_config, NULL,
				       NULL, err);
}

void stow_settings_help(const struct stow_setting *settings, int column, FILE *out)
{
	for (; settings->name; settings++) {
		char flag[96];

		snprintf(flag, sizeof(flag), "--%s%s%s", settings->name, settings->arg ? " " : "",
			 settings->arg ? settings->arg : "");
		stow_fit_print(out, 6, flag, column, settings->help, HELP_WIDTH);
	}
}
