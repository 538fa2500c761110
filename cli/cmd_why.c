// SPDX-License-Identifier: Apache-2.0
/* numastow why: what happened to a container, and for what reason. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/timestamp.h"
#include "cli/cli.h"
#include "cli/container.h"
#include "cli/context.h"
#include "cli/options.h"
#include "cli/paragraph.h"
#include "grant/show.h"

/* Between two looks at the ledger. */
#define PAUSE (500 * STOW_MILLISECOND)

#define INDENT 4 /* of a reason */

struct asked {
	const char *sysroot;
	bool json, last, follow, quiet;
	bool since_given;
	uint64_t since; /* ns since 1970 */
};

/* Find the container of the newest event. */
static int newest(const struct cli_context *context, char **ret, struct stow_err *err)
{
	struct stow_event *events = NULL;
	size_t n = 0;
	int r = 0;

	if (context->ledger)
		r = stow_ledger_events(context->ledger, NULL, 1, &events, &n, err);
	if (r == 0 && !n)
		r = stow_err_set(err, ENOENT, "nothing has happened since boot");
	if (r == 0)
		*ret = strdup(events[n - 1].id);
	if (r == 0 && !*ret)
		r = stow_err_sys(err, ENOMEM, "the history");
	stow_events_free(events, n);
	return r;
}

/* Print a history: reasons, which are below their events, are fitted to the terminal. */
static void print_events(char *text)
{
	char *next = NULL;

	for (char *line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (strncmp(line, "    ", INDENT) == 0)
			cli_sentence(INDENT, "", line + INDENT);
		else if (next || *line)
			puts(line);
	}
}

/* Read once, and print. */
static int print(struct cli_context *context, const struct stow_show_asked *asked,
		 struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	int r = stow_show_history(&context->grant, asked, &text, err);

	if (r == 0 && asked->json)
		fputs(text, stdout);
	else if (r == 0 && !*text && !asked->id && !asked->since && !asked->after)
		puts("The history is empty: no container was placed or refused.");
	else if (r == 0)
		print_events(text);
	return r;
}

/* Open the ledger again if it was made, or replaced after damage, since the last look. Return
 * whether it was. */
static int open_replaced(struct cli_context *context, ino_t *inode, struct stow_err *err)
{
	ino_t last = *inode;
	struct stat st;
	int r;

	*inode = stow_root_stat(context->root, &st, NULL, "%s", STOW_LEDGER_PATH) == 0 ? st.st_ino
										       : 0;
	if (*inode == last)
		return 0;
	stow_ledger_close_ptr(&context->ledger);
	context->ledger = NULL;
	r = stow_ledger_open(context->root, false, &context->ledger, err);
	context->grant.ledger = context->ledger;
	return r == 0 || r == -ENOENT ? 1 : r;
}

/* Print new events until a signal ends the program, or the reader of its output has gone. */
static int follow(struct cli_context *context, const struct stow_show_asked *asked,
		  struct stow_err *err)
{
	struct stow_show_read after = { .seq = -1 };
	struct stow_show_asked wanted = *asked;
	uint32_t seen = 0;
	ino_t inode = 0;
	int r;

	wanted.after = &after;
	for (;;) {
		uint32_t now;

		r = open_replaced(context, &inode, err);
		if (r < 0)
			return r;
		/* Before the reading: what comes in between is read in the next round. */
		now = context->ledger ? stow_ledger_changes(context->ledger) : 0;
		if (r > 0 || after.seq < 0 || now != seen)
			r = print(context, &wanted, err);
		seen = now;
		if (r < 0)
			return r;
		if (cli_finish(CLI_OK) != CLI_OK)
			return -EIO; /* which it has printed */
		cli_end_without_reader();
		stow_clock_sleep(PAUSE);
	}
}

static int show(const struct asked *asked, const char *name, struct stow_err *err)
{
	struct stow_show_asked wanted = { .since = asked->since, .json = asked->json };
	_cleanup_(cli_context_done) struct cli_context context;
	_cleanup_free_ char *id = NULL, *text = NULL;
	int r;

	r = cli_context_open_anyway(&context, asked->sysroot, false, err);
	if (r == 0 && asked->last)
		r = newest(&context, &id, err);
	/* Of containers that are gone only the ids are known, in the history. */
	else if (r == 0 && name && cli_container_id(context.root, name, &id, NULL) == 0)
		name = id;
	if (r < 0)
		return r;
	wanted.id = id ? id : name;
	if (asked->quiet)
		return stow_show_history(&context.grant, &wanted, &text, err);
	return asked->follow ? follow(&context, &wanted, err) : print(&context, &wanted, err);
}

static int take_since(const char *text, void *value, struct stow_err *err)
{
	return stow_timestamp_parse(text, stow_clock_wall(), value, err);
}

int cmd_why(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "why",
		.arguments = "[OPTION...] [ID | --last]",
		.summary = "Show where a container was placed or why it was refused, and what "
			   "happened since",
		.options =
			"  -f, --follow       print new events as they come, until interrupted\n"
			"      --last         the container of the newest event\n"
			"  -S, --since TIME   events since then: \"1h ago\", today, \"2026-01-31 "
			"12:00\"\n"
			"  -J, --json         print JSON; with --follow, one object after another\n"
			"  -q, --quiet        print errors only: the exit code is 1 for an "
			"unknown ID\n"
			"  -s, --sysroot DIR  read the ledger of a copied tree\n"
			"  -h, --help         print this text\n"
			"  ID                 a container's id, the beginning of it, or its name; "
			"without\n"
			"                     it, the newest 100 events of all, or all since "
			"--since\n",
		.words = 1,
	};
	struct asked asked = { 0 };
	const struct cli_option options[] = { { "follow", 'f', .flag = &asked.follow },
					      { "last", .flag = &asked.last },
					      { "since", 'S', .flag = &asked.since_given,
						.argument = true, .take = take_since,
						.value = &asked.since },
					      { "json", 'J', .flag = &asked.json },
					      { "quiet", 'q', .flag = &asked.quiet },
					      { "sysroot", 's', .text = &asked.sysroot },
					      { 0 } };
	int r = cli_options(&usage, options, argc, argv);
	struct stow_err err = { 0 };

	if (r >= 0)
		return r;
	if (asked.last)
		r = cli_last_alone("why", argv[optind]);
	if (r >= 0)
		return r;
	r = show(&asked, argv[optind], &err); /* NULL: all containers */
	/* Only root can read the file; the agent shows it to the group `readers`. */
	if (r == -EACCES && !asked.sysroot && !asked.last && geteuid() != 0) {
		if (!asked.follow && !asked.since_given)
			return cli_become_fleet(argc, argv);
		r = stow_err_set(&err, EACCES,
				 "only root can read this machine's ledger, which --since and "
				 "--follow need");
	}
	if (r < 0 && err.msg[0])
		(void)cli_fail(&err);
	return r < 0 ? CLI_FAILED : CLI_OK;
}
