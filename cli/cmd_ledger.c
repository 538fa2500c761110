// SPDX-License-Identifier: Apache-2.0
/* numastow ledger: the grants. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "grant/show.h"

static int show(const char *sysroot, bool json, struct stow_err *err)
{
	_cleanup_(cli_context_done) struct cli_context context;
	_cleanup_free_ char *text = NULL;
	int r;

	r = cli_context_open_anyway(&context, sysroot, false, err);
	if (r == 0)
		r = stow_show_ledger(&context.grant, json, &text, err);
	if (r == 0)
		fputs(text, stdout);
	return r;
}

int cmd_ledger(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "sysroot", required_argument, NULL, 's' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	const char *sysroot = NULL;
	struct stow_err err;
	bool json = false;
	int c, r;

	while ((c = getopt_long(argc, argv, "js:h", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 's':
			sysroot = optarg;
			break;
		case 'h':
			cli_usage("ledger", "[--json] [--sysroot DIR]",
				  "Shows the grants of this machine's containers",
				  "  -j, --json         as JSON\n"
				  "  -s, --sysroot DIR  the ledger of a copied tree\n");
			return CLI_OK;
		default:
			return cli_bad_usage("ledger");
		}
	}
	if (optind < argc)
		return cli_bad_usage("ledger");
	r = show(sysroot, json, &err);
	/* Only root can read the file; the agent shows it to the group `readers`. */
	if (r == -EACCES && !sysroot && geteuid() != 0)
		return cli_become_fleet(argc, argv);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}
