// SPDX-License-Identifier: Apache-2.0
/* numastow why: what happened to a container, and for what reason. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/options.h"
#include "grant/show.h"

static int show(const char *id, bool json, struct stow_err *err)
{
	_cleanup_(cli_context_done) struct cli_context context;
	_cleanup_free_ char *text = NULL;
	int r;

	r = cli_context_open_anyway(&context, NULL, false, err);
	if (r == 0)
		r = stow_show_history(&context.grant, id, json, &text, err);
	if (r == 0)
		fputs(text, stdout);
	return r;
}

int cmd_why(int argc, char **argv)
{
	static const struct cli_usage usage = {
		"why",
		"[--json] [ID]",
		"Show where a container was placed or why it was refused, and what happened since",
		"  -J, --json  as JSON\n"
		"  ID          a container's id or the beginning of it; without it, the newest 100 "
		"events of all\n",
		1,
		NULL
	};
	bool json = false;
	const struct cli_option options[] = { { "json", 'J', .flag = &json }, { 0 } };
	int r = cli_options(&usage, options, argc, argv);
	struct stow_err err;

	if (r >= 0)
		return r;
	r = show(argv[optind], json, &err); /* NULL: all containers */
	/* Only root can read the file; the agent shows it to the group `readers`. */
	if (r == -EACCES && geteuid() != 0)
		return cli_become_fleet(argc, argv);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}
