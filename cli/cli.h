/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The operator's command: one cmd_*.c per subcommand, listed in the table in main.c. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_PARTIAL = 64,      /* only some, as asked for */
	CLI_INTERRUPTED = 130, /* as a shell says it */
};

struct cli_command {
	const char *name;
	const char *arguments; /* for the synopsis */
	const char *summary;   /* one line */
	/* argv[0] is the subcommand's name; returns the exit code. Options: getopt_long(3), with
	 * --help in each. */
	int (*run)(int argc, char **argv);
};

/* Prints "numastow: message" and returns CLI_FAILED. */
int cli_fail(const struct stow_err *err);

/* Prints a subcommand's usage, with `options` one a line, to stdout (for --help). */
void cli_usage(const char *name, const char *arguments, const char *summary, const char *options);

/* After getopt_long(3) has said what is wrong: points to --help and returns CLI_USAGE. */
int cli_bad_usage(const char *name);

/* When standard output is a pipe that nobody reads any more (head(1) has seen enough): ends the
 * program by SIGPIPE, as it ends others. */
void cli_end_without_reader(void);
/* Ends the program's output: what could not be written (a full disk, a closed pipe) is a failure.
 * Returns `code`, or CLI_FAILED with a message. */
int cli_finish(int code);

/* "2026-11-22 14:03:05" in local time, for a time in ns since the epoch. */
const char *cli_format_time(uint64_t ns, char *buf, size_t size);

/* The first part of a long id, as podman shows it; a shorter one as it is. */
const char *cli_short_id(const char *id, char *buf, size_t size);

/* Prints a json-c object and frees it. */
struct json_object;
void cli_print_json(struct json_object *json);

/* Becomes numastow-fleet, the part of the command that speaks gRPC (cli/fleet): returns only when
 * it could not be started. */
int cli_become_fleet(int argc, char **argv);

int cmd_topology(int argc, char **argv);
int cmd_ledger(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_release(int argc, char **argv);
int cmd_gc(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_drains(int argc, char **argv);
int cmd_cancel(int argc, char **argv);
int cmd_blocks(int argc, char **argv);
int cmd_online(int argc, char **argv);
int cmd_offline(int argc, char **argv);
