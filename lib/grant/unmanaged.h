/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Unmanaged containers: those without a grant. They are only kept off the exclusive CPUs of other
 * containers (lib/grant/apply.h), and have to be known for that. Each has a file,
 * /run/numastow/unmanaged/ID, which its createRuntime hook writes. It is a file and not a row of
 * the ledger, because that hook has no time to open a database. Containers that no hook has seen
 * are found by the names of their cgroups (lib/grant/discover.h).
 *
 * The file has what was true when the container started (its first process, its cgroup, the CPUs of
 * its config.json) and nothing that can be computed.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "cgroup/cgroup.h"
#include "cgroup/pidref.h"

#define STOW_UNMANAGED_DIR "/run/numastow/unmanaged"
#define STOW_PODS_DIR	   "/run/numastow/pods" /* of kubelet's cgroups: lib/grant/pods.h */
#define STOW_ID_MAX	   255			/* bytes of a container's id: it is a file's name */

struct stow_unmanaged {
	char id[STOW_ID_MAX + 1];
	struct stow_pidref init; /* pid 0 when it was found by its cgroup */
	struct stow_cgroup_id cgroup;
	struct stow_idset given; /* started with these CPUs; empty: those of the cgroup above */
	bool fallback;		 /* its set has other CPUs for now: none of `given` is available */
	/* Its set comes from an earlier grant, or on cgroup v1 from the runtime, which copied that
	 * of the cgroup above: the next run writes it in any case. */
	bool reset;
	/* Not a container, but a cgroup of kubelet's: its file is in STOW_PODS_DIR, and stays as
	 * long as the cgroup exists. */
	bool pods;
};

void stow_unmanaged_done(struct stow_unmanaged *container);

/* Write the file atomically: a program that is killed leaves the old one. */
int stow_unmanaged_write(struct stow_root *root, const struct stow_unmanaged *container,
			 struct stow_err *err);
/* Write the file unless that id has one, such as the hook's own. Return 1, or 0 when it has. */
int stow_unmanaged_enter(struct stow_root *root, const struct stow_unmanaged *container,
			 struct stow_err *err);
/* Read a container's file. -ENOENT: there is none, or it is not a file of numastow. */
int stow_unmanaged_read(struct stow_root *root, const char *id, struct stow_unmanaged *ret,
			struct stow_err *err);
int stow_unmanaged_remove(struct stow_root *root, const char *id, struct stow_err *err);
/* Remove the file if it is that of the container with this first process, and not that of another
 * runtime's container of the same id. */
void stow_unmanaged_remove_of(struct stow_root *root, const char *id, pid_t init);
/* Give the container a file of its own beside that of a running container with the same id: two
 * runtimes may give the same. Its id gets the inode of its cgroup, "ID-INODE". */
void stow_unmanaged_set_beside(struct stow_unmanaged *container);
/* Return whether the container has ended. */
bool stow_unmanaged_ended(struct stow_root *root, const struct stow_unmanaged *container);

/* Call `visit` for each container. Skip what is no entry. A negative result ends the iteration and
 * is returned; otherwise return the first failure to read a file, or the sum of the results. */
int stow_unmanaged_each(struct stow_root *root,
			int (*visit)(struct stow_root *root, struct stow_unmanaged *container,
				     void *ctx, struct stow_err *err),
			void *ctx, struct stow_err *err);

/* Do the same for the cgroups of kubelet. */
int stow_unmanaged_each_pods(struct stow_root *root,
			     int (*visit)(struct stow_root *root, struct stow_unmanaged *container,
					  void *ctx, struct stow_err *err),
			     void *ctx, struct stow_err *err);
/* Remove the file of a cgroup of kubelet. */
int stow_unmanaged_remove_pods(struct stow_root *root, const char *id, struct stow_err *err);

/* Remove the file when the container has ended. Return 1, or 0 when there is no file or the
 * container still runs (a late poststop must not remove the file of the next container of that
 * name). */
int stow_unmanaged_leave(struct stow_root *root, const char *id, struct stow_err *err);
/* Remove the files of all containers that have ended; return how many. Also remove what is no entry
 * (another program's file, a link, an empty folder), here and in STOW_PODS_DIR; *ret_strangers:
 * how many there were, with those that could not be removed. */
int stow_unmanaged_sweep(struct stow_root *root, size_t *ret_strangers, struct stow_err *err);

/* Collect the CPUs that must not become exclusive, because an unmanaged container was started on a
 * CPU set of its own that has them. A set that contains all of `online` does not count. */
int stow_unmanaged_pinned(struct stow_root *root, const struct stow_idset *online,
			  struct stow_idset *ret, struct stow_err *err);

/* Parse one file's text, and modify it while parsing (public for fuzzing). -ENOENT: not an
 * entry. */
int stow_unmanaged_parse(const char *id, char *text, struct stow_unmanaged *ret,
			 struct stow_err *err);
