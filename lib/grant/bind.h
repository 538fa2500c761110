/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Binding processes that are in no container of the ledger: the affinity of their threads, and the
 * memory nodes of their cgroup. (The memory policy of another process cannot be set by any system
 * call.) Callers check first that the ledger has no container with that cgroup: the sets of those
 * belong to lib/grant/apply.h.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "cgroup/cgroup.h"
#include "pages/move.h"

/*
 * Set the affinity of all threads of a process, until none has another one: a thread that is
 * created meanwhile inherits that of its creator, which may not have been reached yet. *ret_cpus is
 * what the kernel made of the set, which leaves out what the cpuset does not allow; *ret_threads
 * how many threads were changed. -EINVAL: no CPU of the set is online and in the cpuset. -ESRCH: it
 * has ended. -EBUSY: threads set their own affinity all the time. -ENOTSUP: not the live machine.
 */
int stow_bind_threads(struct stow_root *root, pid_t pid, const struct stow_idset *cpus,
		      struct stow_idset *ret_cpus, size_t *ret_threads, struct stow_err *err);
/* Do the same for one thread alone. */
int stow_bind_thread(struct stow_root *root, pid_t tid, const struct stow_idset *cpus,
		     struct stow_idset *ret_cpus, struct stow_err *err);

/* Read the CPUs on which a thread may run. Return 0 or -errno. */
int stow_bind_read(pid_t tid, struct stow_idset *ret);

/* Check that the memory nodes of a cgroup can be set for these processes: it has the controller, it
 * is not the topmost, the cgroup above has the nodes, and, unless `others`, no other process is in
 * it or below it. -ENOTSUP, -ERANGE, -EBUSY. */
int stow_bind_check(const struct stow_cgroup *cgroup, const struct stow_idset *nodes,
		    const pid_t *pids, size_t n_pids, bool others, struct stow_err *err);

/* Set the memory nodes of a cgroup, and move its processes' pages there: batch by batch while both
 * the old and the new nodes are allowed, the rest with the last write. `move` has the pace, and
 * gets the results. -EIO: the nodes did not take effect. Others: as stow_pages_move_all(); the old
 * nodes are set again when `move->progress` stops it. */
int stow_bind_memory(const struct stow_cgroup *cgroup, const struct stow_idset *nodes,
		     struct stow_page_move *move, struct stow_err *err);
