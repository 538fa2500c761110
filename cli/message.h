/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Printing messages of the .proto files, for all commands. */

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

/* Convert a message to a json-c object: every field under its name in the .proto file, but of a
 * oneof only the one that is set; enums as words ("ready"); times as RFC 3339 has them, durations
 * with "_ns" behind the name, physical addresses in hexadecimal; null for what is absent: an empty
 * string, a message, a time of 0, "unspecified". */
struct json_object;
struct json_object *cli_message_json(const ProtobufCMessage *message);
/* Print a message as one object, with "version" before its fields. */
void cli_message_print(const void *message);
/* Print an object on one line, with "version" before its members, and free it: for streams. */
void cli_message_line(struct json_object *json);

/* Return the word of an enum's value, in `buf`: "ready" for "NODE_STATE_READY". Unknown values
 * are formatted as numbers. */
const char *cli_message_word(const ProtobufCEnumDescriptor *type, int value, char *buf,
			     size_t size);
