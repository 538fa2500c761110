/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Printing messages of the .proto files, for all commands. */

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

/* Convert a message to a json-c object: every field under its name in the .proto file, including
 * absent ones, but of a oneof only the one that is set; enums as words ("ready"). */
struct json_object *cli_message_json(const ProtobufCMessage *message);
void cli_message_print(const void *message);

/* Return the word of an enum's value, in `buf`: "ready" for "NODE_STATE_READY". Unknown values
 * are formatted as numbers. */
const char *cli_message_word(const ProtobufCEnumDescriptor *type, int value, char *buf,
			     size_t size);
