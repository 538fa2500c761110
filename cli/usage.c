// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int cli_fail(const struct stow_err *err)
{
	fprintf(stderr, "numastow: %s\n", err->msg);
	return CLI_FAILED;
}

void cli_usage(const char *name, const char *arguments, const char *summary, const char *options)
{
	printf("Usage: numastow %s%s%s\n\n%s.\n\nOptions:\n%s", name, *arguments ? " " : "",
	       arguments, summary, options);
	/* Every command has it. */
	if (!strstr(options, "--help"))
		printf("  -h, --help  print this text\n");
}

int cli_bad_usage(const char *name)
{
	fprintf(stderr, "Try 'numastow %s --help'.\n", name);
	return CLI_USAGE;
}

int cli_finish(int code)
{
	/* A program like head(1) that has seen enough is no reason to complain. */
	if ((fflush(stdout) != 0 || ferror(stdout)) && errno != EPIPE) {
		fprintf(stderr, "numastow: standard output: %s\n", strerror(errno));
		return CLI_FAILED;
	}
	return code;
}
