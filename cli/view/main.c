// SPDX-License-Identifier: Apache-2.0
/* numastow-view: numastow's commands that show and set what this machine's kernel has. Started by
 * numastow(1). */
#include <stdio.h>
#include <string.h>

#include <libsmartcols/libsmartcols.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/view/view.h"

/* Their summaries are in the table of numastow itself. */
static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "show", cmd_show },	      { "stat", cmd_stat },	  { "topology", cmd_topology },
	{ "zones", cmd_zones },	      { "measure", cmd_measure }, { "hugepages", cmd_hugepages },
	{ "settings", cmd_settings }, { "doctor", cmd_doctor },	  { "status", cmd_status },
	{ "config", cmd_config },
};

int main(int argc, char **argv)
{
	const char *smartcols = NULL;

	for (size_t i = 0; argc > 1 && i < STOW_ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return cli_finish(commands[i].run(argc - 1, argv + 1));
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		(void)scols_get_library_version(&smartcols);
		printf("numastow-view %s\nlibsmartcols %s\n", STOW_VERSION, smartcols);
		return cli_finish(CLI_OK);
	}
	fprintf(stderr, "numastow-view is part of numastow(1), which starts it\n");
	return CLI_USAGE;
}
