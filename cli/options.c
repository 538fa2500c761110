// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fit.h"
#include "base/idset.h"
#include "base/parse.h"
#include "cli/cli.h"

#define WATCH_EVERY (2 * STOW_SECOND)
#define WATCH_LEAST (100 * STOW_MILLISECOND)
#define OPTIONS_MAX 32
#define HELP_WIDTH  79
#define FIRST	    256 /* getopt_long(3)'s value for the first of the table */

static void print_usage(const struct cli_usage *usage)
{
	_cleanup_free_ char *summary = stow_fit_wrap(usage->summary, HELP_WIDTH);

	printf("Usage: %s %s%s%s\n\n%s.\n\nOptions:\n%s", cli_program(), usage->name,
	       *usage->arguments ? " " : "", usage->arguments, summary ? summary : usage->summary,
	       usage->options);
	if (usage->more)
		usage->more(usage->columns);
	if (usage->list)
		usage->list(stdout);
}

static int take(const struct cli_option *option, const char *text, struct stow_err *err)
{
	int r = option->take ? option->take(text, option->value, err) : 0;

	if (r < 0)
		return stow_err_wrap(err, r, "--%s", option->name);
	if (option->flag)
		*option->flag = true;
	if (option->text && !*text)
		return stow_err_set(err, EINVAL, "--%s: its argument is empty", option->name);
	if (option->text)
		*(const char **)option->text = text;
	return 0;
}

static const struct cli_option *find(const struct cli_option *options, int c)
{
	if (c >= FIRST)
		return &options[c - FIRST];
	while (options->letter != c)
		options++;
	return options;
}

int cli_options(const struct cli_usage *usage, const struct cli_option *options, int argc,
		char **argv)
{
	struct option known[OPTIONS_MAX + 2] = { { "help", no_argument, NULL, 'h' } };
	char letters[3 * OPTIONS_MAX + 3] = "+h", *end = letters + 1;
	char *name = argv[0];
	struct stow_err err;
	int c;

	argv[0] = (char *)"numastow"; /* begins getopt's messages, as it does all others */
	for (int i = 0; i < OPTIONS_MAX && options[i].name; i++) {
		bool argument = !options[i].flag || options[i].argument;

		known[i + 1] = (struct option){ options[i].name,
						options[i].optional ? optional_argument
						: argument	    ? required_argument
								    : no_argument,
						NULL, FIRST + i };
		if (!options[i].letter)
			continue;
		*++end = options[i].letter;
		if (argument || options[i].optional)
			*++end = ':';
		if (options[i].optional)
			*++end = ':';
	}
	while ((c = getopt_long(argc, argv, usage->words == CLI_COMMAND ? letters : letters + 1,
				known, NULL)) != -1) {
		if (c == 'h') {
			print_usage(usage);
			return CLI_OK;
		}
		if (c == '?')
			return cli_bad_usage(usage->name);
		if (take(find(options, c), optarg, &err) < 0)
			return cli_wrong_usage(usage->name, "%s", err.msg);
	}
	argv[0] = name;
	if (usage->words == CLI_COMMAND)
		return -1;
	if (argc - optind > usage->words)
		return usage->words ? cli_wrong_usage(usage->name, "\"%.64s\": unexpected argument",
						      argv[optind + usage->words])
				    : cli_wrong_usage(usage->name, "%s takes no argument \"%.64s\"",
						      usage->name, argv[optind]);
	for (int i = optind; i < argc; i++)
		if (!*argv[i])
			return cli_wrong_usage(usage->name, "an argument is empty");
	return -1;
}

int cli_take_nodes(const char *text, void *value, struct stow_err *err)
{
	int r = stow_idset_parse(text, value, err);

	if (r == 0 && stow_idset_empty(value))
		return stow_err_set(err, EINVAL,
				    "\"\": expected a list of NUMA nodes as \"0,2-3\"");
	return r;
}

int cli_take_size(const char *text, void *value, struct stow_err *err)
{
	return stow_parse_quantity(text, value, err);
}

int cli_take_time(const char *text, void *value, struct stow_err *err)
{
	return stow_parse_duration(text, value, err);
}

int cli_take_watch(const char *text, void *value, struct stow_err *err)
{
	uint64_t *every = value;
	int r;

	*every = WATCH_EVERY;
	if (!text)
		return 0;
	r = stow_parse_duration(text, every, err);
	if (r == 0 && *every < WATCH_LEAST)
		return stow_err_set(err, EINVAL, "\"%.32s\": expected at least 100ms", text);
	return r;
}
