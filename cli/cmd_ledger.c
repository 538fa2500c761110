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
	int argc;
	char **argv;
	const char *sysroot;
	bool json, quiet;
	uint64_t watch;
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
	if (r == 0 && !asked->quiet)
		fputs(text, stdout);
	return cli_table_printed("ledger", r, err);
}

static int show_once(void *data)
{
	struct asked *asked = data;
	struct stow_err err;
	int r = show(asked, &err);

	/* Only root can read the file; the agent shows it to the group `readers`. */
	if (r == -EACCES && !asked->sysroot && geteuid() != 0)
		return cli_become_fleet(asked->argc, asked->argv);
	return r < 0 ? cli_fail(&err) : r;
}

int cmd_ledger(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "ledger",
		.arguments = "[OPTION...]",
		.summary = "Show the grants of this machine's containers",
		.options = "  -J, --json           print JSON\n" CLI_STYLE_HELP CLI_BYTES_HELP
			   "  -s, --sysroot DIR    read the ledger of a copied tree\n" CLI_READ_HELP
			   "  -h, --help           print this text\n",
		.list = stow_show_columns,
	};
	struct asked asked = { .argc = argc, .argv = argv };
	const struct cli_option options[] = { { "json", 'J', .flag = &asked.json },
					      CLI_SIZES_OPTIONS(&asked.style),
					      { "sysroot", 's', .text = &asked.sysroot },
					      CLI_READ_OPTIONS(&asked),
					      { 0 } };
	int r = cli_options(&usage, options, argc, argv);

	return r >= 0 ? r : cli_watch(asked.watch, asked.json, show_once, &asked);
}
