// SPDX-License-Identifier: Apache-2.0
/* numastow hugepages: pools of hugepages and who has them; sets, spreads, shrinks and splits them. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/view/hugepages_view.h"
#include "cli/view/view.h"

/* Open everything; without a ledger that can be read, the rest is shown. */
static int open_context(struct cli_context *context, const char *sysroot, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = cli_context_open_anyway(context, sysroot, false, &why);

	if (r == 0)
		return 0;
	fprintf(stderr, "numastow: %s: promised pages are unknown\n", why.msg);
	memset(context, 0, sizeof(*context));
	return stow_root_open(sysroot, &context->root, err);
}

static int show_once(void *data)
{
	const struct huge_asked *asked = data;
	_cleanup_(cli_context_done) struct cli_context context = { 0 };
	_cleanup_(huge_view_done) struct huge_view view = { 0 };
	struct stow_err err = { 0 };
	int r = open_context(&context, asked->out.sysroot, &err);

	if (r == 0)
		r = huge_view_read(&context, &asked->out, &view, &err);
	if (r < 0)
		return cli_fail(&err);
	if (asked->out.quiet)
		return CLI_OK;
	if (asked->out.json) {
		r = huge_view_print_json(&view);
		if (r < 0)
			(void)stow_err_sys(&err, -r, "printing hugepages");
	} else {
		r = huge_view_print(&view, &err);
	}
	return cli_table_printed("hugepages", r, &err);
}

int cmd_hugepages(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "hugepages",
		.arguments = "[OPTION...] [set NODES SIZE=COUNT... |\n"
			     "       spread SIZE=COUNT... | shrink [NODES [SIZE...]] |\n"
			     "       demote NODES SIZE=COUNT... | mount SIZE FOLDER]",
		.summary = "Show hugepages by NUMA node and who has them, or change the pools",
		.options = "      --compact        set, spread: compact the nodes' memory first\n"
			   "      --limit SIZE     mount: at most so much memory\n"
			   "      --persist        do the same at each boot\n" CLI_OUTPUT_HELP,
		.words = 64,
		.more = cli_columns_help,
		.columns = hugepages_columns,
	};
	struct huge_asked asked = { .out.sysroot = "/" };
	const struct cli_option options[] = {
		{ "compact", .flag = &asked.compact },
		{ "limit", .take = cli_take_size, .value = &asked.limit },
		{ "persist", .flag = &asked.persist },
		CLI_OUTPUT_OPTIONS(&asked.out),
		{ 0 },
	};
	int r = cli_options(&usage, options, argc, argv);
	const char *verb;

	if (r >= 0)
		return r;
	asked.words = argv + optind;
	asked.n_words = argc - optind;
	verb = asked.n_words ? asked.words[0] : "";
	if (asked.compact && strcmp(verb, "set") != 0 && strcmp(verb, "spread") != 0)
		return cli_wrong_usage("hugepages", "--compact is for set and spread");
	if (asked.limit && strcmp(verb, "mount") != 0)
		return cli_wrong_usage("hugepages", "--limit is for mount");
	if (asked.persist && !asked.n_words)
		return cli_wrong_usage("hugepages", "--persist needs a change, such as set");
	if (!asked.n_words)
		return cli_output_run(&asked.out, show_once, &asked);
	if (geteuid() != 0 && strcmp(asked.out.sysroot, "/") == 0) {
		fprintf(stderr,
			"numastow: only root can change pools of hugepages, and mount them\n");
		return CLI_FAILED;
	}
	return huge_change(&asked);
}
