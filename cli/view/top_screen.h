/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* numastow top on a terminal. */

#include "cli/view/top.h"

/* Show the view, which was read once, on the full screen, and read again every view->delay, until
 * the user quits, or `iterations` times (0: no limit). Return 0 or -errno; a signal that ended it
 * ends the program, once the terminal is as before. */
int top_screen_run(struct top_view *view, uint64_t iterations, struct stow_err *err);

/* Return how long the first rates are counted: they are not awaited for a whole delay. */
uint64_t top_first_delay(const struct top_view *view);
