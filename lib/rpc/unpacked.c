/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory a message needs once it is unpacked, from its bytes alone. */

#include <stdbool.h>

#include "base/math.h"
#include "rpc/internal.h"

#define DEPTH_MAX 32 /* of messages in messages; ours have less */

/* What protobuf-c 1.4 allocates, with the allocator's own bytes. */
#define COST_FIELD   40 /* its note of a field, before it is unpacked */
#define COST_BLOCK   16 /* around what is allocated by itself */
#define COST_UNKNOWN 64 /* around the bytes of an unknown field */

/* Wire types: protobuf.dev/programming-guides/encoding, "Message Structure". */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct wire {
	const uint8_t *at, *end;
};

static bool read_varint(struct wire *in, uint64_t *ret)
{
	*ret = 0;
	for (unsigned int shift = 0; shift < 70 && in->at < in->end; shift += 7) {
		uint8_t byte = *in->at++;

		if (shift < 64)
			*ret |= (uint64_t)(byte & 127) << shift;
		if (!(byte & 128))
			return true;
	}
	return false;
}

/* Read the next field. Its content is *ret_content, without the length before it. */
static bool read_field(struct wire *in, uint32_t *ret_number, unsigned int *ret_type,
		       struct wire *ret_content)
{
	uint64_t tag, n = 0;

	if (!read_varint(in, &tag))
		return false;
	*ret_number = (uint32_t)(tag >> 3);
	*ret_type = tag & 7;
	if (*ret_type == BYTES && !read_varint(in, &n))
		return false;
	ret_content->at = in->at;
	if (*ret_type == VARINT && !read_varint(in, &tag))
		return false;
	if (*ret_type == VARINT)
		n = (uint64_t)(in->at - ret_content->at);
	else if (*ret_type == FIXED64)
		n = 8;
	else if (*ret_type == FIXED32)
		n = 4;
	else if (*ret_type != BYTES)
		return false;
	if (n > (uint64_t)(in->end - ret_content->at))
		return false;
	in->at = ret_content->end = ret_content->at + n;
	return true;
}

/* `notes` are freed when the message is unpacked: a message's, and those of one message in it, are
 * there at the same time. */
struct memory {
	size_t kept, notes;
};

static struct memory size_of_message(const ProtobufCMessageDescriptor *type, struct wire in,
				     int depth);

/* The memory of one field's content, besides the struct that it is in. */
static struct memory size_of_field(const ProtobufCFieldDescriptor *field, unsigned int wire_type,
				   struct wire content, int depth)
{
	struct memory inner;
	size_t len = (size_t)(content.end - content.at);

	if (!field)
		return (struct memory){ COST_UNKNOWN + len, 0 };
	if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
		inner = size_of_message(field->descriptor, content, depth + 1);
		inner.kept += COST_BLOCK + sizeof(void *);
		return inner;
	}
	if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_BYTES)
		return (struct memory){ COST_BLOCK + sizeof(void *) + len, 0 };
	/* Numbers; packed, each takes a byte or more. */
	return (struct memory){ wire_type == BYTES ? len * sizeof(uint64_t) : sizeof(uint64_t), 0 };
}

static struct memory size_of_message(const ProtobufCMessageDescriptor *type, struct wire in,
				     int depth)
{
	struct memory size = { type->sizeof_message, 0 }, field;
	size_t notes = 0;
	unsigned int wire_type;
	struct wire content;
	uint32_t number;

	while (depth < DEPTH_MAX && read_field(&in, &number, &wire_type, &content)) {
		field = size_of_field(protobuf_c_message_descriptor_get_field(type, number),
				      wire_type, content, depth);
		size.kept += field.kept;
		size.notes = STOW_MAX(size.notes, field.notes);
		notes += COST_FIELD;
	}
	size.notes += notes;
	return size;
}

size_t rpc_unpacked_size(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len)
{
	struct memory size = size_of_message(type, (struct wire){ bytes, bytes + len }, 0);

	return size.kept + size.notes;
}
