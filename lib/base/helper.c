// SPDX-License-Identifier: Apache-2.0
#include "base/helper.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *stow_helper_path(const char *name, char *buf, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", buf, size - 1);
	char *slash;

	buf[n > 0 ? n : 0] = '\0';
	slash = strrchr(buf, '/');
	if (slash) {
		snprintf(slash, size - (size_t)(slash - buf), "/%s", name);
		if (access(buf, X_OK) == 0)
			return buf;
	}
	snprintf(buf, size, "%s/%s", STOW_LIBEXECDIR, name);
	return buf;
}
