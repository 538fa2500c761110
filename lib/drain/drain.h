/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory leaves a running machine (docs/drain.md; Documentation/admin-guide/mm/memory-hotplug.rst).
 *
 *	plan	which blocks, what lives there, where it goes, who is in the way
 *	fence	the NUMA node gets nothing new
 *	move	containers that can't stay are repinned, or evicted
 *	offline	block by block, each with a deadline; hugepage pools under their locks
 *	return	pages of bound containers that the kernel scattered come back to their NUMA nodes
 *	safe	everything is offline: eject it, or wait until somebody pulls it. Never said where
 *		other blocks of its device stay online (but for virtio-mem, which shrinks)
 *	end	the fence is lifted
 *
 * What has to be undone is in the ledger before it is done: a drain whose worker was killed is
 *undone, or gone on with, as its row says, by whoever comes next (stow_drain_recover()). One drain
 *at a time on a machine. Cancelling and failing put everything back, unless what was achieved is to
 *be kept.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "drain/message.h"
#include "grant/grant.h"
#include "ledger/drains.h"

struct stow_drain_spec {
	int node;	    /* a NUMA node, with `size`; -1: not by node */
	const char *blocks; /* in list format; NULL: not by blocks. Numbers go beyond an idset's */
	const char *device; /* "dimm0"; NULL: not by device */
	uint64_t size;	    /* bytes; 0: all of it */
	enum stow_drain_eject eject;
	uint64_t block_timeout;	  /* ns; 0: STOW_DRAIN_BLOCK_TIMEOUT */
	uint64_t timeout;	  /* ns for the whole; 0: STOW_DRAIN_TIMEOUT */
	uint64_t removal_timeout; /* ns; 0: STOW_DRAIN_REMOVAL_TIMEOUT */
	bool keep, resume, hugepages_elsewhere;

	/* Of whoever enforces limits, not of the caller. */
	uint64_t most; /* bytes that may be taken off the machine, with what is offline already; 0:
			  any */
	uint64_t rate; /* bytes a second; 0: any */
};

#define STOW_DRAIN_BLOCK_TIMEOUT   (UINT64_C(10) * 1000000000)
#define STOW_DRAIN_TIMEOUT	   (UINT64_C(600) * 1000000000)
#define STOW_DRAIN_REMOVAL_TIMEOUT (UINT64_C(300) * 1000000000)

/*
 * Plans and changes nothing. PLANNED with the plan, or FAILED with one line of why not, and as much
 * of the plan as could be made:
 * -EINVAL: unknown node, blocks of two nodes, a block that does not exist, a list that is none;
 * -ENODEV: no such device; -ERANGE: more than there is; -EPERM: memory that came with the machine
 * (boot memory) cannot be taken, or not root; -EALREADY: all of it is offline already; -EOPNOTSUPP:
 * the kernel can't; -EBUSY: unmovable pages, or a container with drain=refuse; -ENOSPC: what must
 * move does not fit elsewhere above the watermarks, or a container would have nowhere to go;
 * -EACCES: over `most`. NULL: memory has run out.
 */
PbDrainProgress *stow_drain_preview(const struct stow_grant_context *context, const char *id,
				    const struct stow_drain_spec *spec);

/* Who looks on. `progress` is called from the drain's thread in every step and for every block;
 * a negative return cancels. `stop` is also asked while a block is going offline. Either may be
 * NULL. */
struct stow_drain_watch {
	int (*progress)(void *ctx, const PbDrainProgress *progress);
	bool (*stop)(void *ctx);
	void *ctx;
};

/* A new id. */
void stow_drain_new_id(char ret[STOW_DRAIN_ID_LEN + 1]);

/*
 * Plans and does it all, in the calling thread, with a ledger of its own in `context`. `id`: from
 * stow_drain_new_id(), or the scheduler's. `ordered`: by a scheduler, which is to hear of the end.
 * *ret_step is how it ended. Returns 0 for DONE; -EBUSY: another drain is at work here, or
 * unmovable or pinned pages; -ECANCELED; -ETIMEDOUT; -EREMOTEIO is a partial result that is kept;
 * else as stow_drain_preview(). The last progress has said the same.
 */
int stow_drain_run(const struct stow_grant_context *context, const char *id, bool ordered,
		   const struct stow_drain_spec *spec, const struct stow_drain_watch *watch,
		   enum stow_drain_step *ret_step, struct stow_err *err);

/* Whether some drain's worker has died: a look that costs one query. */
bool stow_drain_orphans(const struct stow_grant_context *context);
/* Undoes, or goes on with, drains whose worker has died; any number of programs may call it at
 * once. Returns how many, or the first failure after having tried all. */
int stow_drain_recover(const struct stow_grant_context *context,
		       const struct stow_drain_watch *watch, struct stow_err *err);
