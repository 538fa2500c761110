/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <string.h>

/* Return whether an entry of a cgroup's folder is a cgroup. Its name may begin with a dot, and a
 * container may choose it. */
static inline bool stow_entry_is_cgroup(const struct dirent *entry)
{
	return entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
	       strcmp(entry->d_name, "..") != 0;
}
