// SPDX-License-Identifier: Apache-2.0
#include "cli/bar.h"

#include <stdio.h>
#include <string.h>

#include "base/math.h"
#include "base/parse.h"

#define WIDTH 30 /* characters */

void cli_bar_end(struct cli_bar *bar)
{
	if (bar->open)
		putchar('\n');
	bar->open = false;
}

void cli_bar_show(struct cli_bar *bar, const char *word, uint64_t done, uint64_t total,
		  const char *tail)
{
	unsigned int percent;
	char some[32], all[32], drawn[WIDTH + 1];

	total = STOW_MAX(total, done);
	percent = total ? (unsigned int)(100.0 * (double)done / (double)total) : 100;
	stow_format_size(done, some, sizeof(some));
	stow_format_size(total, all, sizeof(all));
	if (bar->terminal) {
		memset(drawn, '.', WIDTH);
		memset(drawn, '#', WIDTH * percent / 100);
		drawn[WIDTH] = '\0';
		printf("\r[%s] %3u%%  %s of %s%s\033[K", drawn, percent, some, all, tail);
		bar->open = true;
	} else if (!bar->begun || (done > bar->shown && done >= bar->shown + total / 10)) {
		printf("%-9s %s of %s (%u%%)%s\n", word, some, all, percent, tail);
		bar->shown = done;
	}
	bar->begun = true;
}
