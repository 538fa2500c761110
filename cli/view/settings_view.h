/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How the kernel's settings are printed. */

#include "cli/view/output.h"
#include "cli/view/table.h"
#include "node/settings.h"

extern const struct cli_column settings_columns[];

/* Print the settings as a table; without `all`, those only that this kernel has. 0, -EINVAL (a
 * column that does not exist) or -ENOMEM. */
int settings_print_table(const struct stow_knob_settings *settings, const struct cli_output *out,
			 bool all, struct stow_err *err);
/* Print each setting with all that is known about it. */
void settings_print_each(const struct stow_knob_settings *settings);
/* Print JSON, always of all settings. 0 or -ENOMEM. */
int settings_print_json(const struct stow_knob_settings *settings);
