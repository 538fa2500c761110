/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <protobuf-c/protobuf-c.h>

/* A copy of any message; NULL: no memory. Freed as if it had been unpacked. */
void *stow_message_copy(const ProtobufCMessage *message);
/* Replaces a text of an unpacked message; without memory it is "" then. */
void stow_message_set_text(char **text, const char *value);
