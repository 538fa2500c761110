// SPDX-License-Identifier: Apache-2.0
/* numastow settings: the kernel's NUMA-related settings, shown and set. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/view/settings_view.h"
#include "cli/view/view.h"

struct asked {
	struct cli_output out;
	bool all, persist;
	char **words;
	int n_words;
};

/* A setting that is to be set, or kept as it is (no value). */
struct change {
	struct stow_knob_setting setting;
	const char *value;	      /* as given; NULL: only kept over a boot */
	char checked[STOW_KNOB_TEXT]; /* as the kernel wants it */
	char before[STOW_KNOB_TEXT];
};

struct changes {
	struct change *list;
	size_t n;
};

static void changes_done(struct changes *changes)
{
	free(changes->list);
}

/* --- showing ------------------------------------------------------------------------------ */

/* Say in one line for how many settings there is no value, and why for the first. */
static void say_hidden(const struct stow_knob_settings *settings)
{
	const struct stow_knob_setting *first = NULL;
	size_t n = 0;

	for (size_t i = 0; i < settings->n; i++)
		if (settings->list[i].state == STOW_KNOB_HIDDEN ||
		    settings->list[i].state == STOW_KNOB_UNREADABLE) {
			first = first ? first : &settings->list[i];
			n++;
		}
	if (n == 1)
		fprintf(stderr, "numastow: %s is unknown: %s\n", first->name, first->why);
	else if (n)
		fprintf(stderr, "numastow: %s and %zu more are unknown: %s\n", first->name, n - 1,
			first->why);
}

