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

struct asked {
	const char *sysroot;
	bool json;
	struct stow_grid_style style;
};

/* Return the exit code, or -errno. */
static int show(const struct asked *asked, struct stow_err *err)
{
	_cleanup_(cli_context_done) struct cli_context context;
	_cleanup_free_ char *text = NULL;
	int r;

	r = cli_context_open_anyway(&context, asked->sysroot, false, err);
	if (r < 0)
		return r;
	r = stow_show_ledger(&context.grant, asked->json, cli_width(), &asked->style, &text, err);
	if (r == 0)
		fputs(text, stdout);
	return cli_table_printed("ledger", r, err);
}

int cmd_ledger(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "ledger",
		.arguments = "[OPTION...]",
		.summary = "Show the grants of this machine's containers",
		.options = "  -J, --json           print JSON\n" CLI_STYLE_HELP CLI_BYTES_HELP
			   "  -s, --sysroot DIR    read the ledger of a copied tree\n"
			   "  -h, --help           print this text\n",
	};
	struct asked asked = { 0 };
	const struct cli_option options[] = { { "json", 'J', .flag = &asked.json },
					      CLI_SIZES_OPTIONS(&asked.style),
					      { "sysroot", 's', .text = &asked.sysroot },
					      { 0 } };
	int r = cli_options(&usage, options, argc, argv);
	struct stow_err err;

	if (r >= 0)
		return r;
	r = show(&asked, &err);
	/* Only root can read the file; the agent shows it to the group `readers`. */
	if (r == -EACCES && !asked.sysroot && geteuid() != 0)
		return cli_become_fleet(argc, argv);
	return r < 0 ? cli_fail(&err) : r;
}
