/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The options that every command of numastow-view has, with one meaning. */

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#include "base/err.h"
#include "base/idset.h"
#include "cli/json_writer.h"
#include "cli/options.h"

struct cli_output {
	bool json;		 /* one object, documented in the command's man page */
	bool noheadings;	 /* no headings and no lines around the tables */
	bool bytes;		 /* sizes as numbers of bytes */
	bool pairs, raw;	 /* as in util-linux: KEY="value", and columns apart by one space */
	bool all;		 /* every column */
	bool quiet;		 /* errors only: for the exit code */
	const char *columns;	 /* LIST, or +LIST for more than the default; NULL: the default */
	const char *sysroot;	 /* "/" unless given */
	struct stow_idset nodes; /* these NUMA nodes only; empty: all */
	uint64_t watch;		 /* ns between two outputs; 0: once */
};

/* The entries of a table of options for what prints one table, for `struct cli_output *out`. */
#define CLI_TABLE_OPTIONS(out)                                         \
	{ "json", 'J', .flag = &(out)->json }, CLI_STYLE_OPTIONS(out), \
	{                                                              \
		"quiet", 'q', .flag = &(out)->quiet                    \
	}

/* All of them. */
#define CLI_OUTPUT_OPTIONS(out)                                                                \
	CLI_TABLE_OPTIONS(out), { "bytes", 'b', .flag = &(out)->bytes },                       \
		{ "sysroot", 's', .text = &(out)->sysroot },                                   \
		{ "node", 'N', .take = cli_take_nodes, .value = &(out)->nodes },               \
	{                                                                                      \
		"watch", 'w', .optional = true, .take = cli_take_watch, .value = &(out)->watch \
	}

/* Their help; a command puts its own options before it. */
#define CLI_TABLE_HELP                                                      \
	"  -J, --json           print JSON\n" CLI_STYLE_HELP CLI_QUIET_HELP \
	"  -h, --help           print this text\n"

#define CLI_OUTPUT_HELP                                                      \
	CLI_BYTES_HELP                                                       \
	"  -N, --node LIST      only these NUMA nodes\n"                     \
	"  -s, --sysroot DIR    read /sys and /proc below DIR, a copy of a " \
	"machine's\n" CLI_WATCH_HELP CLI_TABLE_HELP

/* Return whether NUMA node `node` was asked for. */
bool cli_output_wants_node(const struct cli_output *out, int node);

/* Return whether text on standard output may have colours: on a terminal, unless NO_COLOR is set. */
bool cli_output_coloured(void);

/* Return a new object for --json, with the key "version": the program's. */
json_object *cli_output_object(struct json_writer *w);

/* Return a number for JSON, of six digits: no figure here is more exact. */
json_object *cli_output_real(double value);

/* Add a line of pressure stall information, in percent of the time; null: it is not known. */
struct stow_psi_line;
void cli_output_stalls(struct json_writer *w, json_object *to, const char *key,
		       const struct stow_psi_line *line);

/* Format a size as the options want it: "2Gi", or in bytes. Return `buf`. */
const char *cli_output_size(const struct cli_output *out, uint64_t bytes, char *buf, size_t size);

/* Check --node, and run `print` as cli_watch() does. */
int cli_output_run(const struct cli_output *out, int (*print)(void *data), void *data);
