// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"
#include "cli/context.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/topology_view.h"
#include "ledger/ledger.h"

static int show(struct stow_root *root, bool json, struct stow_err *err)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *topology = NULL;
	_cleanup_(stow_memblocks_done_ptr) struct stow_memblocks blocks = { 0 };
	_cleanup_(stow_devices_done_ptr) struct stow_devices devices = { 0 };
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_(stow_usage_free_ptr) struct stow_usage *usage = NULL;
	struct topology_view view = { .blocks = &blocks, .devices = &devices };
	static const struct stow_topology nothing;
	int r;

	r = stow_memblocks_read(root, 0, &blocks, err);
	if (r == 0)
		r = stow_devices_read(root, &devices, err);
	if (r < 0)
		return r;
	r = stow_topology_read(root, STOW_TOPOLOGY_ALL, &topology, err);
	if (r == -ENODATA && blocks.n_blocks)
		view.topology = &nothing; /* a copied tree that has memory blocks only */
	else if (r < 0)
		return r;
	else
		view.topology = topology;
	/* Without a ledger nothing was granted. */
	if (stow_ledger_open(root, false, &ledger, NULL) == 0 &&
	    stow_ledger_usage(ledger, &usage, NULL) == 0)
		view.usage = usage;
	if (cli_ledger_hidden(root))
		fputs("numastow: grants are not shown: only root can read this machine's ledger; "
		      "`numastow node` asks the agent\n",
		      stderr);
	r = json ? topology_print_json(&view) : topology_print_text(&view);
	return r < 0 ? stow_err_sys(err, -r, "printing the topology") : 0;
}

int cmd_topology(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "json", no_argument, NULL, 'j' },
		{ "sysroot", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	const char *sysroot = "/";
	struct stow_err err = { 0 };
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "hjs:", options, NULL)) >= 0) {
		switch (c) {
		case 'h':
			cli_usage("topology", "[--json] [--sysroot DIR]",
				  "Show the machine's NUMA nodes: CPUs, memory, hugepages, memory "
				  "blocks, devices\nand distances",
				  "  -j, --json         print JSON, see numastow-topology(1)\n"
				  "  -s, --sysroot DIR  read /sys and /proc below DIR, a copy of "
				  "another machine's\n"
				  "  -h, --help         print this text\n");
			return CLI_OK;
		case 'j':
			json = true;
			break;
		case 's':
			sysroot = optarg;
			break;
		default:
			return cli_bad_usage("topology");
		}
	}
	if (optind < argc) {
		fprintf(stderr, "numastow: topology takes no argument \"%.64s\"\n", argv[optind]);
		return cli_bad_usage("topology");
	}
	if (stow_root_open(sysroot, &root, &err) < 0 || show(root, json, &err) < 0)
		return cli_fail(&err);
	return CLI_OK;
}
