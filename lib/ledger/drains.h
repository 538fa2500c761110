/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Drains in the ledger: each step is written before it is done, so that the next program can undo
 * or continue the work of a killed one (lib/drain/drain.h). A drain and its fence are written in
 * one transaction: neither exists without the other.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/idset.h"
#include "cgroup/pidref.h"
#include "ledger/ledger.h"
#include "node/hotplug.h"
#include "node/memblock.h"

#define STOW_DRAIN_ID_LEN 16 /* lower-case hexadecimal digits */

/* Same numbers as in drain.proto. */
enum stow_drain_step {
	STOW_DRAIN_STEP_WAITING = 1,
	STOW_DRAIN_STEP_PLANNED,
	STOW_DRAIN_STEP_FENCED,
	STOW_DRAIN_STEP_MOVING,
	STOW_DRAIN_STEP_OFFLINING,
	STOW_DRAIN_STEP_RETURNING,
	STOW_DRAIN_STEP_SAFE,
	STOW_DRAIN_STEP_REMOVED,
	STOW_DRAIN_STEP_UNDOING,
	STOW_DRAIN_STEP_DONE, /* final steps from here on */
	STOW_DRAIN_STEP_PARTIAL,
	STOW_DRAIN_STEP_FAILED,
	STOW_DRAIN_STEP_CANCELLED,
};

/* Return the step as a word, such as "planned". */
const char *stow_drain_step_name(enum stow_drain_step step);

static inline bool stow_drain_step_is_end(enum stow_drain_step step)
{
	return step >= STOW_DRAIN_STEP_DONE;
}

/* What to do when everything is offline. */
enum stow_drain_eject {
	STOW_EJECT_KEEP,  /* leave it offline */
	STOW_EJECT_EJECT, /* eject it from this machine */
	STOW_EJECT_WAIT,  /* wait until a hypervisor removes it */
};

/* What may be done with the offline memory. Same numbers as in drain.proto. */
enum stow_drain_release {
	STOW_RELEASE_NONE, /* nothing (yet): its device has other memory online, or it has no device
			    */
	STOW_RELEASE_DEVICE, /* its devices have no memory online: they may be removed */
	STOW_RELEASE_SHRINK, /* a part of virtio-mem: its hypervisor may shrink it by this part */
};

/* One of the blocks of the drain. */
struct stow_drain_row_block {
	uint64_t id;
	enum stow_memblock_zone zone; /* the zone that it was in */
	bool gone;		      /* offlining has begun, whether or not it is done */
	bool noted;		      /* the value of `gone` in the ledger */
};

/* Hugepages that were lost with the blocks; in pages. */
struct stow_drain_row_pool {
	uint64_t size;	 /* bytes per page */
	uint64_t lost;	 /* pages that the pool has lost because of the drain */
	uint64_t ours;	 /* of `lost`: pages that numastow had added; subtracted from `added` */
	uint64_t used;	 /* of `lost`: pages in use, on another node now */
	uint64_t before; /* while a block goes offline: the pool's size before, plus 1; else 0 */
	uint64_t target; /* while lost pages are allocated again: the pool's target size, plus 1;
			    else 0 */
};

/* A container that was repinned, and where it was. */
struct stow_drain_row_move {
	char *id;
	struct stow_idset nodes;
	bool noted; /* it is in the ledger */
};

/* A drain that is in progress, or an ordered drain whose end its scheduler has not acknowledged.
 * Strings are never NULL once read. */
struct stow_drain_row {
	char id[STOW_DRAIN_ID_LEN + 1];
	enum stow_drain_step step;
	struct stow_pidref worker; /* pid 0: no program works on it */
	bool ordered;		   /* a scheduler ordered it, and must get the result */
	bool cancel;		   /* its cancellation was requested */
	bool resume;		   /* when its worker dies: continue it instead of undoing it */
	int node;
	char *device; /* device of all the blocks; or "" */

	/* The specification, needed to continue; times in ns, the rate in bytes per second. */
	enum stow_drain_eject eject;
	bool keep, elsewhere, force_taint;
	uint64_t block_timeout, timeout, removal_timeout, rate;

	struct stow_drain_row_block *blocks; /* ascending */
	size_t n_blocks;
	struct stow_drain_row_pool pools[STOW_POOLS_MAX];
	size_t n_pools;
	struct stow_drain_row_move *moved; /* in the order of the moves */
	size_t n_moved;

	char *message;		   /* of the final step */
	uint64_t created, updated; /* ns since the epoch */
	uint64_t bytes, bytes_offline;
	uint64_t bytes_staying; /* what stays online of the blocks' devices */
	enum stow_drain_release release;
	int code; /* of the final step: errno, or 0 */
};

/* Add a moved container; `nodes`, its former nodes, may be NULL. Fails only with -ENOMEM. */
int stow_drain_row_add_move(struct stow_drain_row *row, const char *id,
			    const struct stow_idset *nodes);
/* Format its blocks, or with `gone` those whose offlining has begun, in list format: "48-55". The
 * caller frees the text; NULL: out of memory. */
char *stow_drain_row_blocks(const struct stow_drain_row *row, bool gone);

/* Read all drains, the oldest first. */
int stow_drain_rows(struct stow_ledger *ledger, struct stow_drain_row **ret, size_t *ret_n,
		    struct stow_err *err);
void stow_drain_rows_free(struct stow_drain_row *rows, size_t n);
void stow_drain_row_done(struct stow_drain_row *row);

/*
 * Insert a drain, and fence its node. -EBUSY: another one is in progress; the message names it.
 * -EEXIST: this id exists.
 */
int stow_drain_row_begin(struct stow_ledger *ledger, struct stow_drain_row *row,
			 struct stow_err *err);
/* A change of a pool's `added`: pages to add and to subtract. */
struct stow_drain_pages {
	uint64_t size, plus, minus;
};
/* Write what has changed: blocks that are gone (and mark them as noted), pools, moves, the step;
 * and change the ledger's pools of the drain's node in the same transaction: a program that is
 * killed has counted both or neither. The column `cancel` is left alone, because other programs
 * write it. -ENOENT: the row is gone. */
int stow_drain_row_put_pages(struct stow_ledger *ledger, struct stow_drain_row *row,
			     const struct stow_drain_pages *pages, size_t n, struct stow_err *err);
/* Take over a drain whose worker has died. -EBUSY: another program was faster. */
int stow_drain_row_adopt(struct stow_ledger *ledger, struct stow_drain_row *row,
			 const struct stow_pidref *self, struct stow_err *err);
/* End a drain: lift its fence; keep the row of an ordered drain, with its final step, and delete
 * any other. `event` ("drained", "undrained") goes into the history. */
int stow_drain_row_end(struct stow_ledger *ledger, struct stow_drain_row *row, const char *event,
		       struct stow_err *err);
/* Return whether cancellation was requested; true also when the row is gone. */
bool stow_drain_row_cancelled(struct stow_ledger *ledger, const char *id);

/* Request the cancellation of a drain (by id or its beginning; "" for the only one); its worker
 * notices within a second. -ENOENT: no such drain is in progress. `ret_id` may be NULL. */
int stow_drain_cancel(struct stow_ledger *ledger, const char *id,
		      char ret_id[STOW_DRAIN_ID_LEN + 1], struct stow_err *err);
/* Delete a drain that has ended. */
int stow_drain_forget(struct stow_ledger *ledger, const char *id, struct stow_err *err);
