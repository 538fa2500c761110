// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

/* In the order in which --help shows them. */
static const struct cli_command commands[] = {
	{ "topology", "[--json] [--sysroot DIR]",
	  "Show the machine's NUMA nodes and what they have", cmd_topology },
	{ "ledger", "[--json]", "Show the grants of containers", cmd_ledger },
	{ "explain", "[OPTION...] [KEY=VALUE...]", "Show where a request would be placed, and why",
	  cmd_explain },
	{ "why", "[--json] [ID]", "Show why a container was placed or refused", cmd_why },
	{ "release", "ID", "Undo a container's grant", cmd_release },
	{ "gc", "[--quiet] [--rebuild]", "Reclaim grants of ended containers", cmd_gc },
	{ "restore", "--all | ID", "Undo placements of running containers", cmd_restore },
	{ "drain", "[MACHINE] [OPTION...]", "Take memory off a running machine", cmd_drain },
	{ "drains", "[MACHINE]", "Show running drains", cmd_drains },
	{ "cancel", "[ID]", "Stop a drain and undo it", cmd_cancel },

	{ "blocks", "[OPTION...]", "Show the memory blocks, and whether they can leave",
	  cmd_blocks },
	{ "online", "[--zone movable|kernel] BLOCKS", "Bring memory blocks online", cmd_online },
	{ "offline", "[--timeout TIME] BLOCKS", "Take memory blocks offline", cmd_offline },

	{ "containers", "[ID...]", "Show this machine's containers, as the agent sees them",
	  cli_become_fleet },
	{ "repin", "[OPTION...] ID", "Move a running container to other NUMA nodes",
	  cli_become_fleet },

	{ "nodes", "[NODE...]", "Show what the fleet's machines have and give", cli_become_fleet },
	{ "node", "[NODE]", "Show one machine of the fleet, or this one", cli_become_fleet },
	{ "watch", "[NODE...]", "Show the fleet as it changes", cli_become_fleet },
	{ "place", "[OPTION...] KEY=VALUE...", "Reserve room for pods in the fleet",
	  cli_become_fleet },
	{ "reservations", "[NODE]", "Show reservations, and their containers", cli_become_fleet },
	{ "fence", "NODE NUMA_NODES", "Stop placing on NUMA nodes", cli_become_fleet },
	{ "unfence", "NODE NUMA_NODES", "Lift a fence", cli_become_fleet },
};

static void print_help(void)
{
	int width = 0;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(commands); i++)
		if ((int)strlen(commands[i].name) > width)
			width = (int)strlen(commands[i].name);
	printf("Usage: numastow COMMAND [ARGUMENT...]\n"
	       "\n"
	       "Stows containers onto NUMA nodes.\n"
	       "\n"
	       "Commands:\n");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(commands); i++)
		printf("  %-*s  %s\n", width, commands[i].name, commands[i].summary);
	printf("\n"
	       "Options:\n"
	       "  -h, --help     print this text, or with a command that command's\n"
	       "  -V, --version  print the version\n");
}

static const struct cli_command *find_command(const char *name)
{
	for (size_t i = 0; i < STOW_ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *names[STOW_ARRAY_SIZE(commands) + 1] = { NULL };
	int near;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(commands); i++)
		names[i] = commands[i].name;
	near = stow_nearest(name, names);
	fprintf(stderr, "numastow: \"%.64s\" is not a command", name);
	if (near >= 0)
		fprintf(stderr, ", did you mean \"%s\"?\n", names[near]);
	else
		fprintf(stderr, ". Try 'numastow --help'.\n");
	return CLI_USAGE;
}

/* `explain` and `release` ask the scheduler with --cluster. */
static bool about_cluster(int argc, char **argv)
{
	if (strcmp(argv[1], "explain") != 0 && strcmp(argv[1], "release") != 0)
		return false;
	for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--cluster") == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	const struct cli_command *command;

	if (!name) {
		fprintf(stderr, "numastow: missing command. Try 'numastow --help'.\n");
		return CLI_USAGE;
	}
	if (strcmp(name, "-V") == 0 || strcmp(name, "--version") == 0) {
		printf("numastow %s\n", STOW_VERSION);
		return cli_finish(CLI_OK);
	}
	if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
		print_help();
		return cli_finish(CLI_OK);
	}
	command = find_command(name);
	if (!command)
		return unknown_command(name);
	if (about_cluster(argc, argv))
		return cli_finish(cli_become_fleet(argc - 1, argv + 1));
	return cli_finish(command->run(argc - 1, argv + 1));
}
