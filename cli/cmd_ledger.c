// SPDX-License-Identifier: Apache-2.0
/* numastow ledger: the grants. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/options.h"
#include "grant/show.h"

static int show(const char *sysroot, bool json, struct stow_err *err)
{
	_cleanup_(cli_context_done) struct cli_context context;
	_cleanup_free_ char *text = NULL;
	int r;

	r = cli_context_open_anyway(&context, sysroot, false, err);
	if (r == 0)
		r = stow_show_ledger(&context.grant, json, cli_width(), &text, err);
	if (r == 0)
		fputs(text, stdout);
	return r;
}

int cmd_ledger(int argc, char **argv)
{
	static const struct cli_usage usage = {
		"ledger",
		"[--json] [--sysroot DIR]",
		"Show the grants of this machine's containers",
		"  -J, --json         as JSON\n"
		"  -s, --sysroot DIR  read the ledger of a copied tree\n",
		0,
		NULL
	};
	const char *sysroot = NULL;
	bool json = false;
	const struct cli_option options[] = { { "json", 'J', .flag = &json },
					      { "sysroot", 's', .text = &sysroot },
					      { 0 } };
	int r = cli_options(&usage, options, argc, argv);
	struct stow_err err;

	if (r >= 0)
		return r;
	r = show(sysroot, json, &err);
	/* Only root can read the file; the agent shows it to the group `readers`. */
	if (r == -EACCES && !sysroot && geteuid() != 0)
		return cli_become_fleet(argc, argv);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}
