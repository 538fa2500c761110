// SPDX-License-Identifier: Apache-2.0
/* numastow-top: numastow top, which is started by numastow(1). Not a part of numastow-view, so
 * that only this command starts with ncurses. */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include <ncurses.h>

#include "cli/cli.h"
#include "cli/view/view.h"

int main(int argc, char **argv)
{
	/* ncurses writes characters that the locale has. */
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	if (argc > 1 && strcmp(argv[1], "top") == 0)
		return cli_finish(cmd_top(argc - 1, argv + 1));
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		/* "ncurses 6.4.20221231" */
		printf("numastow-top %s\n%s\n", STOW_VERSION, curses_version());
		return cli_finish(CLI_OK);
	}
	fprintf(stderr, "numastow-top is part of numastow(1), which starts it\n");
	return CLI_USAGE;
}
