/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Messages of the .proto files, as they are printed by any of the commands. */

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

/* Makes a json-c object of a message, by its descriptor: every field under its name in the .proto
 * file, absent ones included, except that of a oneof only the one that is set appears; enums as
 * their word ("ready"). */
struct json_object *cli_message_json(const ProtobufCMessage *message);
void cli_message_print(const void *message);

/* Returns the word of an enum's value: "NODE_STATE_READY" is "ready". It is in `buf`; a value that
 * this release does not know is its number. */
const char *cli_message_word(const ProtobufCEnumDescriptor *type, int value, char *buf,
			     size_t size);
