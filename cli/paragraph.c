// SPDX-License-Identifier: Apache-2.0
#include "cli/paragraph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fit.h"
#include "base/math.h"
#include "cli/cli.h"

#define NARROWEST 20 /* columns of text, on however small a terminal */

/* `margin`: spaces before the label. */
static void print(int margin, int indent, const char *label, const char *text)
{
	int width = cli_width();
	_cleanup_free_ char *wrapped =
		width ? stow_fit_wrap(text, STOW_MAX(width - indent, NARROWEST)) : NULL;
	/* Without memory as one line. */
	const char *line = wrapped ? wrapped : text;
	size_t len = strcspn(line, "\n");

	printf("%*s%-*s%.*s\n", margin, "", indent - margin, label, (int)len, line);
	while (line[len]) {
		line += len + 1;
		len = strcspn(line, "\n");
		printf("%*s%.*s\n", indent, "", (int)len, line);
	}
}

void cli_paragraph(int indent, const char *label, const char *text)
{
	print(2, indent, label, text);
}

void cli_sentence(int indent, const char *label, const char *text)
{
	print(0, indent, label, text);
}
