/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How far something long is: a bar on a terminal, a line at each tenth otherwise. */

#include <stdbool.h>
#include <stdint.h>

struct cli_bar {
	bool terminal;	/* standard output is one */
	bool begun;	/* something was shown */
	bool open;	/* a bar without a newline */
	uint64_t shown; /* bytes in the last line */
};

/* `word` begins a line ("moving"), `tail` ends both ("" or ", block 48"). */
void cli_bar_show(struct cli_bar *bar, const char *word, uint64_t done, uint64_t total,
		  const char *tail);
/* Ends the line of a bar, before something else is printed. */
void cli_bar_end(struct cli_bar *bar);
