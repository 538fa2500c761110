/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define FILE_MAX  (1U << 20) /* bytes */
#define NAMES_MAX 64

static const struct stow_setting *find(const struct stow_setting *settings, const char *name)
{
	for (; settings->name; settings++)
		if (strcmp(settings->name, name) == 0)
			return settings;
	return NULL;
}

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

/* --- one value ---------------------------------------------------------------------------------- */

/* A bound in the setting's own unit. */
static const char *show(const struct stow_setting *s, uint64_t value, char *buf, size_t size)
{
	if (s->type == STOW_SETTING_SIZE)
		return stow_format_size(value, buf, size);
	if (s->type == STOW_SETTING_DURATION && value % 1000000000)
		snprintf(buf, size, "%" PRIu64 "ms", value / 1000000);
	else if (s->type == STOW_SETTING_DURATION)
		snprintf(buf, size, "%" PRIu64 "s", value / 1000000000);
	else
		snprintf(buf, size, "%" PRIu64, value);
	return buf;
}

static int set_number(const struct stow_setting *s, uint64_t *value, const char *text,
		      const char *where, struct stow_err *err)
{
	static const char *const kinds[] = {
		[STOW_SETTING_NUMBER] = "a whole number",
		[STOW_SETTING_DURATION] = "a time such as 500ms, 1s, 5m or 2h",
		[STOW_SETTING_SIZE] = "a size such as 64Mi",
	};
	char low[32], high[32], meant[32];
	uint64_t parsed;
	int r = s->type == STOW_SETTING_NUMBER ? stow_parse_u64(text, UINT64_MAX, &parsed, NULL)
		: s->type == STOW_SETTING_SIZE ? stow_parse_quantity(text, &parsed, NULL)
					       : stow_parse_duration(text, &parsed, NULL);

	if (r < 0 && s->type == STOW_SETTING_SIZE &&
	    stow_quantity_meant(text, meant, sizeof(meant)))
		return stow_err_set(err, EINVAL, "%s%s: \"%.64s\" is not %s; did you mean \"%s\"?",
				    where, s->name, text, kinds[s->type], meant);
	if (r < 0)
		return stow_err_set(err, EINVAL, "%s%s: \"%.64s\" is not %s", where, s->name, text,
				    kinds[s->type]);
	if (parsed < s->min && !s->max)
		return stow_err_set(err, EINVAL, "%s%s: %.64s is less than %s", where, s->name,
				    text, show(s, s->min, low, sizeof(low)));
	if (parsed < s->min || (s->max && parsed > s->max))
		return stow_err_set(err, EINVAL, "%s%s: %.64s is not between %s and %s", where,
				    s->name, text, show(s, s->min, low, sizeof(low)),
				    show(s, s->max, high, sizeof(high)));
	*value = parsed;
	return 0;
}

static int set_word(const struct stow_setting *s, int *value, const char *text, const char *where,
		    struct stow_err *err)
{
	char all[256] = "";

	for (int i = 0; s->words[i]; i++) {
		size_t len = strlen(all);

		if (strcmp(s->words[i], text) == 0) {
			*value = i;
			return 0;
		}
		snprintf(all + len, sizeof(all) - len, "%s\"%s\"", i ? ", " : "", s->words[i]);
	}
	return stow_err_set(err, EINVAL, "%s%s: \"%.64s\" is none of %s", where, s->name, text,
			    all);
}

