// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

/* In the order in which --help shows them. */
static const struct cli_command commands[] = {
	{ "topology", "[--json] [--sysroot DIR]",
	  "Show the machine's NUMA nodes and what they have", cmd_topology },
	{ "ledger", "[--json]", "Show what is given to which container", cmd_ledger },
	{ "explain", "[OPTION...] [KEY=VALUE...]", "Say where a request would go and why",
	  cmd_explain },
	{ "why", "[--json] [ID]", "Show why a container was placed or refused", cmd_why },
	{ "release", "ID", "Take a container's grant back", cmd_release },
	{ "gc", "[--quiet] [--rebuild]", "Reclaim what nobody gave back", cmd_gc },
	{ "restore", "--all | ID", "Undo placements of running containers", cmd_restore },
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

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	const struct cli_command *command;

	if (!name) {
		fprintf(stderr, "numastow: which command? Try 'numastow --help'.\n");
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
	return cli_finish(command->run(argc - 1, argv + 1));
}
