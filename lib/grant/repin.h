/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Moving a running container to other NUMA nodes without a stall (docs/repin.md):
 *
 *	plan	room is promised on the new nodes: the target, beside what the container has
 *	widen	cpuset.mems = old and new nodes; cpuset.cpus = the new CPUs
 *	move	its processes' pages, in batches with pauses
 *	narrow	cpuset.mems = the new nodes; the kernel moves what is left
 *	verify	where its pages are now; the target is what the container has
 *
 * A repin is a state of the container's record (struct stow_move). Each step is decided in the
 * ledger and then applied like everything else (lib/grant/apply.h). Until the end the container's
 * grant is the old one: a program that finds a move whose worker has died puts the container back
 * (stow_repin_recover(), called by gc). No lock that a start waits for is held while pages move.
 */

#include "base/err.h"
#include "grant/grant.h"

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
	uint64_t longest;	       /* ns of one move_pages(2) */
	uint64_t left_mapped;	       /* bytes on other nodes, in the last step */
	uint64_t left_unmapped;	       /* page cache there that nobody maps */
	const char *message;	       /* why it goes there */
};

struct stow_repin_options {
	struct stow_idset nodes; /* empty: wherever there is room, elsewhere */
	uint64_t batch, pause;	 /* bytes (0: by time, pages/move.h), ns */
	bool dry_run;		 /* plan only */
	/* Called in every step, and after every batch; a negative errno takes the move back. */
	int (*progress)(void *ctx, const struct stow_repin_progress *progress);
	void *ctx;
};

/* Moves a container; `id` is its whole id. -ENOENT: no grant of that id. -ENOSPC: no room there.
 * -EBUSY: it is being moved already. -ECANCELED (or what `progress` returned): taken back. A
 * container whose last mover was killed is put back first. */
int stow_repin(const struct stow_grant_context *context, const char *id,
	       const struct stow_repin_options *options, struct stow_err *err);

/* Puts a container back whose record has a move with a worker that has died. Any number of programs
 * may call it at once; one of them does it. */
int stow_repin_recover(const struct stow_grant_context *context, const struct stow_record *record,
		       struct stow_err *err);
