// SPDX-License-Identifier: Apache-2.0
/* numastow status: whether containers are placed on this machine, and what keeps them from it. */
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/view/status.h"
#include "cli/view/view.h"

struct asked {
	struct cli_output out;
	struct stow_root *root;
};

static int show(void *data)
{
	struct asked *asked = data;
	_cleanup_(status_done) struct status status = {
		.root = asked->root,
		.sysroot = asked->out.sysroot,
		.mode = "enforce",
	};
	struct stow_err err = { 0 };
	int r = status_look(&status, &err);

	if (r == 0) {
		status_daemons(&status);
		r = status_print(&status, &asked->out);
		if (r < 0)
			stow_err_sys(&err, -r, "printing the status");
	}
	return r < 0 ? cli_fail(&err) : r > 0 ? CLI_PROBLEMS : CLI_OK;
}

int cmd_status(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "status",
		.arguments = "[OPTION...]",
		.summary =
			"Show whether containers are placed on this machine: hooks, configuration, "
			"agent, "
			"scheduler, Kubernetes, what is granted, the last refusals, and what to do",
		.options = "  -J, --json           print JSON\n"
			   "  -b, --bytes          print sizes in bytes\n" CLI_READ_HELP
			   "  -s, --sysroot DIR    look at DIR, a copy of a machine's files\n"
			   "  -h, --help           print this text\n",
	};
	struct asked asked = { .out.sysroot = "/" };
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	const struct cli_option options[] = {
		{ "json", 'J', .flag = &asked.out.json },
		{ "bytes", 'b', .flag = &asked.out.bytes },
		CLI_READ_OPTIONS(&asked.out),
		{ "sysroot", 's', .text = &asked.out.sysroot },
		{ 0 },
	};
	struct stow_err err = { 0 };
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	if (stow_root_open(asked.out.sysroot, &root, &err) < 0)
		return cli_fail(&err);
	asked.root = root;
	return cli_output_run(&asked.out, show, &asked);
}
