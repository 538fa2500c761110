/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The command numastow: one cmd_*.c per subcommand, listed in the table in main.c. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_PARTIAL = 64,      /* done in part, as requested */
	CLI_INTERRUPTED = 130, /* as a shell returns it for SIGINT */
};

struct cli_command {
	const char *name;
	const char *arguments; /* for the synopsis */
	const char *summary;   /* one line */
	/* argv[0] is the subcommand's name; returns the exit code. Each parses its options with
	 * getopt_long(3), and has --help. */
	int (*run)(int argc, char **argv);
};

/* Print "numastow: message", and return CLI_FAILED. */
int cli_fail(const struct stow_err *err);

/* Print a subcommand's usage to stdout, for --help. `options` has one per line. */
void cli_usage(const char *name, const char *arguments, const char *summary, const char *options);

/* Point to --help, after getopt_long(3) has printed the error, and return CLI_USAGE. */
int cli_bad_usage(const char *name);

/* If standard output is a pipe without a reader (as after head(1) has exited), end the program
 * with SIGPIPE, as other programs do. */
void cli_end_without_reader(void);
/* Flush standard output. Returns `code`; or, if output could not be written (a full disk, a
 * closed pipe), prints a message and returns CLI_FAILED. */
int cli_finish(int code);

/* Format a time in ns since the epoch as "2026-11-22 14:03:05" in local time. */
const char *cli_format_time(uint64_t ns, char *buf, size_t size);

/* Shorten a long id, as Podman does; a short one stays as it is. */
const char *cli_short_id(const char *id, char *buf, size_t size);

/* Print a json-c object, and free it. */
struct json_object;
void cli_print_json(struct json_object *json);

/* Execute numastow-fleet, the part of the command that speaks gRPC (cli/fleet). Returns only on
 * failure. */
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
