/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf-c messages to the core's byte buffers and back, statuses to errors. */

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <string.h>

#include "rpc/internal.h"

grpc_byte_buffer *rpc_pack(const ProtobufCMessage *message)
{
	grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
	grpc_byte_buffer *buffer;

	protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
	buffer = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_slice_unref(slice);
	return buffer;
}

int rpc_unpack(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *type,
	       ProtobufCMessage **ret_message, struct stow_err *err)
{
	grpc_byte_buffer_reader reader;
	grpc_slice slice;

	if (!grpc_byte_buffer_reader_init(&reader, buffer)) {
		grpc_byte_buffer_destroy(buffer);
		return stow_err_set(err, EINVAL, "a message that cannot be decompressed");
	}
	slice = grpc_byte_buffer_reader_readall(&reader);
	*ret_message = protobuf_c_message_unpack(type, NULL, GRPC_SLICE_LENGTH(slice),
						 GRPC_SLICE_START_PTR(slice));
	grpc_slice_unref(slice);
	grpc_byte_buffer_reader_destroy(&reader);
	grpc_byte_buffer_destroy(buffer);
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

void rpc_err_from_status(struct stow_err *err, grpc_status_code status, const grpc_slice *details)
{
	int errnum = stow_rpc_errno_of_status(status);
	char text[sizeof(err->msg)];

	rpc_slice_to_text(details, text, sizeof(text));
	stow_err_set(err, errnum, "%s", text[0] ? text : stow_rpc_status_name(status));
}
