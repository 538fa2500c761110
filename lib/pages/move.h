/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Moving the pages of processes, batch by batch (move_pages(2), numa(7),
 * Documentation/admin-guide/mm/pagemap.rst).
 *
 * A single write to cpuset.mems moves everything at once and cannot be stopped; move_pages() moves
 * the pages that it is given. So a process is moved in batches, with a pause between two, and after
 * each the caller may stop. A batch's size does not matter to the program that is moved: the kernel
 * unmaps one page (since Linux 6.3: 2 MiB) at a time, however large the batch. But each call begins
 * with a wait for all CPUs (lru_cache_disable()), so that small batches are expensive. Pages that
 * the kernel cannot move now (they are being written, or pinned) are tried again in later rounds.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "cgroup/cgroup.h"
#include "cgroup/pidref.h"

#define STOW_PAGES_SLICE (STOW_SECOND / 10)

/* Why pages did not move. */
enum stow_page_reason {
	STOW_PAGES_BUSY = 1 << 0,   /* pinned, or in use at that moment */
	STOW_PAGES_SHARED = 1 << 1, /* other processes map them: `unshared` */
	STOW_PAGES_FULL = 1 << 2,   /* no free memory, or no free hugepage, on the target */
};

struct stow_page_move {
	struct stow_idset from, to; /* nodes; the two sets must not overlap */
	uint64_t batch;		    /* bytes; 0: as much as moves in one `slice`, measured */
	uint64_t slice;		    /* ns; 0: STOW_PAGES_SLICE */
	uint64_t pause;		    /* ns between two batches */
	bool unshared; /* only pages that no other process maps: without CAP_SYS_NICE */
	/* Called after each batch, and between processes; a negative errno stops the move. May be
	 * NULL. */
	int (*progress)(void *ctx, const struct stow_page_move *move);
	void *ctx;
	/* Results, summed over all calls. */
	uint64_t moved, failed; /* bytes; `failed` counts every attempt */
	uint64_t longest;	/* ns of the longest move_pages() call */
	uint64_t calls;		/* number of move_pages() calls */
	unsigned int reasons;	/* why pages failed: enum stow_page_reason */
	/* State for the size of the next batch; zero at first. */
	struct {
		uint64_t bytes, shortest;
	} pace;
};

/* Move the pages, shared ones too, that all processes of a cgroup and below map, including new
 * processes, as far as a few more scans find them. A process that ends meanwhile is no failure.
 * -ENOTSUP: not the live machine. -EXDEV: the kernel gives this program no memory on a target
 * (numa_own.h). */
int stow_pages_move_all(struct stow_root *root, const struct stow_cgroup *cgroup,
			struct stow_page_move *move, struct stow_err *err);

/* Do the same for one process alone. -ESRCH: it has ended. -EPERM: it belongs to another user. */
int stow_pages_move_process(struct stow_root *root, const struct stow_pidref *process,
			    struct stow_page_move *move, struct stow_err *err);

/* Return the size of the next batch after a batch of `bytes` that took `ns`. The size aims at a
 * slice, and at most doubles. It aims at more where even the shortest call took that long: then the
 * kernel's own wait dominates, and smaller batches would only wait more often. */
uint64_t stow_pages_next_batch(struct stow_page_move *move, uint64_t bytes, uint64_t ns);

/* Return whether a move_pages(2) call that did not move all pages gave up after a page that could
 * not move, and where to continue. The kernel (since 4.17) moves run by run; a run is what lies
 * between two pages that it cannot take, and the kernel gives up when a run does not move as a
 * whole. It sets no status for that run, but sets one for the page behind it. So a status behind
 * pages that are still STOW_PAGES_UNTRIED, as all pages were before the call, shows that it gave
 * up. */
#define STOW_PAGES_UNTRIED INT_MIN /* not a status that the kernel sets */
bool stow_pages_gave_up(const int *status, size_t begin, size_t n, size_t *ret_next);