static void free_list(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

static int add_entry(char ***list, const char *text, size_t len, struct stow_err *err)
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

/* "a,b,c", on a command line. */
static int set_list(char ***list, const char *text, struct stow_err *err)
{
	int r = 0;

	free_list(*list);
	*list = NULL;
	while (r == 0 && *text) {
		size_t len = strcspn(text, ",");

		if (len > 0)
			r = add_entry(list, text, len, err);
		text += len + (text[len] == ',');
	}
	return r;
}

/* `where` is "FILE:LINE: " or "--". */
static int set(const struct stow_setting *s, void *base, const char *text, const char *where,
	       struct stow_err *err)
{
	void *value = (char *)base + s->offset;
	char *copy;

	switch (s->type) {
	case STOW_SETTING_TEXT:
		copy = strdup(text);
		if (!copy)
			return stow_err_set(err, ENOMEM, "out of memory");
		free(*(char **)value);
		*(char **)value = copy;
		return 0;
	case STOW_SETTING_LIST:
		return set_list(value, text, err);
	case STOW_SETTING_SWITCH:
		if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
			return stow_err_set(err, EINVAL,
					    "%s%s: \"%.64s\" is neither true nor false", where,
					    s->name, text);
		*(bool *)value = text[0] == 't';
		return 0;
	case STOW_SETTING_WORD:
		return set_word(s, value, text, where, err);
	default:
		return set_number(s, value, text, where, err);
	}
}

/* --- the file ----------------------------------------------------------------------------------- */

/* Texts end at a NUL; what is behind one must not be lost. */
static bool has_nul(const yaml_node_t *scalar)
{
	return memchr(scalar->data.scalar.value, '\0', scalar->data.scalar.length) != NULL;
}

static int refuse_nul(const char *where, const char *name, struct stow_err *err)
{
	return stow_err_set(err, EINVAL, "%s%s: a NUL byte cannot be part of it", where, name);
}

static int set_node(const struct stow_setting *s, void *base, yaml_document_t *doc,
		    const yaml_node_t *node, const char *where, struct stow_err *err)
{
	char ***list = (char ***)((char *)base + s->offset);
	int r = 0;

	if (node->type == YAML_SCALAR_NODE && has_nul(node))
		return refuse_nul(where, s->name, err);
	if (node->type == YAML_SCALAR_NODE)
		return set(s, base, (const char *)node->data.scalar.value, where, err);
	if (node->type != YAML_SEQUENCE_NODE || s->type != STOW_SETTING_LIST)
		return stow_err_set(err, EINVAL, "%s%s: want %s", where, s->name,
				    s->type == STOW_SETTING_LIST ? "a list" : "one value");
	free_list(*list);
	*list = NULL;
	for (const yaml_node_item_t *i = node->data.sequence.items.start;
	     i < node->data.sequence.items.top && r == 0; i++) {
		const yaml_node_t *entry = yaml_document_get_node(doc, *i);

		if (!entry || entry->type != YAML_SCALAR_NODE)
			return stow_err_set(err, EINVAL, "%s%s: want a list of plain values", where,
					    s->name);
		if (has_nul(entry))
			return refuse_nul(where, s->name, err);
		r = add_entry(list, (const char *)entry->data.scalar.value,
			      entry->data.scalar.length, err);
	}
	return r;
}

static int set_pair(const struct stow_setting *settings, void *base, yaml_document_t *doc,
		    const yaml_node_pair_t *pair, const char *name, uint64_t *seen,
		    struct stow_err *err)
{
	const yaml_node_t *key = yaml_document_get_node(doc, pair->key);
	const yaml_node_t *value = yaml_document_get_node(doc, pair->value);
	const struct stow_setting *s;
	char where[4200], near[96];
	const char *text;

	snprintf(where, sizeof(where), "%s:%zu: ", name, key ? key->start_mark.line + 1 : 1);
	if (!key || !value || key->type != YAML_SCALAR_NODE || has_nul(key))
		return stow_err_set(err, EINVAL, "%swant KEY: VALUE", where);
	text = (const char *)key->data.scalar.value;
	s = find(settings, text);
	if (!s)
		return stow_err_set(err, EINVAL, "%sunknown key \"%.64s\"%s", where, text,
				    hint(settings, text, near, sizeof(near)));
	if (*seen & UINT64_C(1) << (s - settings))
		return stow_err_set(err, EINVAL, "%s\"%s\" is given twice", where, s->name);
	*seen |= UINT64_C(1) << (s - settings);
	return set_node(s, base, doc, value, where, err);
}

static int set_document(const struct stow_setting *settings, void *base, yaml_document_t *doc,
			const char *name, struct stow_err *err)
{
	const yaml_node_t *top = yaml_document_get_root_node(doc);
	uint64_t seen = 0;
	int r = 0;

	if (!top || (top->type == YAML_SCALAR_NODE && top->data.scalar.length == 0))
		return 0; /* comments only */
	if (top->type != YAML_MAPPING_NODE)
		return stow_err_set(err, EINVAL, "%s:%zu: want lines of KEY: VALUE", name,
				    top->start_mark.line + 1);
	for (const yaml_node_pair_t *p = top->data.mapping.pairs.start;
	     p < top->data.mapping.pairs.top && r == 0; p++)
		r = set_pair(settings, base, doc, p, name, &seen, err);
	return r;
}

int stow_settings_parse(const struct stow_setting *settings, void *base, const char *text,
			size_t len, const char *name, struct stow_err *err)
{
	yaml_document_t doc, more;
	yaml_parser_t parser;
	int r;

	if (!yaml_parser_initialize(&parser))
		return stow_err_set(err, ENOMEM, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (yaml_parser_load(&parser, &doc)) {
		r = set_document(settings, base, &doc, name, err);
		yaml_document_delete(&doc);
		if (r == 0 && yaml_parser_load(&parser, &more)) {
			if (yaml_document_get_root_node(&more))
				r = stow_err_set(err, EINVAL, "%s:%zu: a second document; want one",
						 name, more.start_mark.line + 1);
			yaml_document_delete(&more);
		}
	} else {
		r = stow_err_set(err, EINVAL, "%s:%zu: this is not YAML: %s", name,
				 parser.problem_mark.line + 1,
				 parser.problem ? parser.problem : "unreadable");
	}
	yaml_parser_delete(&parser);
	return r;
}

int stow_settings_load(const struct stow_setting *settings, void *base, const char *path,
		       bool optional, struct stow_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	ssize_t n;

	if (fd < 0 && errno == ENOENT && optional)
		return 0;
	text = fd < 0 ? NULL : malloc(FILE_MAX + 1);
	if (!text)
		return stow_err_sys(err, errno, "cannot read %s", path);
	while ((n = read(fd, text + len, FILE_MAX + 1 - len)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return stow_err_sys(err, errno, "cannot read %s", path);
		len += (size_t)n;
		if (len > FILE_MAX)
			return stow_err_set(err, EFBIG, "%s is over 1 MiB", path);
	}
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
		if (words && (!options || argv[i][0] != '-' || argv[i][1] == '\0')) {
			words[n++] = argv[i];
			continue;
		}
		if (strncmp(argv[i], "--", 2) != 0 || argv[i][2] == '\0')
			return stow_err_set(err, EINVAL, "\"%.64s\" is not an option; try --help",
					    argv[i]);
		snprintf(name, sizeof(name), "%.*s",
			 (int)(equals ? (size_t)(equals - argv[i]) : strlen(argv[i])) - 2,
			 argv[i] + 2);
		value = equals ? equals + 1 : NULL;
		at = own_index(own, name);
		s = find(settings, name);
		if (at >= 0) {
			if (value)
				return stow_err_set(err, EINVAL, "--%s takes no value", name);
			given[at] = true;
			continue;
		}
		if (!s && strcmp(name, "config") != 0)
			return stow_err_set(err, EINVAL, "unknown option --%s%s", name,
					    hint(settings, name, near, sizeof(near)));
		if (s && s->type == STOW_SETTING_SWITCH && !value)
			value = "true";
		if (!value && ++i < argc)
			value = argv[i];
		if (!value)
			return stow_err_set(err, EINVAL, "--%s wants a value", name);
		if (!s) {
			*ret_config = value;
			continue;
		}
		r = set(s, base, value, "--", err);
		if (r < 0)
			return r;
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

void stow_settings_help(const struct stow_setting *settings, FILE *out)
{
	for (; settings->name; settings++) {
		char flag[96];

		snprintf(flag, sizeof(flag), "--%s%s%s", settings->name, settings->arg ? " " : "",
			 settings->arg ? settings->arg : "");
		fprintf(out, "  %-34s %s\n", flag, settings->help);
	}
}

void stow_settings_done(const struct stow_setting *settings, void *base)
{
	for (; settings->name; settings++) {
		void *value = (char *)base + settings->offset;

		if (settings->type == STOW_SETTING_TEXT) {
			free(*(char **)value);
			*(char **)value = NULL;
		} else if (settings->type == STOW_SETTING_LIST) {
			free_list(*(char ***)value);
			*(char ***)value = NULL;
		}
	}
}
