// SPDX-License-Identifier: Apache-2.0
/* numastow topology as text and as JSON. Its other views and options are in numastow-view: this
 * program has no shared libraries to load, so it starts faster. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/topology_view.h"

/* Return whether the arguments are no more than --json and --sysroot DIR. */
static bool is_plain(int argc, char **argv, bool *ret_json, const char **ret_sysroot)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-J") == 0)
			*ret_json = true;
		else if ((strcmp(argv[i], "--sysroot") == 0 || strcmp(argv[i], "-s") == 0) &&
			 i + 1 < argc)
			*ret_sysroot = argv[++i];
		else
			return false;
	}
	return true;
}

int cmd_topology(int argc, char **argv)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	struct topology_data data = { 0 };
	const char *sysroot = "/";
	struct stow_err err = { 0 };
	bool json = false;
	int r;

	if (!is_plain(argc, argv, &json, &sysroot))
		return cli_become_view(argc, argv);
	r = stow_root_open(sysroot, &root, &err);
	if (r == 0)
		r = topology_load(root, TOPOLOGY_EVERYTHING, &data, &err);
	if (r < 0)
		return cli_fail(&err);
	r = json ? topology_print_json(&data.view) : topology_print_text(&data.view);
	topology_unload(&data);
	if (r < 0) {
		(void)stow_err_sys(&err, -r, "printing the topology");
		return cli_fail(&err);
	}
	return CLI_OK;
}
