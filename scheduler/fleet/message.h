/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <protobuf-c/protobuf-c.h>

/* Replace a string of an unpacked message. Out of memory it becomes "". */
void stow_message_set_text(char **text, const char *value);
