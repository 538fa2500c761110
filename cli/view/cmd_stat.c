// SPDX-License-Identifier: Apache-2.0
/* numastow stat: hits and misses of nodes, and where the memory of processes and containers is. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/options.h"
#include "cli/view/output.h"
#include "cli/view/stat_columns.h"
#include "cli/view/stat_view.h"
#include "cli/view/table.h"
#include "cli/view/view.h"

#define WORDS_MAX 1024

struct asked {
	struct cli_output out;
	bool meminfo, nonzero;
	int sort;
	struct stow_root *root;
	char **words;
	int n_words;
	struct stat_view before; /* for rates */
	bool has_before;
};

static int take_node(const char *text, void *value, struct stow_err *err)
{
	uint64_t node;
	int r = stow_parse_u64(text, STOW_IDSET_MAX - 1, &node, NULL);

	if (r < 0)
		return stow_err_set(err, -r, "\"%.32s\": expected the number of a NUMA node", text);
	*(int *)value = (int)node;
	return 0;
}

/* Return the exit code. Missing processes and containers were reported already. */
static int code_of(const struct stat_view *view)
{
	if (!view->n_failed)
		return CLI_OK;
	return view->n_processes || view->n_containers ? CLI_PARTIAL : CLI_FAILED;
}

static int show(void *data)
{
	struct asked *asked = data;
	struct stat_view view = { .out = &asked->out,
				  .meminfo = asked->meminfo,
				  .nonzero = asked->nonzero,
				  .again = asked->has_before && !isatty(STDOUT_FILENO),
				  .sort = asked->sort };
	const struct stat_view *before = asked->has_before ? &asked->before : NULL;
	struct stow_err err = { 0 };
	int code, r = stat_view_read(asked->root, &view, asked->words, asked->n_words, &err);

	if (r == 0 && asked->out.json)
		r = stat_print_json(&view, before);
	else if (r == 0 && !asked->out.quiet)
		r = stat_print_text(&view, before, &err);
	code = code_of(&view);
	if (asked->has_before)
		stat_view_done(&asked->before);
	asked->before = view;
	asked->has_before = true;
	if (r == -ENOMEM && !err.msg[0])
		(void)stow_err_sys(&err, ENOMEM, "stat");
	if (r < 0)
		return cli_table_printed("stat", r, &err);
	return code;
}

static void more_help(const struct cli_column *columns)
{
	cli_columns_help(stat_node_columns);
	printf("\nOf processes:\n");
	cli_columns_help(stat_process_columns);
	printf("\nOf containers:\n");
	cli_columns_help(stat_container_columns);
}

int cmd_stat(int argc, char **argv)
{
	struct asked asked = { .out = { .sysroot = "/" }, .sort = -1 };
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	_cleanup_free_ char *id = NULL;
	bool sorted = false, last = false;
	const struct cli_usage usage = {
		.name = "stat",
		.arguments = "[OPTION...] [--last | PID | CONTAINER | NAME]...",
		.summary = "Show the NUMA nodes' hits and misses; or on which nodes the memory of "
			   "processes and containers is",
		.options = "      --meminfo        show all fields of the nodes' meminfo\n"
			   "      --sort NODE      sort by what is on this NUMA node\n"
			   "      --nonzero        leave out rows that are 0\n"
			   "      --last           the container that got its grant "
			   "last\n" CLI_OUTPUT_HELP,
		.words = WORDS_MAX,
		.more = more_help,
	};
	const struct cli_option options[] = {
		{ "meminfo", .flag = &asked.meminfo },
		{ "sort", .flag = &sorted, .argument = true, .take = take_node,
		  .value = &asked.sort },
		{ "nonzero", .flag = &asked.nonzero },
		{ "last", .flag = &last },
		CLI_OUTPUT_OPTIONS(&asked.out),
		{ NULL },
	};
	struct stow_err err = { 0 };
	int code = cli_options(&usage, options, argc, argv);

	if (code >= 0)
		return code;
	asked.words = argv + optind;
	asked.n_words = argc - optind;
	if (last)
		code = cli_last_word("stat", asked.out.sysroot, &asked.words, &asked.n_words, &id);
	if (code >= 0)
		return code;
	if (asked.meminfo && asked.n_words)
		return cli_wrong_usage("stat", "--meminfo is about nodes, not about \"%.64s\"",
				       asked.words[0]);
	if (stow_root_open(asked.out.sysroot, &root, &err) < 0)
		return cli_fail(&err);
	asked.root = root;
	code = cli_output_run(&asked.out, show, &asked);
	if (asked.has_before)
		stat_view_done(&asked.before);
	return code;
}
