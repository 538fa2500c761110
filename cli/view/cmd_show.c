// SPDX-License-Identifier: Apache-2.0
/* numastow show: where processes may run and allocate, and where they do. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/options.h"
#include "cli/view/show_view.h"
#include "cli/view/view.h"

struct asked {
	struct cli_output out;
	char **targets;
	int n;
};

static int print(const struct asked *asked, struct show_view *view, struct stow_err *err)
{
	if (asked->out.json)
		return show_print_json(view);
	if (asked->out.quiet)
		return 0;
	return asked->n ? show_print_processes(view, err) : show_print_list(view, err);
}

static int show(void *data)
{
	struct asked *asked = data;
	_cleanup_(show_view_done) struct show_view view = { .out = &asked->out };
	struct stow_err err = { 0 };
	bool read;
	int r;

	r = show_view_open(&view, &err);
	if (r == 0)
		r = asked->n ? show_view_find(&view, asked->targets, asked->n, &err)
			     : show_view_restricted(&view, &err);
	read = r == 0;
	if (read)
		r = print(asked, &view, &err);
	if (r < 0)
		return read ? cli_table_printed("show", r, &err) : cli_fail(&err);
	if (view.hidden && !asked->out.quiet)
		fprintf(stderr,
			"numastow: %zu process%s of other users: their memory policies and pages "
			"need root\n",
			view.hidden, view.hidden == 1 ? "" : "es");
	return view.displaced ? CLI_PROBLEMS : CLI_OK;
}

int cmd_show(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "show",
		.arguments = "[OPTION...] [--last | PID | CONTAINER | NAME]...",
		.summary =
			"Show where processes may run and allocate, and where they do; without an "
			"argument, those whose CPUs, NUMA nodes or memory policy are restricted",
		.options = "      --last           the container that got its grant "
			   "last\n" CLI_OUTPUT_HELP,
		.words = INT_MAX,
		.more = cli_columns_help,
		.columns = show_columns,
	};
	struct asked asked = { .out.sysroot = "/" };
	_cleanup_free_ char *id = NULL;
	bool last = false;
	const struct cli_option options[] = { { "last", .flag = &last },
					      CLI_OUTPUT_OPTIONS(&asked.out),
					      { 0 } };
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	asked.targets = argv + optind;
	asked.n = argc - optind;
	if (last)
		r = cli_last_word("show", asked.out.sysroot, &asked.targets, &asked.n, &id);
	if (r >= 0)
		return r;
	return cli_output_run(&asked.out, show, &asked);
}
