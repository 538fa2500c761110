// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/kubectl/kubectl.h"

static const struct cli_command commands[] = {
	{ "nodes", "[MACHINE...]", "Show the machines' NUMA nodes: what claims have, what is left",
	  kubectl_nodes },
	{ "explain", "pod/NAME", "Show why a pod is pending: which machine lacks what",
	  kubectl_explain },
	{ "where", "pod/NAME",
	  "Show what a pod's containers are promised, and whether they have it", kubectl_where },
	{ "fence", "MACHINE [NODE...]", "Stop placing on NUMA nodes", kubectl_fence },
	{ "unfence", "MACHINE [NODE...]", "Lift a fence", kubectl_fence },
	{ "drain", "MACHINE NODE...", "Remove memory from a running machine", kubectl_drain },
};

static void print_help(void)
{
	printf("Usage: " KUBECTL_PROGRAM " COMMAND [ARGUMENT...]\n\n"
	       "Shows and fences NUMA nodes that a Kubernetes cluster places on.\n\nCommands:\n");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(commands); i++)
		printf("  %-7s  %s\n", commands[i].name, commands[i].summary);
	printf("\nOptions:\n"
	       "  -h, --help     print this text; after a command, its options\n"
	       "  -V, --version  print the version\n");
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		fprintf(stderr, "numastow: missing command. Try '" KUBECTL_PROGRAM " --help'.\n");
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
	for (size_t i = 0; i < STOW_ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return cli_finish(commands[i].run(argc - 1, argv + 1));
	return cli_unknown_command(name, commands, STOW_ARRAY_SIZE(commands));
}
