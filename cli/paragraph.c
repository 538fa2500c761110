// SPDX-License-Identifier: Apache-2.0
#include "cli/paragraph.h"

#include <stdio.h>

#include "base/fit.h"
#include "cli/cli.h"

void cli_paragraph(int indent, const char *label, const char *text)
{
	stow_fit_print(stdout, 2, label, indent, text, cli_width());
}

void cli_sentence(int indent, const char *label, const char *text)
{
	stow_fit_print(stdout, 0, label, indent, text, cli_width());
}
