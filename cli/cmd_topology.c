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

void topology_given(const struct stow_usage *usage, const struct stow_node *node,
		    struct topology_given *ret)
{
	struct topology_given given = { .exclusive = usage->exclusive };

	stow_idset_and(&given.exclusive, &node->cpus);
	given.fenced = stow_idset_has(&usage->fenced, node->id);
	for (size_t i = 0; i < usage->n_nodes; i++) {
		if (usage->nodes[i].id != node->id)
			continue;
		given.shared_cpus = usage->nodes[i].shared_cpus;
		given.memory = usage->nodes[i].memory;
		given.pools = &usage->nodes[i];
	}
	*ret = given;
}

static int by_cpu_id(const void *id, const void *cpu)
{
	return *(const int *)id - ((const struct stow_cpu *)cpu)->id;
}

static const struct stow_cpu *find_cpu(const struct stow_topology *topology, int id)
{
	return topology->n_cpus ? bsearch(&id, topology->cpus, topology->n_cpus,
					  sizeof(*topology->cpus), by_cpu_id)
				: NULL;
}

static int level_of(const struct stow_cpu *cpu, enum topology_level level)
{
	return level == TOPOLOGY_CORE ? cpu->core : level == TOPOLOGY_LLC ? cpu->llc : cpu->package;
}

int topology_groups(const struct stow_topology *topology, const struct stow_idset *cpus,
		    enum topology_level level, struct stow_idset **ret)
{
	_cleanup_free_ int *slot = NULL; /* the group of each id, from 1; 0: none yet */
	struct stow_idset *groups;
	int n = 0;

	slot = calloc(topology->n_cpus + 1, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	STOW_IDSET_FOR(id, cpus) {
		const struct stow_cpu *cpu = find_cpu(topology, id);

		if (cpu && !slot[level_of(cpu, level)])
			slot[level_of(cpu, level)] = ++n;
	}
	groups = calloc((size_t)n + 1, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	STOW_IDSET_FOR(id, cpus) {
		const struct stow_cpu *cpu = find_cpu(topology, id);

		if (cpu)
			stow_idset_add(&groups[slot[level_of(cpu, level)] - 1], id);
	}
	*ret = groups;
	return n;
}

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
