// SPDX-License-Identifier: Apache-2.0
/* numastow top: NUMA nodes and containers, live. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/options.h"
#include "cli/process.h"
#include "cli/view/output.h"
#include "cli/view/top.h"
#include "cli/view/top_frame.h"
#include "cli/view/top_screen.h"
#include "cli/view/view.h"
#include "node/topology.h"

#define DELAY (2 * STOW_SECOND)

struct asked {
	struct top_view view;
	const char *sysroot;
	bool text, json, limited;
	uint64_t iterations; /* 0: no limit */
};

/* --- options -------------------------------------------------------------------- */

static int take_sort(const char *text, void *value, struct stow_err *err)
{
	enum top_sort *sort = value;

	for (int i = 0; top_sort_names[i]; i++)
		if (strcmp(text, top_sort_names[i]) == 0) {
			*sort = (enum top_sort)i;
			return 0;
		}
	return stow_err_set(
		err, EINVAL,
		"\"%.32s\": expected name, grant, cpus, busy, nodes, promised, memory or "
		"off-node",
		text);
}

static int take_filter(const char *text, void *value, struct stow_err *err)
{
	char *filter = value;

	if (strlen(text) > TOP_FILTER_MAX)
		return stow_err_set(err, EINVAL, "\"%.16s...\": expected at most %d bytes", text,
				    TOP_FILTER_MAX);
	snprintf(filter, TOP_FILTER_MAX + 1, "%s", text);
	/* Names are compared as they are shown. */
	stow_text_clean(filter, TOP_FILTER_MAX);
	return 0;
}

static int take_iterations(const char *text, void *value, struct stow_err *err)
{
	uint64_t *iterations = value;

	if (stow_parse_u64(text, UINT32_MAX, iterations, NULL) < 0 || *iterations == 0)
		return stow_err_set(err, EINVAL, "\"%.32s\": expected a number of at least 1",
				    text);
	return 0;
}

/* --- without a full screen -------------------------------------------------------- */

static int print(struct top_view *view, struct stow_err *err)
{
	struct top_frame frame = { 0 };
	char clock[32];

	cli_format_time(stow_clock_wall(), clock, sizeof(clock));
	if (top_frame_make(view, cli_width(), 0, clock, &frame) < 0)
		return stow_err_sys(err, ENOMEM, "top");
	for (size_t i = 0; i < frame.n; i++)
		puts(frame.lines[i].text);
	top_frame_done(&frame);
	return 0;
}

static int run_text(struct asked *asked, struct stow_err *err)
{
	uint64_t pause = top_first_delay(&asked->view);

	for (uint64_t done = 0; !asked->iterations || done < asked->iterations; done++) {
		int r;

		if (done && !asked->json)
			putchar('\n');
		stow_clock_sleep(pause);
		pause = asked->view.delay;
		r = top_view_read(&asked->view, err);
		if (r == 0 && asked->json)
			r = top_json_print(&asked->view) < 0 ? stow_err_sys(err, ENOMEM, "top") : 0;
		else if (r == 0)
			r = print(&asked->view, err);
		if (r < 0)
			return r;
		if (cli_finish(CLI_OK) != CLI_OK)
			return -EIO; /* which it has printed */
	}
	return 0;
}

/* --- what is selected ---------------------------------------------------------------- */

static int select_word(struct top_view *view, const char *word, struct stow_err *err)
{
	struct cli_container found = { 0 };
	uint64_t pid;
	int r;

	if (!word)
		return 0;
	view->details = true;
	if (cli_is_pid(word)) {
		r = stow_parse_u64(word, INT32_MAX, &pid, err);
		if (r == 0 && stow_root_exists(view->source.root, "/proc/%d", (int)pid) <= 0)
			r = cli_no_process(view->source.root, (pid_t)pid, err);
		if (r == 0)
			top_pages_select(&view->pages, "", (pid_t)pid);
		return r;
	}
	r = cli_container_find(view->source.root, word, &found, err);
	if (r < 0)
		return r;
	snprintf(view->selected, sizeof(view->selected), "%s", found.id);
	top_pages_select(&view->pages, found.id, 0);
	cli_container_done(&found);
	return 0;
}

static int run(struct asked *asked, const char *word, struct stow_err *err)
{
	struct top_view *view = &asked->view;
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	struct stow_idset cpus = { 0 };
	int r = stow_root_open(asked->sysroot, &root, err);

	if (r < 0)
		return r;
	view->source.root = root;
	(void)stow_online_cpus(root, &cpus, NULL);
	top_pmu_open(root, &cpus, &view->pmu);
	r = select_word(view, word, err);
	if (r == 0)
		r = top_view_read(view, err);
	if (r == 0)
		r = asked->text ? run_text(asked, err)
				: top_screen_run(view, asked->iterations, err);
	top_view_done(view);
	return r;
}

static void more_help(const struct cli_column *columns)
{
	printf("\nOn a terminal: q quits, ? shows the other keys.\n");
}

int cmd_top(int argc, char **argv)
{
	struct asked asked = { .sysroot = "/", .view = { .sort = TOP_MEMORY, .delay = DELAY } };
	static const struct cli_usage usage = {
		.name = "top",
		.arguments = "[OPTION...] [--last | CONTAINER | PID]",
		.summary = "Show NUMA nodes and containers, live; of the one that is named, the "
			   "pages of its processes, too",
		.options = "      --text           print plain text, one output below the other\n"
			   "  -d, --delay TIME     read again every TIME: 500ms, 2s\n"
			   "  -J, --json           print a JSON object for each output\n"
			   "      --last           the container that got its grant last\n"
			   "      --filter TEXT    only containers with TEXT in the name or id\n"
			   "      --iterations N   end after N outputs\n"
			   "  -N, --node LIST      only these NUMA nodes in the first table\n"
			   "      --sort COLUMN    sort containers by this column: name, grant, "
			   "cpus,\n"
			   "                       busy, nodes, promised, memory, off-node\n"
			   "  -s, --sysroot DIR    read /sys and /proc below DIR, a copy of a "
			   "machine's\n"
			   "  -h, --help           print this text\n",
		.words = 1,
		.more = more_help,
	};
	bool delayed = false, sorted = false, filtered = false, last = false;
	_cleanup_free_ char *id = NULL;
	const struct cli_option options[] = {
		{ "text", .flag = &asked.text },
		{ "delay", 'd', .flag = &delayed, .argument = true, .take = cli_take_watch,
		  .value = &asked.view.delay },
		{ "filter", .flag = &filtered, .argument = true, .take = take_filter,
		  .value = asked.view.filter },
		{ "json", 'J', .flag = &asked.json },
		{ "last", .flag = &last },
		{ "iterations", .flag = &asked.limited, .argument = true, .take = take_iterations,
		  .value = &asked.iterations },
		{ "node", 'N', .take = cli_take_nodes, .value = &asked.view.nodes },
		{ "sort", .flag = &sorted, .argument = true, .take = take_sort,
		  .value = &asked.view.sort },
		{ "sysroot", 's', .text = &asked.sysroot },
		{ NULL },
	};
	struct stow_err err = { 0 };
	int r = cli_options(&usage, options, argc, argv), n = 0;
	char **words = argv + optind;

	if (r >= 0)
		return r;
	if (last)
		r = cli_last_word("top", asked.sysroot, &words, &n, &id);
	if (r >= 0)
		return r;
	/* Without a terminal there is no full screen. */
	asked.text |= asked.json || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO);
	r = run(&asked, *words, &err);
	if (r < 0 && err.msg[0])
		(void)cli_fail(&err);
	return r < 0 ? CLI_FAILED : CLI_OK;
}
