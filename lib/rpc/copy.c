/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/copy.h"

#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>

#include "base/cleanup.h"

void *stow_rpc_message_copy(const void *message)
{
	const ProtobufCMessage *from = message;
	size_t len = protobuf_c_message_get_packed_size(from);
	_cleanup_free_ uint8_t *packed = malloc(len + 1);

	if (!packed)
		return NULL;
	protobuf_c_message_pack(from, packed);
	return protobuf_c_message_unpack(from->descriptor, NULL, len, packed);
}
