// SPDX-License-Identifier: Apache-2.0
/* numastow ledger and why, for users that cannot read the ledger, from the agent. */
#include <errno.h>

#include "cli/fleet/fleet.h"

static int show(struct fleet *fleet, bool history, struct stow_err *err)
{
	PbShowLedgerRequest request = PB_SHOW_LEDGER_REQUEST__INIT;
	const struct stow_grid_style *o = &fleet->options->style;
	PbTableStyle style = PB_TABLE_STYLE__INIT;
	PbShowLedgerResponse *response = NULL;
	int r;

	if (o->columns)
		style.columns = (char *)(uintptr_t)o->columns;
	style.all = o->all;
	style.noheadings = o->noheadings;
	style.pairs = o->pairs;
	style.raw = o->raw;
	style.bytes = o->bytes;
	request.style = &style;
	request.width = (uint32_t)cli_width();
	request.history = history;
	request.json = fleet->options->json;
	if (fleet->options->n_words)
		request.id = (char *)fleet->options->words[0];
	r = fleet_call(fleet, "ShowLedger", &request, &response, err);
	if (r == -ENOENT) /* the ledger has no such id */
		return r;
	if (r == -EINVAL && o->columns) /* and no such column */
		return cli_table_printed("ledger", r, err);
	if (r < 0)
		return stow_err_wrap(err, r,
				     "only root can read this machine's ledger, and its agent did "
				     "not show it");
	fputs(response->text, stdout);
	stow_rpc_message_free(response);
	return CLI_OK;
}

static int run_ledger(struct fleet *fleet, struct stow_err *err)
{
	return show(fleet, false, err);
}

static int run_why(struct fleet *fleet, struct stow_err *err)
{
	return show(fleet, true, err);
}

const struct fleet_command fleet_ledger = {
	.name = "ledger",
	.table = true,
	.reads = true,
	.arguments = "",
	.summary = "Show the grants of this machine's containers, from its agent",
	.peer = FLEET_AGENT,
	.run = run_ledger,
};

const struct fleet_command fleet_why = {
	.name = "why",
	.arguments = "[ID]",
	.summary = "Show what happened to a container, from this machine's agent",
	.reads = true,
	.max_words = 1,
	.peer = FLEET_AGENT,
	.run = run_why,
};
