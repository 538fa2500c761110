/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The text of numastow top's screen. */

#include "cli/view/top.h"
#include "cli/view/top_table.h"

/* Make the lines of what was read last. `height`: how many there may be; 0: everything, without a
 * cursor. Moves view->first so that the cursor is seen. `clock`: the date and time, for the first
 * line. -ENOMEM. */
int top_frame_make(struct top_view *view, int width, int height, const char *clock,
		   struct top_frame *ret);
