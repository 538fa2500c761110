// SPDX-License-Identifier: Apache-2.0
/* numastow why: what happened to a container, and for what reason. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/container.h"
#include "cli/context.h"
#include "cli/options.h"
#include "grant/show.h"

struct asked {
	const char *sysroot;
	bool json, last;
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

static int show(const struct asked *asked, const char *name, struct stow_err *err)
{
	_cleanup_(cli_context_done) struct cli_context context;
	_cleanup_free_ char *text = NULL, *id = NULL;
	int r;

	r = cli_context_open_anyway(&context, asked->sysroot, false, err);
	if (r == 0 && asked->last)
		r = newest(&context, &id, err);
	/* Of containers that are gone only the ids are known, in the history. */
	else if (r == 0 && name && cli_container_id(context.root, name, &id, NULL) == 0)
		name = id;
	if (r == 0)
		r = stow_show_history(&context.grant, id ? id : name, asked->json, &text, err);
	if (r == 0)
		fputs(text, stdout);
	return r;
}

int cmd_why(int argc, char **argv)
{
	static const struct cli_usage usage = {
		"why",
		"[OPTION...] [ID | --last]",
		"Show where a container was placed or why it was refused, and what happened since",
		"      --last         the container of the newest event\n"
		"  -J, --json         print JSON\n"
		"  -s, --sysroot DIR  read the ledger of a copied tree\n"
		"  ID                 a container's id, the beginning of it, or its name; without "
		"it, "
		"the\n"
		"                     newest 100 events of all\n",
		1,
		NULL
	};
	struct asked asked = { 0 };
	const struct cli_option options[] = { { "last", .flag = &asked.last },
					      { "json", 'J', .flag = &asked.json },
					      { "sysroot", 's', .text = &asked.sysroot },
					      { 0 } };
	int r = cli_options(&usage, options, argc, argv);
	struct stow_err err;

	if (r >= 0)
		return r;
	if (asked.last)
		r = cli_last_alone("why", argv[optind]);
	if (r >= 0)
		return r;
	r = show(&asked, argv[optind], &err); /* NULL: all containers */
	/* Only root can read the file; the agent shows it to the group `readers`. */
	if (r == -EACCES && !asked.sysroot && !asked.last && geteuid() != 0)
		return cli_become_fleet(argc, argv);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}
