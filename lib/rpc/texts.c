// SPDX-License-Identifier: Apache-2.0
#include "rpc/texts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/text.h"

#define DESCRIBED_MOST 64 /* bytes of a text in a description */
#define DESCRIBED_LIST 3  /* entries of a list in a description */

/* Return the maximum length of a field, by its name. */
static size_t most_of(const char *field)
{
	static const struct {
		const char *field;
		size_t most;
	} fields[] = {
		{ "name", STOW_TEXT_NAME },	   { "names", STOW_TEXT_NAME },
		{ "namespace", STOW_TEXT_NAME },   { "node", STOW_TEXT_NAME },
		{ "pod", STOW_TEXT_NAME },	   { "id", STOW_TEXT_NAME },
		{ "ids", STOW_TEXT_NAME },	   { "gone", STOW_TEXT_NAME },
		{ "container", STOW_TEXT_NAME },   { "reservation", STOW_TEXT_NAME },
		{ "version", STOW_TEXT_NAME },	   { "boot_id", STOW_TEXT_NAME },
		{ "request_id", STOW_TEXT_NAME },  { "failure_domain", STOW_TEXT_NAME },
		{ "device", STOW_TEXT_NAME },	   { "cpus", STOW_TEXT_LIST },
		{ "cpus_shared", STOW_TEXT_LIST }, { "cpus_takeable", STOW_TEXT_LIST },
		{ "numa_nodes", STOW_TEXT_LIST },  { "blocks", STOW_TEXT_LIST },
		{ "fenced", STOW_TEXT_LIST },	   { "blocks_gone", STOW_TEXT_LIST },
		{ "annotation", STOW_TEXT_LIST },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(fields); i++)
		if (strcmp(fields[i].field, field) == 0)
			return fields[i].most;
	return STOW_TEXT_LINE;
}

static void drop_unknown(ProtobufCMessage *message)
{
	for (unsigned int i = 0; i < message->n_unknown_fields; i++)
		free(message->unknown_fields[i].data);
	free(message->unknown_fields);
	message->unknown_fields = NULL;
	message->n_unknown_fields = 0;
}

/* Return a field's members: one, several, or none (of a oneof, or a missing message). */
static void **members(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, size_t *ret)
{
	char *base = (char *)message;
	void **one = (void **)(void *)(base + field->offset);

	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		*ret = *(size_t *)(void *)(base + field->quantifier_offset);
		return *one;
	}
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		*ret = *(uint32_t *)(void *)(base + field->quantifier_offset) == field->id;
	else
		*ret = *one != NULL;
	return one;
}

void stow_texts_clean(ProtobufCMessage *message, size_t most)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;

	drop_unknown(message);
	for (unsigned int i = 0; i < type->n_fields; i++) {
		bool text = type->fields[i].type == PROTOBUF_C_TYPE_STRING;
		size_t own = most_of(type->fields[i].name);
		void **list;
		size_t n;

		if (!text && type->fields[i].type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		list = members(message, &type->fields[i], &n);
		for (size_t j = 0; j < n; j++) {
			if (!text)
				stow_texts_clean(list[j], most);
			else if (list[j] && *(char *)list[j])
				stow_text_clean(list[j], STOW_MIN(own, most));
		}
	}
}

static int check_text(const char *field, const char *text, struct stow_err *err)
{
	size_t most = most_of(field), len = strlen(text);

	if (len > most)
		return stow_err_set(err, EINVAL, "%s: %zu bytes; at most %zu", field, len, most);
	for (size_t at = 0; at < len;) {
		size_t n = stow_text_character(text + at);

		if (!n)
			return stow_err_set(
				err, EINVAL,
				"%s: byte %zu is 0x%02x; expected UTF-8 without control "
				"characters",
				field, at, (unsigned char)text[at]);
		at += n;
	}
	return 0;
}

int stow_texts_check(const ProtobufCMessage *message, struct stow_err *err)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;

	for (unsigned int i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];
		bool text = field->type == PROTOBUF_C_TYPE_STRING;
		void **list;
		size_t n;
		int r = 0;

		if (!text && field->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		list = members((ProtobufCMessage *)(uintptr_t)message, field, &n);
		for (size_t j = 0; j < n && r == 0; j++)
			if (list[j])
				r = text ? check_text(field->name, list[j], err)
					 : stow_texts_check(list[j], err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- in one line ---------------------------------------------------------- */

static void describe(const ProtobufCMessage *message, int depth, FILE *out);

/* Describe a field that is not repeated. Return whether it has a value to show. */
static bool describe_one(const ProtobufCFieldDescriptor *field, const void *at, int depth,
			 FILE *out)
{
	const ProtobufCEnumValue *value;
	const char *text;
	uint64_t number = 0;
	uint32_t narrow = 0;

	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		text = *(char *const *)at;
		if (!text || !*text)
			return false;
		fprintf(out, "%s=%.*s", field->name, DESCRIBED_MOST, text);
		return true;
	case PROTOBUF_C_TYPE_MESSAGE:
		if (!*(const ProtobufCMessage *const *)at || !depth)
			return false;
		fprintf(out, "%s={", field->name);
		describe(*(const ProtobufCMessage *const *)at, depth - 1, out);
		fputc('}', out);
		return true;
	case PROTOBUF_C_TYPE_UINT64:
		memcpy(&number, at, sizeof(number));
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_BOOL:
		memcpy(&narrow, at, sizeof(narrow));
		number = narrow;
		break;
	case PROTOBUF_C_TYPE_ENUM:
		memcpy(&narrow, at, sizeof(narrow));
		value = protobuf_c_enum_descriptor_get_value(field->descriptor, (int)narrow);
		if (!narrow)
			return false;
		fprintf(out, "%s=%s", field->name, value ? value->name : "?");
		return true;
	default:
		return false;
	}
	if (!number)
		return false;
	fprintf(out, "%s=%" PRIu64, field->name, number);
	return true;
}

static bool describe_list(const ProtobufCFieldDescriptor *field, void *const *list, size_t n,
			  int depth, FILE *out)
{
	bool text = field->type == PROTOBUF_C_TYPE_STRING;

	if (!n || (!text && (field->type != PROTOBUF_C_TYPE_MESSAGE || !depth)))
		return false;
	fprintf(out, "%s=%zu[", field->name, n);
	for (size_t i = 0; i < n && i < DESCRIBED_LIST; i++) {
		if (i)
			fputc(',', out);
		if (text)
			fprintf(out, "%.*s", DESCRIBED_MOST, (const char *)list[i]);
		else
			describe(list[i], depth - 1, out);
	}
	fputs(n > DESCRIBED_LIST ? ",...]" : "]", out);
	return true;
}

static void describe(const ProtobufCMessage *message, int depth, FILE *out)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	bool said = false;

	for (unsigned int i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];
		const char *at = (const char *)message + field->offset;
		void **list = NULL;
		uint32_t which;
		size_t n = 0;

		/* members() is for pointers; numbers are handled here, too. */
		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			list = members((ProtobufCMessage *)(uintptr_t)message, field, &n);
		} else if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
			memcpy(&which, (const char *)message + field->quantifier_offset,
			       sizeof(which));
			if (which != field->id)
				continue;
		}
		if (said)
			fputc(' ', out);
		said = field->label == PROTOBUF_C_LABEL_REPEATED
			       ? describe_list(field, list, n, depth, out)
			       : describe_one(field, at, depth, out);
	}
}

void stow_texts_describe(const ProtobufCMessage *message, FILE *out)
{
	describe(message, 2, out);
}
