/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <protobuf-c/protobuf-c.h>

/* Return a copy of any message; NULL: out of memory. Freed as an unpacked message is. */
void *stow_message_copy(const ProtobufCMessage *message);
/* Replace a string of an unpacked message. Out of memory it becomes "". */
void stow_message_set_text(char **text, const char *value);
