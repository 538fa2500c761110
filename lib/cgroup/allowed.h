/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which CPUs and nodes a process may use, from /proc/PID/status (proc(5)). */

#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"

struct stow_allowed {
	struct stow_idset cpus; /* Cpus_allowed_list: its affinity */
	struct stow_idset mems; /* Mems_allowed_list: nodes with memory, of its cgroup's cpuset */
};

/* Parse the text of /proc/PID/status, or of a thread's, and modify it while parsing. -EINVAL: one
 * of the lists is missing or malformed, and is then empty. */
int stow_allowed_parse(char *status, struct stow_allowed *ret, struct stow_err *err);
/* Read this for a process, or for the calling one (0). -ESRCH: it has ended. -EINVAL: the file is
 * not a process's status. */
int stow_allowed_read(struct stow_root *root, pid_t pid, struct stow_allowed *ret,
		      struct stow_err *err);
