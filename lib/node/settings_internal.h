/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the files of settings.h. */

#include <stdbool.h>

#include "node/settings.h"

/* Return whether the text is a switch as the kernel prints it, or as users write it. */
bool stow_knob_is_switch(const char *text, bool *ret_on);
