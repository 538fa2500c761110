// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/message.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void stow_message_set_text(char **text, const char *value)
{
	char *copy = value[0] ? strdup(value) : NULL;

	if (*text && *text != protobuf_c_empty_string)
		free(*text);
	*text = copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}
