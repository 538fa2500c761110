/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The command numastow: one cmd_*.c per subcommand, listed in the table in main.c. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_NOT_FIT = 3,       /* a request does not fit */
	CLI_PROBLEMS = 4,      /* the machine was examined, and there are problems */
	CLI_PARTIAL = 64,      /* done in part, as requested */
	CLI_INTERRUPTED = 130, /* as a shell returns it for SIGINT */
};

struct cli_command {
	const char *name;
	const char *arguments; /* for the synopsis */
	const char *summary;   /* one line */
	/* argv[0] is the subcommand's name; returns the exit code. Each parses its options by a
	 * table (cli/options.h). */
	int (*run)(int argc, char **argv);
};

/* Return how users call this program: "numastow", or "kubectl numastow". */
const char *cli_program(void);

/* Print "numastow: message", and return CLI_FAILED. */
int cli_fail(const struct stow_err *err);

/* Point to the command's --help, after an error was printed, and return CLI_USAGE. */
int cli_bad_usage(const char *name);

/* Print "numastow: " and the message, as cli_fail() does, before that. */
int cli_wrong_usage(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Return the exit code of a command that has printed a table: `r` is 0, or what went wrong, which
 * is printed. -EINVAL, as stow_grid_print() returns it, is wrong usage. */
int cli_table_printed(const char *name, int r, const struct stow_err *err);

/* Print that `name` is none of the `n` commands, and the nearest of them; return CLI_USAGE. */
int cli_unknown_command(const char *name, const struct cli_command *commands, size_t n);

/* Return the width of the terminal, or of COLUMNS; 0: there is none, and nothing is wrapped. */
int cli_width(void);

/* If standard output is a pipe without a reader (as after head(1) has exited), end the program
 * with SIGPIPE, as other programs do. */
void cli_end_without_reader(void);
/* Flush standard output. Return `code`; or, if output could not be written (a full disk, a
 * closed pipe), print a message and return CLI_FAILED. */
int cli_finish(int code);

/* Run `print` once, or with `every` (in ns) again and again until a signal ends the program or it
 * fails; a terminal is cleared before each. Return the exit code of the last one. */
int cli_watch(uint64_t every, bool json, int (*print)(void *data), void *data);

/* Format a time in ns since the epoch as "2026-11-22 14:03:05" in local time. */
const char *cli_format_time(uint64_t ns, char *buf, size_t size);

/* Format a time that has passed, in complete units: "12s", "3m", "2h", "5d"; or one that is left,
 * to the nearest unit: a moment after 5m were asked for, it is 5m. */
const char *cli_format_span(uint64_t ns, bool left, char *buf, size_t size);

/* Shorten a long id, as Podman does; a short one stays as it is. */
const char *cli_short_id(const char *id, char *buf, size_t size);

/* Print the text of `numastow help TOPIC`; false: there is no such topic. */
bool cli_help_topic(const char *name);
/* Print the list of topics, for --help. */
void cli_help_topics(void);

/* Print a json-c object, and free it. */
struct json_object;
void cli_print_json(struct json_object *json);

/* Execute numastow-fleet, the part of the command that speaks gRPC (cli/fleet). Return only on
 * failure. */
int cli_become_fleet(int argc, char **argv);

/* Execute numastow-view, the part of the command that shows and sets what the kernel has
 * (cli/view). Return only on failure. */
int cli_become_view(int argc, char **argv);

/* Execute numastow-top. Return only on failure. */
int cli_become_top(int argc, char **argv);

/* Execute numastow-setup, which configures container runtimes. Return only on failure. */
int cli_become_setup(int argc, char **argv);

/* Execute numastow-run. Return only on failure, with the exit code of `numastow run` for its own
 * failures. */
int cli_become_run(int argc, char **argv);

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
int cmd_migrate(int argc, char **argv);
int cmd_bind(int argc, char **argv);
int cmd_blocks(int argc, char **argv);
int cmd_online(int argc, char **argv);
int cmd_offline(int argc, char **argv);
int cmd_version(int argc, char **argv);
