// SPDX-License-Identifier: Apache-2.0
/* numastow drains, cancel: for this machine from the ledger; for the fleet by its scheduler. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/drain_view.h"
#include "cli/json_writer.h"
#include "cli/message.h"
#include "cli/options.h"

/* --- drains --------------------------------------------------------------- */

struct asked {
	bool json, quiet;
	uint64_t watch;
	struct stow_grid_style style;
};

/* Return the exit code. */
static int print(PbDrain *const *drains, size_t n, const struct asked *asked)
{
	struct json_object *out, *list;
	struct stow_err err;

	if (!asked->json)
		return cli_table_printed(
			"drains", drain_view_list(drains, n, false, &asked->style, &err), &err);
	/* The message with which the agent answers. */
	out = json_object_new_object();
	list = json_object_new_array();
	for (size_t i = 0; i < n; i++)
		json_object_array_add(list, cli_message_json(&drains[i]->base));
	json_object_object_add(out, "drains", list);
	cli_print_json(json_with_version(out));
	return CLI_OK;
}

/* Return the exit code, or -ENOMEM. */
static int print_rows(const struct stow_drain_row *rows, size_t n, const struct asked *asked,
		      struct stow_err *err)
{
	_cleanup_free_ PbDrain **drains = calloc(n + 1, sizeof(*drains));
	size_t made = 0;
	int r = -ENOMEM;

	for (; drains && made < n; made++) {
		drains[made] = stow_drain_row_message(&rows[made]);
		if (!drains[made])
			break;
	}
	if (drains && made == n)
		r = print(drains, n, asked);
	for (size_t i = 0; i < made; i++)
		pb_drain__free_unpacked(drains[i], NULL);
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : r;
}

static int show(void *data)
{
	const struct asked *asked = data;
	_cleanup_(cli_context_done) struct cli_context context;
	struct stow_drain_row *rows = NULL;
	struct stow_err err;
	size_t n = 0;
	int r;

	r = cli_context_open_anyway(&context, NULL, false, &err);
	if (r == 0 && context.ledger)
		r = stow_drain_rows(context.ledger, &rows, &n, &err);
	if (r < 0)
		return cli_fail(&err);
	r = asked->quiet ? CLI_OK : print_rows(rows, n, asked, &err);
	stow_drain_rows_free(rows, n);
	return r < 0 ? cli_fail(&err) : r;
}

int cmd_drains(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "drains",
		.arguments = "[OPTION...] [--cluster | MACHINE]",
		.summary = "Show running drains of this machine, or of the fleet",
		.options = "      --cluster        the scheduler's drains, of all machines or of "
			   "MACHINE\n"
			   "  -J, --json           print JSON\n" CLI_STYLE_HELP CLI_BYTES_HELP
				   CLI_READ_HELP
			   "  -h, --help           print this text\n" CLI_FLEET_HELP,
		.words = 1,
		.list = drain_view_columns,
	};
	struct asked asked = { 0 };
	bool fleet = false;
	const struct cli_option options[] = { { "cluster", .flag = &fleet },
					      { "json", 'J', .flag = &asked.json },
					      CLI_SIZES_OPTIONS(&asked.style),
					      CLI_READ_OPTIONS(&asked),
					      CLI_FLEET_OPTIONS(&fleet),
					      { "timeout", .flag = &fleet, .argument = true },
					      { 0 } };
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	if (fleet || argc > optind)
		return cli_become_fleet(argc, argv);
	return cli_watch(asked.watch, asked.json, show, &asked);
}

/* --- cancel --------------------------------------------------------------- */

static int cancel(const char *id, bool json)
{
	_cleanup_(cli_context_done) struct cli_context context;
	char whole[STOW_DRAIN_ID_LEN + 1];
	struct stow_err err;
	int r;

	r = cli_context_open_change(&context, false, &err);
	if (r == 0 && !context.ledger)
		r = stow_err_set(&err, ENOENT, "no drain is running on this machine");
	if (r == 0)
		r = stow_drain_cancel(context.ledger, id, whole, &err);
	if (r < 0)
		return cli_fail(&err);
	cli_audit(&context, "cancel", whole, "the drain was cancelled");
	if (json) {
		struct json_object *out = json_object_new_object();

		json_object_object_add(out, "id", json_object_new_string(whole));
		cli_print_json(json_with_version(out));
	} else {
		printf("drain %s is being cancelled\n", whole);
	}
	return CLI_OK;
}

int cmd_cancel(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "cancel",
		.arguments = "[--cluster] [ID]",
		.summary = "Cancel a drain and undo it",
		.options =
			"      --cluster        cancel a drain of the scheduler\n"
			"  -J, --json           print JSON\n"
			"  -h, --help           print this text\n"
			"  ID                   a drain's id or the beginning of it; without it, "
			"the only\n"
			"                       drain\n" CLI_FLEET_HELP,
		.words = 1,
	};
	bool fleet = false, json = false;
	const struct cli_option options[] = { { "cluster", .flag = &fleet },
					      { "json", 'J', .flag = &json },
					      CLI_FLEET_OPTIONS(&fleet),
					      { "timeout", .flag = &fleet, .argument = true },
					      { 0 } };
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	return fleet ? cli_become_fleet(argc, argv)
		     : cancel(argv[optind] ? argv[optind] : "", json);
}
