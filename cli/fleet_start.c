// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/helper.h"
#include "cli/cli.h"

static int become(const char *helper, int argc, char **argv)
{
	_cleanup_free_ char **args = calloc((size_t)argc + 2, sizeof(*args));
	char path[PATH_MAX];
	struct stow_err err;

	if (!args) {
		stow_err_set(&err, ENOMEM, "out of memory");
		return cli_fail(&err);
	}
	args[0] = (char *)"numastow";
	memcpy(args + 1, argv, (size_t)argc * sizeof(*args));
	execv(stow_helper_path(helper, path, sizeof(path)), args);
	stow_err_sys(&err, errno, "cannot start %s", path);
	return cli_fail(&err);
}

int cli_become_fleet(int argc, char **argv)
{
	return become("numastow-fleet", argc, argv);
}

int cli_become_view(int argc, char **argv)
{
	return become("numastow-view", argc, argv);
}

int cli_become_top(int argc, char **argv)
{
	return become("numastow-top", argc, argv);
}

int cli_become_run(int argc, char **argv)
{
	(void)become("numastow-run", argc, argv);
	return 125; /* RUN_FAILED of cli/run/run.h */
}

int cli_become_setup(int argc, char **argv)
{
	/* The script's own usage names the subcommand. */
	return become("numastow-setup", argc - 1, argv + 1);
}
