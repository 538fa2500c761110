// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/ids.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_LEN 253

int stow_machine_name_check(const char *name, struct stow_err *err)
{
	size_t len = strlen(name);

	if (len && len <= NAME_MAX_LEN && name[0] != '.' && name[0] != '-' &&
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len)
		return 0;
	return stow_err_set(err, EINVAL,
			    "\"%.64s\" is not a machine's name: 1 to %d of a-z, 0-9, '-' and '.'",
			    name, NAME_MAX_LEN);
}

int stow_id_parse(const char *text, uint64_t *ret, struct stow_err *err)
{
	static const char digits[] = "0123456789abcdef";

	*ret = 0;
	for (const char *p = text; *p && strchr(digits, *p); p++)
		*ret = *ret << 4 | (uint64_t)(strchr(digits, *p) - digits);
	if (strlen(text) != 16 || strspn(text, digits) != 16 || *ret == 0)
		return stow_err_set(err, EINVAL, "\"%.32s\" is not an id: 16 hexadecimal digits",
				    text);
	return 0;
}

const char *stow_id_format(uint64_t id, char buf[17])
{
	snprintf(buf, 17, "%016" PRIx64, id);
	return buf;
}
