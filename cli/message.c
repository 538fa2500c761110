// SPDX-License-Identifier: Apache-2.0
#include "cli/message.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "cli/cli.h"

const char *cli_message_word(const ProtobufCEnumDescriptor *type, int value, char *buf, size_t size)
{
	const ProtobufCEnumValue *zero = protobuf_c_enum_descriptor_get_value(type, 0);
	const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(type, value);
	size_t prefix = strlen(zero->name) - strlen("UNSPECIFIED"), i;

	if (!found) {
		snprintf(buf, size, "%d", value);
		return buf;
	}
	for (i = 0; found->name[prefix + i] && i < size - 1; i++)
		buf[i] = (char)(found->name[prefix + i] == '_'
					? '-'
					: tolower((unsigned char)found->name[prefix + i]));
	buf[i] = '\0';
	return buf;
}

static struct json_object *one(const ProtobufCFieldDescriptor *field, const void *at)
{
	char word[64];

	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT32:
		return json_object_new_int64(*(const uint32_t *)at);
	case PROTOBUF_C_TYPE_INT32:
		return json_object_new_int(*(const int32_t *)at);
	case PROTOBUF_C_TYPE_UINT64:
		return json_object_new_uint64(*(const uint64_t *)at);
	case PROTOBUF_C_TYPE_BOOL:
		return json_object_new_boolean(*(const protobuf_c_boolean *)at);
	case PROTOBUF_C_TYPE_ENUM:
		return json_object_new_string(
			cli_message_word(field->descriptor, *(const int *)at, word, sizeof(word)));
	case PROTOBUF_C_TYPE_STRING:
		return json_object_new_string(*(const char *const *)at);
	case PROTOBUF_C_TYPE_MESSAGE:
		return cli_message_json(*(const ProtobufCMessage *const *)at);
	default: /* the .proto files use no other types */
		return NULL;
	}
}

static size_t size_of(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_INT32:
		return sizeof(uint32_t);
	case PROTOBUF_C_TYPE_UINT64:
		return sizeof(uint64_t);
	default: /* strings and messages; there are no lists of other types */
		return sizeof(void *);
	}
}

static struct json_object *many(const ProtobufCFieldDescriptor *field, const char *base)
{
	size_t n = *(const size_t *)(const void *)(base + field->quantifier_offset);
	const char *items = *(const char *const *)(const void *)(base + field->offset);
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(list, one(field, items + i * size_of(field)));
	return list;
}

/* Return whether a field is present: of a oneof the one that is set; a single message if it is
 * set. */
static bool present(const ProtobufCFieldDescriptor *field, const char *base)
{
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)(const void *)(base + field->quantifier_offset) ==
		       field->id;
	return field->type != PROTOBUF_C_TYPE_MESSAGE ||
	       field->label == PROTOBUF_C_LABEL_REPEATED ||
	       *(const void *const *)(const void *)(base + field->offset);
}

struct json_object *cli_message_json(const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	struct json_object *object = json_object_new_object();
	const char *base = (const char *)message;

	for (unsigned int i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];

		if (present(field, base))
			json_object_object_add(object, field->name,
					       field->label == PROTOBUF_C_LABEL_REPEATED
						       ? many(field, base)
						       : one(field, base + field->offset));
	}
	return object;
}

void cli_message_print(const void *message)
{
	cli_print_json(cli_message_json(message));
}
