/* SPDX-License-Identifier: Apache-2.0 */
/* Converting protobuf-c messages to the core's byte buffers and back, and statuses to errors. */

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "rpc/internal.h"

#define FIELD_NUMBER_MAX ((1U << 29) - 1) /* protobuf.dev/programming-guides/proto3, "Assigning" */

grpc_byte_buffer *rpc_pack(const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = malloc(size + 1); /* the core's own allocation would abort */
	grpc_byte_buffer *buffer;
	grpc_slice slice;

	if (!bytes)
		return NULL;
	protobuf_c_message_pack(message, bytes);
	slice = grpc_slice_new(bytes, size, free);
	buffer = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_slice_unref(slice);
	return buffer;
}

static const ProtobufCMessage *const *members(const ProtobufCMessage *m,
					      const ProtobufCFieldDescriptor *field, size_t *ret_n)
{
	const void *value = (const char *)m + field->offset;
	const void *quantity = (const char *)m + field->quantifier_offset;

	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		*ret_n = *(const size_t *)quantity;
		return *(const ProtobufCMessage *const *const *)value;
	}
	*ret_n = *(const ProtobufCMessage *const *)value != NULL;
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF && *(const uint32_t *)quantity != field->id)
		*ret_n = 0;
	return value;
}

bool rpc_message_is_sound(const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;

	for (unsigned int i = 0; i < message->n_unknown_fields; i++)
		if (message->unknown_fields[i].tag == 0 ||
		    message->unknown_fields[i].tag > FIELD_NUMBER_MAX)
			return false;
	for (unsigned int i = 0; i < type->n_fields; i++) {
		const ProtobufCMessage *const *list;
		size_t n;

		if (type->fields[i].type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		list = members(message, &type->fields[i], &n);
		for (size_t j = 0; j < n; j++)
			if (!rpc_message_is_sound(list[j]))
				return false;
	}
	return true;
}

/* Unpack. NULL: not a message of that type, or *ret_large. */
static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *type, const grpc_slice *slice,
				bool *ret_large)
{
	const uint8_t *bytes = GRPC_SLICE_START_PTR(*slice);
	size_t len = GRPC_SLICE_LENGTH(*slice);
	ProtobufCMessage *message;

	*ret_large = rpc_unpacked_size(type, bytes, len) > RPC_UNPACKED_MAX(len);
	message = *ret_large ? NULL : protobuf_c_message_unpack(type, NULL, len, bytes);
	if (message && !rpc_message_is_sound(message)) {
		protobuf_c_message_free_unpacked(message, NULL);
		message = NULL;
	}
	return message;
}

int rpc_unpack(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *type,
	       ProtobufCMessage **ret_message, struct stow_err *err)
{
	grpc_byte_buffer_reader reader;
	grpc_slice slice;
	bool large;

	if (buffer->data.raw.compression != GRPC_COMPRESS_NONE ||
	    !grpc_byte_buffer_reader_init(&reader, buffer)) {
		grpc_byte_buffer_destroy(buffer);
		return stow_err_set(
			err, EOPNOTSUPP,
			"the message is compressed; only uncompressed messages are accepted");
	}
	slice = grpc_byte_buffer_reader_readall(&reader);
	*ret_message = unpack(type, &slice, &large);
	grpc_slice_unref(slice);
	grpc_byte_buffer_reader_destroy(&reader);
	grpc_byte_buffer_destroy(buffer);
	if (large)
		return stow_err_set(err, ENOBUFS,
				    "the message has too many fields for its size: unpacked, it "
				    "would take more than %d times as much",
				    RPC_UNPACKED_TIMES);
	if (!*ret_message)
		return stow_err_set(err, EINVAL, "not a message of type %s", type->name);
	return 0;
}

void stow_rpc_message_free(void *message)
{
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
}

char *rpc_slice_to_text(const grpc_slice *slice, char *buf, size_t size)
{
	size_t len = GRPC_SLICE_LENGTH(*slice);

	if (len > size - 1)
		len = size - 1;
	if (len > 0)
		memcpy(buf, GRPC_SLICE_START_PTR(*slice), len);
	buf[len] = '\0';
	return buf;
}

void rpc_plain_addresses(const char *text, char *ret, size_t size)
{
	static const struct {
		const char *escaped;
		char is;
	} characters[] = { { "%5B", '[' }, { "%5D", ']' }, { "%25", '%' } };
	size_t n = 0;

	while (*text && n + 1 < size) {
		char c = *text;
		size_t len = 1;

		for (size_t i = 0; i < STOW_ARRAY_SIZE(characters); i++)
			if (strncmp(text, characters[i].escaped, 3) == 0) {
				c = characters[i].is;
				len = 3;
			}
		ret[n++] = c;
		text += len;
	}
	ret[n] = '\0';
}

_Static_assert((int)STOW_STATUS_UNAUTHENTICATED == (int)GRPC_STATUS_UNAUTHENTICATED &&
		       (int)STOW_STATUS_OK == (int)GRPC_STATUS_OK,
	       "numbered alike");

void rpc_err_from_status(struct stow_err *err, grpc_status_code status, const grpc_slice *details)
{
	int errnum = stow_errno_of_status(status);
	char raw[sizeof(err->msg)], text[sizeof(err->msg)];

	rpc_slice_to_text(details, raw, sizeof(raw));
	rpc_plain_addresses(raw, text, sizeof(text));
	stow_err_set(err, errnum, "%s", text[0] ? text : stow_status_name(status));
}

bool stow_rpc_is_renewal(const struct stow_err *err)
{
	return err && err->code == ENOTCONN && strcmp(err->msg, STOW_RPC_RENEWED) == 0;
}
