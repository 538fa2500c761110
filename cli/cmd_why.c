// SPDX-License-Identifier: Apache-2.0
/* numastow why: what happened to a container, and for what reason. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/context.h"
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
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	struct stow_err err;
	bool json = false;
	int c, r;

	while ((c = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'h':
			cli_usage("why", "[--json] [ID]",
				  "Shows where a container was placed or why it was refused, and "
				  "what happened since",
				  "  -j, --json  as JSON\n"
				  "  ID          or the beginning of a container's id; without it, "
				  "the "
				  "newest 100 events of all\n");
			return CLI_OK;
		default:
			return cli_bad_usage("why");
		}
	}
	if (argc > optind + 1)
		return cli_bad_usage("why");
	r = show(argv[optind], json, &err); /* NULL: all containers */
	/* Only root can read the file; the agent shows it to the group `readers`. */
	if (r == -EACCES && geteuid() != 0)
		return cli_become_fleet(argc, argv);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}
