/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Moving a running container to other NUMA nodes without a stall (docs/repin.md):
 *
 *	plan	room is reserved on the new nodes: the target, in addition to the present grant
 *	widen	cpuset.mems = old and new nodes; cpuset.cpus = the new CPUs
 *	move	its processes' pages, in batches with pauses
 *	narrow	cpuset.mems = the new nodes; the kernel moves what is left
 *	verify	where its pages are now; the target becomes the grant
 *
 * A repin is a state of the container's record (struct stow_move). Each step is written into the
 * ledger and then applied like any other change (lib/grant/apply.h). Until the last step the grant
 * is the old one: a program that finds a move whose worker has died moves the container back
 * (lib/grant/repin_end.h, called by gc). While pages move, no lock is held that a starting
 * container waits for.
 */

#include "base/err.h"
#include "grant/context.h"

enum stow_repin_step {
	STOW_REPIN_PLANNED,
	STOW_REPIN_WIDENED,
	STOW_REPIN_MOVING,
	STOW_REPIN_NARROWED,
	STOW_REPIN_VERIFIED,
};

struct stow_repin_progress {
	enum stow_repin_step step;
	struct stow_idset from, to, cpus;
	uint64_t total, moved, failed; /* bytes */
	uint64_t longest;	       /* longest move_pages(2), ns */
	uint64_t left_mapped;	       /* mapped bytes on other nodes, in the last step */
	uint64_t left_unmapped;	       /* bytes of page cache there that no process maps */
	const char *message;	       /* why these nodes were chosen */
};

struct stow_repin_options {
	struct stow_idset nodes; /* empty: any other nodes with room */
	uint64_t batch, pause;	 /* bytes (0: by time, pages/move.h), ns */
	bool dry_run;		 /* plan only */
	/* Called in every step and after every batch; a negative errno makes the repin move the
	 * container back. */
	int (*progress)(void *ctx, const struct stow_repin_progress *progress);
	void *ctx;
};

/* Move a container; `id` is its full id. -ENOENT: no grant of that id. -ENOSPC: no room on the
 * nodes. -EBUSY: it is being moved already. -ECANCELED (or what `progress` returned): it was moved
 * back. When an earlier repin of the container was killed, move it back first. */
int stow_repin(const struct stow_grant_context *context, const char *id,
	       const struct stow_repin_options *options, struct stow_err *err);
