// SPDX-License-Identifier: Apache-2.0
#include "cli/message.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "base/timestamp.h"
#include "cli/cli.h"
#include "cli/json_writer.h"

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

/* What a number is, where it is more than a number. tests/tools/message-schemas reads
 * this table, too. */
enum meaning {
	PLAIN,
	TIME,	  /* ns since 1970; 0: unknown, or never */
	DURATION, /* ns */
	LIMIT,	  /* ns; 0: not given */
	ADDRESS,  /* physical */
};

static const struct {
	const char *field;
	enum meaning meaning;
} meanings[] = {
	{ "created", TIME },	       { "updated", TIME },	   { "expires", TIME },
	{ "last_seen", TIME },	       { "since", TIME },	   { "time", TIME },
	{ "elapsed", DURATION },       { "expected", DURATION },   { "lag", DURATION },
	{ "silent_for", DURATION },    { "active_for", DURATION }, { "pause", DURATION },
	{ "longest_batch", DURATION }, { "block_timeout", LIMIT }, { "timeout", LIMIT },
	{ "removal_timeout", LIMIT },  { "address", ADDRESS },
};

static enum meaning meaning_of(const ProtobufCFieldDescriptor *field)
{
	for (size_t i = 0; field->type == PROTOBUF_C_TYPE_UINT64 && i < STOW_ARRAY_SIZE(meanings);
	     i++)
		if (strcmp(meanings[i].field, field->name) == 0)
			return meanings[i].meaning;
	return PLAIN;
}

/* The key is the field's name, with the unit of a duration. Return `buf`. */
static const char *key_of(const ProtobufCFieldDescriptor *field, char *buf, size_t size)
{
	enum meaning meaning = meaning_of(field);

	snprintf(buf, size, "%s%s", field->name,
		 meaning == DURATION || meaning == LIMIT ? "_ns" : "");
	return buf;
}

/* NULL is null. */
static struct json_object *number(const ProtobufCFieldDescriptor *field, uint64_t value)
{
	char text[STOW_TIMESTAMP_MAX];

	switch (meaning_of(field)) {
	case TIME:
		return value ? json_object_new_string(stow_timestamp(value, text)) : NULL;
	case LIMIT:
		return value ? json_object_new_uint64(value) : NULL;
	case ADDRESS:
		snprintf(text, sizeof(text), "0x%" PRIx64, value);
		return json_object_new_string(text);
	case DURATION:
	case PLAIN:
		break;
	}
	return json_object_new_uint64(value);
}

static struct json_object *text(const char *value)
{
	return *value ? json_object_new_string(value) : NULL;
}

/* The zero of every enum is "unspecified". */
static struct json_object *word(const ProtobufCFieldDescriptor *field, int value)
{
	char buf[64];

	return value ? json_object_new_string(
			       cli_message_word(field->descriptor, value, buf, sizeof(buf)))
		     : NULL;
}

static struct json_object *one(const ProtobufCFieldDescriptor *field, const void *at)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT32:
		return json_object_new_int64(*(const uint32_t *)at);
	case PROTOBUF_C_TYPE_INT32: /* NUMA nodes (-1: unknown) and processes (0: unknown) */
		return *(const int32_t *)at < (strcmp(field->name, "pid") == 0 ? 1 : 0)
			       ? NULL
			       : json_object_new_int(*(const int32_t *)at);
	case PROTOBUF_C_TYPE_UINT64:
		return number(field, *(const uint64_t *)at);
	case PROTOBUF_C_TYPE_BOOL:
		return json_object_new_boolean(*(const protobuf_c_boolean *)at);
	case PROTOBUF_C_TYPE_ENUM:
		return word(field, *(const int *)at);
	case PROTOBUF_C_TYPE_STRING:
		return text(*(const char *const *)at);
	case PROTOBUF_C_TYPE_MESSAGE:
		return *(const void *const *)at
			       ? cli_message_json(*(const ProtobufCMessage *const *)at)
			       : NULL;
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

/* Return whether a field is shown: all are, but of a oneof only the one that is set, and no token
 * of pages, which are joined. */
static bool shown(const ProtobufCFieldDescriptor *field, const char *base)
{
	if (strcmp(field->name, "next_page_token") == 0)
		return false;
	return !(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ||
	       *(const uint32_t *)(const void *)(base + field->quantifier_offset) == field->id;
}

struct json_object *cli_message_json(const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	struct json_object *object = json_object_new_object();
	const char *base = (const char *)message;
	char key[64];

	for (unsigned int i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];

		if (shown(field, base))
			json_object_object_add(object, key_of(field, key, sizeof(key)),
					       field->label == PROTOBUF_C_LABEL_REPEATED
						       ? many(field, base)
						       : one(field, base + field->offset));
	}
	return object;
}

void cli_message_print(const void *message)
{
	cli_print_json(json_with_version(cli_message_json(message)));
}

void cli_message_line(struct json_object *json)
{
	json = json_with_version(json);
	puts(json_object_to_json_string_ext(json, JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(json);
	fflush(stdout);
}
