/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Removing memory from a running machine (docs/drain.md;
 * Documentation/admin-guide/mm/memory-hotplug.rst).
 *
 *	plan	which blocks, what is in them, where it moves, what prevents it
 *	fence	nothing new is placed on the NUMA node
 *	move	pods with claims, and containers that cannot stay, are evicted; others are repinned
 *	offline	block by block, each with a deadline; hugepage pools under their locks
 *	return	pages of bound containers that the kernel scattered move back to their NUMA nodes
 *	safe	everything is offline: eject it, or wait until it is removed. Skipped where
 *		other blocks of its device stay online (except for virtio-mem, which shrinks)
 *	end	the fence is lifted
 *
 * Each change is written into the ledger before it is made: when a drain is killed, the next
 * program (stow_drain_recover()) undoes or continues it, as its row says. A machine has at most one
 * drain at a time. A drain that fails or is cancelled is undone, unless its spec has `keep`.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "drain/message.h"
#include "grant/grant.h"
#include "ledger/drains.h"

struct stow_drain_spec {
	int node;	    /* a NUMA node, with `size`; -1: not by node */
	const char *blocks; /* in list format; NULL: not by blocks. Numbers may exceed an idset's */
	const char *device; /* "dimm0"; NULL: not by device */
	uint64_t size;	    /* bytes; 0: all of it */
	enum stow_drain_eject eject;
	uint64_t block_timeout;	  /* ns; 0: STOW_DRAIN_BLOCK_TIMEOUT */
	uint64_t timeout;	  /* ns for the whole drain; 0: STOW_DRAIN_TIMEOUT */
	uint64_t removal_timeout; /* ns; 0: STOW_DRAIN_REMOVAL_TIMEOUT */
	bool keep;   /* a drain that fails or is cancelled leaves offline what is offline */
	bool resume; /* when its program dies, the next one continues it instead of undoing it */
	bool hugepages_elsewhere; /* lost hugepages may be allocated on other nodes */
	bool force_taint;	  /* Kubernetes deletes all pods that have a share of the node */

	/* Set by the program, not by the user. */
	bool evicts;   /* pods with claims can be evicted: see struct stow_drain_watch */
	uint64_t most; /* bytes that may be offline, with what is offline already; 0: any */
	uint64_t rate; /* bytes a second; 0: any */
};

#define STOW_DRAIN_BLOCK_TIMEOUT   (10 * STOW_SECOND)
#define STOW_DRAIN_TIMEOUT	   (600 * STOW_SECOND)
#define STOW_DRAIN_REMOVAL_TIMEOUT (300 * STOW_SECOND)

/*
 * Plan, and change nothing. Return PLANNED with the plan; or FAILED with one line that says why,
 * and as much of the plan as could be made; or NULL: out of memory. Errors: -EINVAL: unknown node,
 * blocks of two nodes, a block that does not exist, a malformed list; -ENODEV: no such device;
 * -ERANGE: more than there is; -EPERM: memory that came with the machine (boot memory), or the
 * caller is not root; -EALREADY: all of it is offline already; -EOPNOTSUPP: not supported by the
 * kernel, or `force_taint` without `evicts`; -EBUSY: unmovable pages, or a container with
 * drain=refuse; -ENOSPC: what must move does not fit elsewhere above the watermarks, or a container
 * would have nowhere to go; -EACCES: over `most`.
 */
PbDrainProgress *stow_drain_preview(const struct stow_grant_context *context, const char *id,
				    const struct stow_drain_spec *spec);

/* The observer of a drain. `progress` is called from the drain's thread in every step and for every
 * block; a negative return cancels. `stop` is also called while a block is going offline; true
 * cancels. `evict` has the pods evicted that hold these shares of Kubernetes claims, and is called
 * with none when the drain no longer waits for them; it must not wait. Without it, no pod can be
 * evicted. Each may be NULL. */
struct stow_drain_claim {
	const char *uid, *share;
};

struct stow_drain_watch {
	int (*progress)(void *ctx, const PbDrainProgress *progress);
	bool (*stop)(void *ctx);
	void (*evict)(void *ctx, const struct stow_drain_claim *claims, size_t n);
	void *ctx;
};

/* Make a new id. */
void stow_drain_new_id(char ret[STOW_DRAIN_ID_LEN + 1]);

/*
 * Plan and run a drain in the calling thread, with a ledger of its own in `context`. `id`: from
 * stow_drain_new_id(), or the scheduler's. `ordered`: a scheduler asked for it, and must be told
 * the result. *ret_step: the final step. Return 0 for DONE; -EBUSY: another drain is running here,
 * or unmovable or pinned pages; -ECANCELED; -ETIMEDOUT; -EREMOTEIO: a partial result that is kept;
 * otherwise as stow_drain_preview(). The last progress message has the same error.
 */
int stow_drain_run(const struct stow_grant_context *context, const char *id, bool ordered,
		   const struct stow_drain_spec *spec, const struct stow_drain_watch *watch,
		   enum stow_drain_step *ret_step, struct stow_err *err);

/* Return whether a drain's worker has died. Costs one query. */
bool stow_drain_orphans(const struct stow_grant_context *context);
/* Undo or continue drains whose worker has died. Any number of programs may call it at once. Return
 * how many, or the first failure after all were tried. */
int stow_drain_recover(const struct stow_grant_context *context,
		       const struct stow_drain_watch *watch, struct stow_err *err);
