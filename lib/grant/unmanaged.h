/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Unmanaged containers: those without a grant. Nothing is promised to them; they are only kept off
 * CPUs that belong to other containers alone (lib/grant/apply.h), and for that they have to be
 * known. Each has a file, /run/numastow/unmanaged/ID, which its createRuntime hook writes. It is a
 * file and not a row of the ledger, because that hook has no time to open a database. Containers
 * that never met the hook are found by where container runtimes keep them.
 *
 * The file says what was true at the container's start (its first process, its cgroup, the CPUs
 * that its config.json gave) and nothing that can be computed.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "cgroup/cgroup.h"
#include "cgroup/pidref.h"

#define STOW_UNMANAGED_DIR "/run/numastow/unmanaged"
#define STOW_ID_MAX	   255 /* bytes of a container's id: it is a file's name */

struct stow_unmanaged {
	char id[STOW_ID_MAX + 1];
	struct stow_pidref init; /* pid 0: found by its cgroup */
	struct stow_cgroup_id cgroup;
	struct stow_idset given; /* the CPUs that it was started with; empty: whatever is above */
	bool fallback; /* it has other CPUs for now: none of those that it was given can be used */
	/* Its set is what a grant gave it, or (v1) the runtime, which took it from the cgroup
	 * above: the next run writes it, whatever it says. */
	bool reset;
};

void stow_unmanaged_done(struct stow_unmanaged *container);

/* Writes the file as a whole: a program that is killed here leaves the old one. */
int stow_unmanaged_write(struct stow_root *root, const struct stow_unmanaged *container,
			 struct stow_err *err);
/* Writes the file unless there is one of that id, such as the hook's own: 1, or 0 when there is. */
int stow_unmanaged_enter(struct stow_root *root, const struct stow_unmanaged *container,
			 struct stow_err *err);
/* -ENOENT: not entered, or a file that is none of ours. */
int stow_unmanaged_read(struct stow_root *root, const char *id, struct stow_unmanaged *ret,
			struct stow_err *err);
int stow_unmanaged_remove(struct stow_root *root, const char *id, struct stow_err *err);

/* Says whether the container has ended: its first process is gone and its cgroup is gone or empty. */
bool stow_unmanaged_ended(struct stow_root *root, const struct stow_unmanaged *container);

/* Calls `visit` for each container. A negative answer ends the round and is returned; else the
 * first failure to read a file, else the sum of the answers. */
int stow_unmanaged_each(struct stow_root *root,
			int (*visit)(struct stow_root *root, struct stow_unmanaged *container,
				     void *ctx, struct stow_err *err),
			void *ctx, struct stow_err *err);

/* Removes the file when the container has ended. Returns 1, or 0 when it was not entered or lives
 * on (a late poststop must not take the file of the next container of that name). */
int stow_unmanaged_leave(struct stow_root *root, const char *id, struct stow_err *err);
/* Removes the files of all containers that have ended; returns how many. */
int stow_unmanaged_sweep(struct stow_root *root, struct stow_err *err);

/* Collects the CPUs that must not become exclusive, because an unmanaged container was started on a
 * CPU set of its own that has them. A set that contains all of `online` is no set of its own. */
int stow_unmanaged_pinned(struct stow_root *root, const struct stow_idset *online,
			  struct stow_idset *ret, struct stow_err *err);

/* Parses one file's text, which it takes apart (for fuzzing). -ENOENT: not an entry. */
int stow_unmanaged_parse(const char *id, char *text, struct stow_unmanaged *ret,
			 struct stow_err *err);
