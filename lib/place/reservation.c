// SPDX-License-Identifier: Apache-2.0
#include "place/reservation.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int not_one(const char *text, struct stow_err *err)
{
	return stow_err_set(
		err, EINVAL,
		STOW_ANNOTATION_PREFIX
		"reservation: \"%.200s\" is not of the form ID:NUMA_NODES@NODE, such as "
		"\"4c1f8e02a7b35d90:0-1@web-3\"",
		text);
}

int stow_reservation_parse(const char *text, struct stow_reservation_name *ret,
			   struct stow_err *err)
{
	const char *at = strchr(text, '@');
	char nodes[128];
	size_t len;

	memset(ret, 0, sizeof(*ret));
	if (strspn(text, "0123456789abcdef") != STOW_RESERVATION_ID_LEN ||
	    text[STOW_RESERVATION_ID_LEN] != ':' || !at)
		return not_one(text, err);
	memcpy(ret->id, text, STOW_RESERVATION_ID_LEN);
	text += STOW_RESERVATION_ID_LEN + 1;
	len = (size_t)(at - text);
	if (at < text || len == 0 || len >= sizeof(nodes))
		return not_one(text - STOW_RESERVATION_ID_LEN - 1, err);
	memcpy(nodes, text, len);
	nodes[len] = '\0';
	if (stow_idset_parse(nodes, &ret->nodes, NULL) < 0 || stow_idset_empty(&ret->nodes))
		return not_one(text - STOW_RESERVATION_ID_LEN - 1, err);
	at++;
	if (at[0] == '\0' || strlen(at) > STOW_NAME_MAX || strchr(at, '@'))
		return not_one(text - STOW_RESERVATION_ID_LEN - 1, err);
	snprintf(ret->machine, sizeof(ret->machine), "%s", at);
	return 0;
}
