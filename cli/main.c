// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/compat/compat.h"

/* In the order in which --help shows them. */
static const struct cli_command commands[] = {
	{ "status", "[OPTION...]", "Show whether containers are placed here, and what to do",
	  cli_become_view },
	{ "config", "check [OPTION...] [FILE]", "Check configuration files", cli_become_view },
	{ "topology", "[--json] [--sysroot DIR]",
	  "Show the machine's NUMA nodes and what they have", cmd_topology },
	{ "run", "[OPTION...] [--] COMMAND", "Run a program on NUMA nodes granted to it",
	  cli_become_run },

	{ "show", "[OPTION...] [--last | PID | CONTAINER | NAME]...",
	  "Show where processes may run and allocate, and where they do", cli_become_view },

	{ "ledger", "[--json]", "Show the grants of containers (also: ls, ps)", cmd_ledger },
	{ "explain", "[OPTION...] [KEY=VALUE...]", "Show where a request would be placed, and why",
	  cmd_explain },
	{ "why", "[OPTION...] [ID | --last]", "Show why a container was placed or refused",
	  cmd_why },
	{ "release", "ID | --last", "Release a container's grant", cmd_release },
	{ "gc", "[--quiet] [--rebuild]", "Reclaim grants of ended containers", cmd_gc },
	{ "restore", "--all | ID | --last", "Undo placements of running containers", cmd_restore },
	{ "drain", "[MACHINE] [OPTION...]", "Remove memory from a running machine", cmd_drain },
	{ "drains", "[MACHINE]", "Show running drains", cmd_drains },
	{ "cancel", "[ID]", "Cancel a drain and undo it", cmd_cancel },

	{ "blocks", "[OPTION...]", "Show the memory blocks, and whether they can be removed",
	  cmd_blocks },
	{ "online", "[OPTION...] BLOCKS | ADDRESSES | SIZE", "Bring memory online", cmd_online },
	{ "offline", "[OPTION...] BLOCKS | ADDRESSES | SIZE", "Take memory offline", cmd_offline },

	{ "stat", "[OPTION...] [--last | PID | CONTAINER | NAME]...",
	  "Show hits and misses of NUMA nodes, and on which nodes memory is", cli_become_view },
	{ "zones", "[OPTION...] [compact NODE | reclaim NODE SIZE]",
	  "Show memory zones, their watermarks and where these come from", cli_become_view },

	{ "top", "[OPTION...] [--last | CONTAINER | PID]", "Show NUMA nodes and containers, live",
	  cli_become_top },

	{ "migrate", "[OPTION...] PID|CONTAINER|--last FROM TO",
	  "Move the pages of a process or container to other nodes", cmd_migrate },
	{ "bind", "[OPTION...] PID | CONTAINER...", "Bind running processes to CPUs and to memory",
	  cmd_bind },

	{ "numactl", "[OPTION...] COMMAND [ARGUMENT...]",
	  "Run a program with a memory policy and CPUs, as numactl does", compat_numactl },
	{ "taskset", "[OPTION...] MASK COMMAND | -p [MASK] PID",
	  "Set or print the CPUs of a program or process, as taskset does", compat_taskset },
	{ "migratepages", "PID FROM TO",
	  "Move the pages of a process to other nodes, as migratepages does", compat_migratepages },

	{ "doctor", "[OPTION...]", "Show what costs NUMA locality here, and what mends it",
	  cli_become_view },
	{ "measure", "[OPTION...]", "Measure latency and bandwidth of memory between NUMA nodes",
	  cli_become_view },
	{ "hugepages", "[OPTION...] [set|spread|shrink|demote|mount ...]",
	  "Show hugepages by NUMA node, or change the pools", cli_become_view },
	{ "settings", "[OPTION...] [NAME[=VALUE]...]",
	  "Show the kernel's NUMA-related settings, or set them", cli_become_view },

	{ "version", "[--json]", "Show the versions of numastow's programs and their libraries",
	  cmd_version },

	{ "setup", "containerd|crio [OPTION...]", "Let a container runtime run the hook",
	  cli_become_setup },

	{ "containers", "[--last | ID...]",
	  "Show this machine's containers, as the agent sees them", cli_become_fleet },
	{ "repin", "[OPTION...] ID | --last", "Move a running container to other NUMA nodes",
	  cli_become_fleet },

	{ "nodes", "[NODE...]", "Show what the fleet's machines have, and what is available",
	  cli_become_fleet },
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
	       "  -h, --help     print this text; after a command, its options\n"
	       "  -V, --version  print the version\n");
	cli_help_topics();
}

/* Other names of commands, for who knows them from other programs; they are not listed. */
static const struct {
	const char *name, *command;
} other_names[] = { { "ls", "ledger" }, { "ps", "ledger" } };

static const struct cli_command *find_command(const char *name)
{
	for (size_t i = 0; i < STOW_ARRAY_SIZE(other_names); i++)
		if (strcmp(other_names[i].name, name) == 0)
			name = other_names[i].command;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
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

/* Find the command of another program's grammar that a link to this program is called by. */
static const struct cli_command *find_link(void)
{
	const struct cli_command *command = find_command(program_invocation_short_name);

	return command && (command->run == compat_numactl || command->run == compat_taskset ||
			   command->run == compat_migratepages)
		       ? command
		       : NULL;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	const struct cli_command *command = find_link();

	if (command)
		return cli_finish(command->run(argc, argv));
	if (!name) {
		fprintf(stderr, "numastow: missing command. Try 'numastow --help'.\n");
		return CLI_USAGE;
	}
	if (strcmp(name, "-V") == 0 || strcmp(name, "--version") == 0) {
		printf("numastow %s\n", STOW_VERSION);
		return cli_finish(CLI_OK);
	}
	if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 ||
	    (strcmp(name, "help") == 0 && argc == 2)) {
		print_help();
		return cli_finish(CLI_OK);
	}
	if (strcmp(name, "help") == 0) {
		static char help[] = "--help";

		if (cli_help_topic(argv[2]))
			return cli_finish(CLI_OK);
		/* "help COMMAND" is "COMMAND --help". */
		name = argv[1] = argv[2];
		argv[2] = help;
		argc = 3;
	}
	command = find_command(name);
	if (!command)
		return cli_unknown_command(name, commands, STOW_ARRAY_SIZE(commands));
	argv[1] = (char *)command->name;
	if (about_cluster(argc, argv))
		return cli_finish(cli_become_fleet(argc - 1, argv + 1));
	return cli_finish(command->run(argc - 1, argv + 1));
}
