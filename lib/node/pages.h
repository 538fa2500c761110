/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where the pages of processes are, and moving them (move_pages(2), numa(7),
 * Documentation/admin-guide/mm/pagemap.rst).
 *
 * A single write to cpuset.mems moves everything at once and cannot be stopped; move_pages() moves
 * what it is given. So a process is walked in batches, with a pause after each, during which it
 * runs on. Pages that the kernel cannot move now (they are being written, or pinned) are tried
 * again in later rounds.
 */

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "node/cgroup.h"

/* The processes of a cgroup and of those below it, by no order; to be freed by the caller. */
int stow_cgroup_pids(const struct stow_cgroup *cgroup, pid_t **ret_pids, size_t *ret_n,
		     struct stow_err *err);

/* Adds the processes of one cgroup alone, `path` below `dir`, to a list that begins as NULL and 0. */
int stow_cgroup_procs(struct stow_root *dir, const char *path, pid_t **pids, size_t *n,
		      struct stow_err *err);

struct stow_page_move {
	struct stow_idset from, to; /* nodes; nothing is on both */
	uint64_t batch;		    /* bytes between two pauses */
	uint64_t pause;		    /* ns */
	/* Called after each batch; a negative errno stops. May be NULL. */
	int (*progress)(void *ctx, const struct stow_page_move *move);
	void *ctx;
	/* Results, added up over the calls. */
	uint64_t moved, failed; /* bytes; `failed` counts tries */
	uint64_t longest;	/* ns that one call of move_pages() took */
};

/* Moves the pages that a process maps; shared ones too. -ESRCH: it has ended. -ENOTSUP: not the
 * live machine. */
int stow_pages_move(struct stow_root *root, pid_t pid, struct stow_page_move *move,
		    struct stow_err *err);

/* Bytes that the process maps on `nodes`, from its numa_maps. */
int stow_pages_mapped(struct stow_root *root, pid_t pid, const struct stow_idset *nodes,
		      uint64_t *ret_bytes, struct stow_err *err);

/* One line of numa_maps: the start of the mapping, its page size, and how many of its pages are on
 * `nodes`. -EINVAL: not such a line. */
struct stow_numa_map {
	uint64_t start, page_size; /* bytes */
	uint64_t pages;
};
int stow_numa_maps_line(const char *line, const struct stow_idset *nodes,
			struct stow_numa_map *ret);
