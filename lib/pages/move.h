/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Moving the pages of processes, batch by batch (move_pages(2), numa(7),
 * Documentation/admin-guide/mm/pagemap.rst).
 *
 * A single write to cpuset.mems moves everything at once and cannot be stopped; move_pages() moves
 * what it is given. So a process is walked in batches, with a pause between two, and after each the
 * caller may stop. A batch's size is no matter for the program that is moved: the kernel takes one
 * page (since Linux 6.3: 2 MiB) at a time out of its hands, however many it was given. But each
 * call begins with a wait for all CPUs (lru_cache_disable()), so that small ones cost. Pages that
 * the kernel cannot move now (they are being written, or pinned) are tried again in later rounds.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "cgroup/cgroup.h"

#define STOW_PAGES_SLICE UINT64_C(100000000) /* ns */

struct stow_page_move {
	struct stow_idset from, to; /* nodes; nothing is on both */
	uint64_t batch;		    /* bytes; 0: what takes a `slice` to move, found by trying */
	uint64_t slice;		    /* ns; 0: STOW_PAGES_SLICE */
	uint64_t pause;		    /* ns between two batches */
	/* Called after each batch, and between processes; a negative errno stops. May be NULL. */
	int (*progress)(void *ctx, const struct stow_page_move *move);
	void *ctx;
	/* Results, added up over the calls. */
	uint64_t moved, failed; /* bytes; `failed` counts tries */
	uint64_t longest;	/* ns that one call of move_pages() took */
	uint64_t calls;		/* of it */
	/* What has been pace about the next batch's size; begins with 0. */
	struct {
		uint64_t bytes, shortest;
	} pace;
};

/* Moves the pages that a process maps; shared ones too. -ESRCH: it has ended. -ENOTSUP: not the
 * live machine. */
int stow_pages_move(struct stow_root *root, pid_t pid, struct stow_page_move *move,
		    struct stow_err *err);

/* Moves those of all processes of a cgroup and below, with those that come meanwhile as far as a
 * few more looks find them. Of a process that ends meanwhile nothing is said. */
int stow_pages_move_all(struct stow_root *root, const struct stow_cgroup *cgroup,
			struct stow_page_move *move, struct stow_err *err);

/* The size of the next batch after one of `bytes` that took `ns`: it doubles at most, and aims at a
 * slice; at more where even the shortest call took that long, for then the kernel's own waiting is
 * what takes the time, and smaller ones would only wait more often. */
uint64_t stow_pages_next_batch(struct stow_page_move *move, uint64_t bytes, uint64_t ns);

/* Whether a move_pages(2) that did not move all left out what comes behind a page that would not
 * move, and where to go on. The kernel (since 4.17) moves row by row, a row being what lies between
 * two pages that it cannot take, and gives up when one does not move as a whole. Of that row it
 * says nothing, and of the page behind it why the row ended there: so a status behind pages that
 * are still STOW_PAGES_UNTRIED, as all were before the call, tells. */
#define STOW_PAGES_UNTRIED INT_MIN /* no status of the kernel's */
bool stow_pages_gave_up(const int *status, size_t begin, size_t n, size_t *ret_next);
