// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"

const char *cli_program(void)
{
	/* kubectl runs its plugins by their names. */
	return strcmp(program_invocation_short_name, "kubectl-numastow") == 0 ? "kubectl numastow"
									      : "numastow";
}

int cli_fail(const struct stow_err *err)
{
	fprintf(stderr, "numastow: %s\n", err->msg);
	return CLI_FAILED;
}

int cli_bad_usage(const char *name)
{
	fprintf(stderr, "Try '%s %s --help'.\n", cli_program(), name);
	return CLI_USAGE;
}

int cli_wrong_usage(const char *name, const char *fmt, ...)
{
	struct stow_err err;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err.msg, sizeof(err.msg), fmt, ap);
	va_end(ap);
	stow_text_clean(err.msg, sizeof(err.msg));
	(void)cli_fail(&err);
	return cli_bad_usage(name);
}

int cli_unknown_command(const char *name, const struct cli_command *commands, size_t n)
{
	const char **names = calloc(n + 1, sizeof(*names));
	int near = -1;

	for (size_t i = 0; names && i < n; i++)
		names[i] = commands[i].name;
	if (names)
		near = stow_nearest(name, names);
	free(names);
	fprintf(stderr, "numastow: \"%.64s\" is not a command", name);
	if (near >= 0)
		fprintf(stderr, ", did you mean \"%s\"?\n", commands[near].name);
	else
		fprintf(stderr, ". Try '%s --help'.\n", cli_program());
	return CLI_USAGE;
}

void cli_end_without_reader(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO };

	if (poll(&out, 1, 0) != 1 || !(out.revents & POLLERR))
		return;
	signal(SIGPIPE, SIG_DFL);
	raise(SIGPIPE);
}

int cli_finish(int code)
{
	static bool said; /* of an earlier output: --watch and top finish each */
	bool before = ferror(stdout) != 0;

	errno = 0;
	if (fflush(stdout) == 0 && !before)
		return code;
	cli_end_without_reader();
	if (said)
		return CLI_FAILED;
	said = true;
	/* errno of an earlier failure is not known. */
	fprintf(stderr, "numastow: standard output: %s\n",
		errno && !before ? strerror(errno) : "not everything could be written");
	return CLI_FAILED;
}

int cli_table_printed(const char *name, int r, const struct stow_err *err)
{
	if (r == 0)
		return CLI_OK;
	return r == -EINVAL ? cli_wrong_usage(name, "%s", err->msg) : cli_fail(err);
}

int cli_watch(uint64_t every, bool json, int (*print)(void *data), void *data)
{
	bool terminal = isatty(STDOUT_FILENO), again = false;
	int code;

	for (;;) {
		if (every && terminal)
			/* Cursor home, and clear what is below it: a screen that is printed over
			 * flickers less than a cleared one. */
			fputs("\033[H\033[J", stdout);
		else if (again && !json)
			fputc('\n', stdout);
		code = print(data);
		if (code == CLI_FAILED || code == CLI_USAGE || !every)
			return code;
		code = cli_finish(code);
		if (code == CLI_FAILED)
			return code;
		again = true;
		stow_clock_sleep(every);
	}
}
