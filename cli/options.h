/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A subcommand's options, as a table, and its usage. */

#include <getopt.h> /* optind */
#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

/* As `words`: a command with its own options follows, so options end at the first word. */
#define CLI_COMMAND (-1)

struct cli_column;

struct cli_usage {
	const char *name;
	const char *arguments; /* for the synopsis */
	const char *summary;
	const char *options; /* their help, one per line */
	int words;	     /* the maximum; the subcommand checks the minimum; or CLI_COMMAND */
	void (*more)(const struct cli_column *columns); /* prints what follows; may be NULL */
	const struct cli_column *columns;		/* of its table, for `more` */
	void (*list)(FILE *out);			/* prints them, without `more`; or NULL */
};

/* An option sets a flag, or `text` to its argument, or `take` parses its argument into `value`. An
 * optional argument follows the option after "=", or the letter directly; without it, `take` gets
 * NULL. */
struct cli_option {
	const char *name;
	char letter;   /* 0: none */
	bool argument; /* with a flag: it has one */
	bool optional; /* its argument may be missing */
	bool *flag;
	void *text; /* of a char *, const or not */
	int (*take)(const char *text, void *value, struct stow_err *err);
	void *value;
};

/* Parse the options with getopt_long(3); a table ends with an option without a name, and every
 * subcommand has --help. Return -1 with `optind` at the first word, or the exit code: --help was
 * answered, or what is wrong was printed. */
int cli_options(const struct cli_usage *usage, const struct cli_option *options, int argc,
		char **argv);

/* Parse a list of NUMA nodes into a struct stow_idset, for an option's `take`. -EINVAL: it is none,
 * or is empty. */
int cli_take_nodes(const char *text, void *value, struct stow_err *err);

/* The same for a size or a duration and a uint64_t. */
int cli_take_size(const char *text, void *value, struct stow_err *err);
int cli_take_time(const char *text, void *value, struct stow_err *err);
/* The same for --watch: without an argument, 2 seconds. */
int cli_take_watch(const char *text, void *value, struct stow_err *err);

/* The options of util-linux's commands for tables, for a `style` with the fields of struct
 * stow_grid_style (base/grid.h), and their help. */
#define CLI_STYLE_OPTIONS(style)                                                               \
	{ "output", 'o', .text = &(style)->columns }, { "output-all", .flag = &(style)->all }, \
		{ "noheadings", 'n', .flag = &(style)->noheadings },                           \
		{ "pairs", 'P', .flag = &(style)->pairs },                                     \
	{                                                                                      \
		"raw", 'r', .flag = &(style)->raw                                              \
	}
#define CLI_STYLE_HELP                                                     \
	"  -o, --output LIST    print these columns; +LIST: in addition\n" \
	"      --output-all     print all columns\n"                       \
	"  -n, --noheadings     print no headings\n"                       \
	"  -P, --pairs          print KEY=\"value\" pairs\n"               \
	"  -r, --raw            print columns separated by one space\n"

/* The same with sizes. */
#define CLI_SIZES_OPTIONS(style)                      \
	CLI_STYLE_OPTIONS(style),                     \
	{                                             \
		"bytes", 'b', .flag = &(style)->bytes \
	}
#define CLI_WATCH_HELP "  -w, --watch[=TIME]   print again every 2 seconds, or TIME\n"
#define CLI_QUIET_HELP "  -q, --quiet          print errors only\n"
#define CLI_BYTES_HELP "  -b, --bytes          print sizes in bytes\n"

/* The options of what only reads, for an `asked` with the fields `watch` (ns; 0: once) and `quiet`,
 * and their help. */
#define CLI_READ_OPTIONS(asked)                                                               \
	{ "watch", 'w', .optional = true, .take = cli_take_watch, .value = &(asked)->watch }, \
	{                                                                                     \
		"quiet", 'q', .flag = &(asked)->quiet                                         \
	}
#define CLI_READ_HELP CLI_WATCH_HELP CLI_QUIET_HELP

/* Connection options, which numastow-fleet parses; here they only select it. */
#define CLI_FLEET_OPTIONS(given)                                      \
	{ "scheduler", .flag = (given), .argument = true },           \
		{ "ca", .flag = (given), .argument = true },          \
		{ "certificate", .flag = (given), .argument = true }, \
		{ "key", .flag = (given), .argument = true },         \
		{ "server-name", .flag = (given), .argument = true }, \
		{ "agent", .flag = (given), .argument = true },       \
	{                                                             \
		"config", .flag = (given), .argument = true           \
	}

#define CLI_FLEET_HELP                                                              \
	"\nConnection options, which are also keys of /etc/numastow/client.yaml:\n" \
	"      --scheduler ADDRESS,...\n"                                           \
	"      --ca FILE\n"                                                         \
	"      --certificate FILE\n"                                                \
	"      --key FILE\n"                                                        \
	"      --server-name NAME\n"                                                \
	"      --agent PATH\n"                                                      \
	"      --timeout TIME\n"                                                    \
	"      --config FILE    read this file instead\n"
