/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Progress of a long operation: a bar on a terminal, otherwise a line for each tenth. */

#include <stdbool.h>
#include <stdint.h>

struct cli_bar {
	bool terminal;	/* standard output is a terminal */
	bool begun;	/* something was printed */
	bool open;	/* the last bar has no newline yet */
	uint64_t shown; /* bytes done in the last line */
};

/* Print progress. `word` begins a line ("moving"); `tail` ends a bar or a line ("" or ", block
 * 48"). */
void cli_bar_show(struct cli_bar *bar, const char *word, uint64_t done, uint64_t total,
		  const char *tail);
/* End the line of a bar, before other output. */
void cli_bar_end(struct cli_bar *bar);
