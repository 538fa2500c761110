// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/message.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

void *stow_message_copy(const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	_cleanup_free_ uint8_t *bytes = malloc(len + 1);

	if (!bytes)
		return NULL;
	protobuf_c_message_pack(message, bytes);
	return protobuf_c_message_unpack(message->descriptor, NULL, len, bytes);
}

void stow_message_set_text(char **text, const char *value)
{
	char *copy = value[0] ? strdup(value) : NULL;

	if (*text && *text != protobuf_c_empty_string)
		free(*text);
	*text = copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}