/* Collect the settings of all words, or all. A word that names none is reported. */
static int find_settings(struct stow_root *root, const struct asked *asked,
			 struct stow_knob_settings *ret, size_t *ret_failed, struct stow_err *err)
{
	if (!asked->n_words)
		return stow_knobs_read(root, ret, err);
	for (int i = 0; i < asked->n_words; i++) {
		_cleanup_(stow_knob_settings_done) struct stow_knob_settings some = { 0 };
		int r = stow_knobs_read_named(root, asked->words[i], &some, err);

		if (r == -ENOENT) {
			(void)cli_fail(err);
			++*ret_failed;
			continue;
		}
		for (size_t k = 0; r == 0 && k < some.n; k++) {
			struct stow_knob_setting *place = STOW_APPEND(ret->list, ret->n);

			if (!place)
				return stow_err_sys(err, ENOMEM, "settings");
			*place = some.list[k];
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Return whether a setting is not of a NUMA node, or of one that was asked for. */
static bool is_wanted(const struct cli_output *out, const struct stow_knob_setting *s)
{
	const char *star = strstr(s->knob->name, "node*");
	uint64_t node;

	if (!star || strchr(s->name, '*'))
		return true;
	return stow_parse_u64(s->name + (star - s->knob->name) + 4, STOW_IDSET_MAX - 1, &node,
			      NULL) < 0 ||
	       cli_output_wants_node(out, (int)node);
}

static int show_once(void *data)
{
	const struct asked *asked = data;
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	_cleanup_(stow_knob_settings_done) struct stow_knob_settings settings = { 0 };
	const struct cli_output *out = &asked->out;
	struct stow_err err = { 0 };
	size_t n, failed = 0;
	int r;

	r = stow_root_open(out->sysroot, &root, &err);
	if (r == 0)
		r = find_settings(root, asked, &settings, &failed, &err);
	if (r < 0)
		return cli_fail(&err);
	if (failed && !settings.n)
		return CLI_FAILED;
	if (out->quiet)
		return failed ? CLI_PARTIAL : CLI_OK;
	for (size_t i = n = 0; i < settings.n; i++)
		if (is_wanted(out, &settings.list[i]))
			settings.list[n++] = settings.list[i];
	settings.n = n;
	if (out->json) {
		r = settings_print_json(&settings);
		if (r < 0)
			(void)stow_err_sys(&err, -r, "printing settings");
	} else if (asked->n_words && !out->columns && !out->all && !out->pairs && !out->raw) {
		settings_print_each(&settings);
	} else {
		r = settings_print_table(&settings, out, asked->all || asked->n_words, &err);
		if (r == 0 && !asked->n_words)
			say_hidden(&settings);
	}
	if (r < 0)
		return cli_table_printed("settings", r, &err);
	return failed ? CLI_PARTIAL : CLI_OK;
}

/* --- setting ------------------------------------------------------------------------------ */

/* Find the settings of "NAME=VALUE", and check the value for each. */
static int plan_word(struct stow_root *root, const struct asked *asked, char *word,
		     struct changes *changes, struct stow_err *err)
{
	_cleanup_(stow_knob_settings_done) struct stow_knob_settings some = { 0 };
	char *equals = strchr(word, '=');
	const char *value = NULL;
	int r;

	/* Behind the name of a kernel parameter, "=" belongs to the name. */
	if (equals && equals[1]) {
		*equals = '\0';
		value = equals + 1;
	}
	r = stow_knobs_read_named(root, word, &some, err);
	for (size_t i = 0; r == 0 && i < some.n; i++) {
		struct change *c = STOW_APPEND(changes->list, changes->n);

		if (!c)
			return stow_err_sys(err, ENOMEM, "settings");
		c->setting = some.list[i];
		c->value = value;
		snprintf(c->before, sizeof(c->before), "%s", some.list[i].value);
		if (!value && c->setting.state != STOW_KNOB_PRESENT)
			return stow_err_set(err, ENOENT, "%s: %s", c->setting.name, c->setting.why);
		r = stow_knob_check(root, &c->setting, value ? value : c->before, c->checked, err);
		if (r == 0 && value && !asked->persist &&
		    c->setting.knob->flags & (STOW_KNOB_BOOT | STOW_KNOB_READ_ONLY))
			return stow_err_set(
				err, EROFS,
				"%s: it is set by the kernel parameter %s only; --persist "
				"prints what to add",
				c->setting.name, c->setting.knob->parameter);
		if (r == 0 && value && c->setting.state != STOW_KNOB_PRESENT &&
		    !(c->setting.knob->flags & STOW_KNOB_BOOT))
			return stow_err_set(err, ENOENT, "%s: %s", c->setting.name, c->setting.why);
	}
	return r;
}

static bool is_set_now(const struct change *c)
{
	return c->value && !(c->setting.knob->flags & (STOW_KNOB_BOOT | STOW_KNOB_READ_ONLY));
}

static int keep(struct stow_root *root, const struct change *c, bool quiet, struct stow_err *err)
{
	const struct stow_knob *knob = c->setting.knob;
	bool file = knob->persist == STOW_PERSIST_SYSCTL || knob->persist == STOW_PERSIST_TMPFILES;
	char text[STOW_KNOB_TEXT + STOW_KNOB_NAME];
	const char *parameter = stow_knob_parameter(&c->setting, c->checked, text, sizeof(text));
	int r = 0;

	if (file)
		r = stow_knob_persist(root, &c->setting, c->checked, err);
	if (r < 0)
		return r;
	if (!file && !parameter)
		return stow_err_set(err, EOPNOTSUPP, "%s: it cannot be set at boot",
				    c->setting.name);
	if (quiet)
		return 0;
	if (file)
		printf("%s: set at boot from %s\n", c->setting.name,
		       knob->persist == STOW_PERSIST_SYSCTL ? STOW_SYSCTL_FILE
							    : STOW_TMPFILES_FILE);
	if (parameter)
		printf("%s: %s kernel parameter: %s\n", c->setting.name,
		       file ? "or, earlier, by the" : "add to the boot loader's configuration, as",
		       text);
	return 0;
}

static int apply(struct stow_root *root, const struct asked *asked, struct change *c,
		 struct stow_err *err)
{
	int r = 0;

	if (is_set_now(c)) {
		r = stow_knob_set(root, &c->setting, c->value, err);
		if (r == 0 && !asked->out.quiet)
			printf("%s: %s (was %s)\n", c->setting.name, c->setting.value, c->before);
	}
	if (r == 0 && asked->persist)
		r = keep(root, c, asked->out.quiet, err);
	return r;
}

/* Check everything first: a bad value changes nothing. */
static int change_settings(const struct asked *asked)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	_cleanup_(changes_done) struct changes changes = { 0 };
	struct stow_err err = { 0 };
	size_t done = 0, failed = 0;
	int code = CLI_OK;

	if (stow_root_open(asked->out.sysroot, &root, &err) < 0)
		return cli_fail(&err);
	for (int i = 0; i < asked->n_words; i++) {
		int r = plan_word(root, asked, asked->words[i], &changes, &err);

		if (r < 0)
			(void)cli_fail(&err);
		if (r == -EINVAL || r == -ERANGE)
			code = CLI_USAGE;
		else if (r < 0 && code == CLI_OK)
			code = CLI_FAILED;
	}
	if (code)
		return code == CLI_USAGE ? cli_bad_usage("settings") : code;
	for (size_t i = 0; i < changes.n; i++) {
		if (apply(root, asked, &changes.list[i], &err) < 0) {
			(void)cli_fail(&err);
			failed++;
		} else {
			done++;
		}
	}
	return !failed ? CLI_OK : done ? CLI_PARTIAL : CLI_FAILED;
}

int cmd_settings(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "settings",
		.arguments = "[OPTION...] [NAME[=VALUE]...]",
		.summary =
			"Show the kernel's NUMA-related settings, or set them and read them back",
		.options =
			"  -a, --all            show also settings that this kernel does not have\n"
			"      --persist        set the value, or the present one, at each "
			"boot\n" CLI_OUTPUT_HELP,
		.words = 64,
		.more = cli_columns_help,
		.columns = settings_columns,
	};
	struct asked asked = { .out.sysroot = "/" };
	const struct cli_option options[] = {
		{ "all", 'a', .flag = &asked.all },
		{ "persist", .flag = &asked.persist },
		CLI_OUTPUT_OPTIONS(&asked.out),
		{ 0 },
	};
	int r = cli_options(&usage, options, argc, argv);
	bool sets = asked.persist;

	if (r >= 0)
		return r;
	asked.words = argv + optind;
	asked.n_words = argc - optind;
	for (int i = 0; i < asked.n_words; i++) {
		const char *equals = strchr(asked.words[i], '=');

		sets = sets || (equals && equals[1]);
	}
	if (asked.persist && !asked.n_words)
		return cli_wrong_usage("settings", "--persist needs the NAME of a setting");
	if (sets)
		return change_settings(&asked);
	return cli_output_run(&asked.out, show_once, &asked);
}
