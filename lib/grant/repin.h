/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Moving a running container to other NUMA nodes without a stall (docs/repin.md):
 *
 *	plan	room is promised on the new nodes, as a second record "repin:ID" beside the old one
 *	widen	cpuset.mems = old and new nodes; cpuset.cpus = the new CPUs
 *	move	its processes' pages, in batches with pauses
 *	narrow	cpuset.mems = the new nodes; the kernel moves what is left
 *	verify	where its pages are now; the records become one
 *
 * Until the records become one the container's grant is the old one, so whoever finds "repin:ID"
 * with a dead mover puts the container back (stow_repin_recover(), by gc). No lock is held while
 * pages move: hooks go on.
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
	const char *message;	       /* why there */
};

struct stow_repin_options {
	struct stow_idset nodes; /* empty: wherever there is room, elsewhere */
	uint64_t batch, pause;	 /* bytes (0: by time, node/pages.h), ns */
	bool dry_run;		 /* plan only */
	/* Called in every step, and after every batch; a negative errno takes all back. */
	int (*progress)(void *ctx, const struct stow_repin_progress *progress);
	void *ctx;
};

/* `id` is a container's whole id. -ENOENT: no grant of that id. -ENOSPC: no room there. -EBUSY: it
 * is being moved. -ECANCELED (or what `progress` returned): taken back. */
int stow_repin(const struct stow_grant_context *context, const char *id,
	       const struct stow_repin_options *options, struct stow_err *err);

/* Whether a record is the second one of a repin. */
bool stow_repin_is(const struct stow_record *record);

/* Puts a container back whose mover has died, and deletes the second record. */
int stow_repin_recover(const struct stow_grant_context *context, const struct stow_record *second,
		       struct stow_err *err);
