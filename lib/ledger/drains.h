/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Drains in the ledger: each step is written down before it is done, so that the next program can
 * undo the work of a killed one, or go on with it (lib/drain/drain.h). A drain's fence is in the
 * same transaction: there is no moment with one and without the other.
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

/* Numbered as in drain.proto. */
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
	STOW_DRAIN_STEP_DONE, /* ends from here on */
	STOW_DRAIN_STEP_PARTIAL,
	STOW_DRAIN_STEP_FAILED,
	STOW_DRAIN_STEP_CANCELLED,
};

const char *stow_drain_step_name(enum stow_drain_step step); /* "planned" */

static inline bool stow_drain_step_is_end(enum stow_drain_step step)
{
	return step >= STOW_DRAIN_STEP_DONE;
}

/* What happens once all is offline. */
enum stow_drain_eject {
	STOW_EJECT_KEEP,  /* it stays, offline */
	STOW_EJECT_EJECT, /* the machine itself lets go of it */
	STOW_EJECT_WAIT,  /* a hypervisor pulls it */
};

/* What may become of the memory that is offline. Numbered as in drain.proto. */
enum stow_drain_release {
	STOW_RELEASE_NONE,   /* nothing (yet): its device has other memory online, or it has none */
	STOW_RELEASE_DEVICE, /* nothing of its devices is online: they may be removed */
	STOW_RELEASE_SHRINK, /* a part of virtio-mem: its hypervisor may shrink it by so much */
};

/* One of the blocks that are to go. */
struct stow_drain_row_block {
	uint64_t id;
	enum stow_memblock_zone zone; /* that it was in */
	bool gone;		      /* begun with, done or not */
	bool noted;		      /* `gone`, as the ledger has it */
};

/* Hugepages that went with the blocks; in pages. */
struct stow_drain_row_pool {
	uint64_t size; /* bytes a page */
	uint64_t lost; /* that the node's pool has less than before, by us */
	uint64_t ours; /* of them those that numastow had put in: taken off the ledger's `added` */
	uint64_t used; /* of them those that are in use, on another node now */
	uint64_t before; /* while a block goes: what the pool had before, and one; else 0 */
	uint64_t target; /* while they are made again: what the pool is to have, and one; else 0 */
};

/* A container that was repinned, and where it was. */
struct stow_drain_row_move {
	char *id;
	struct stow_idset nodes;
	bool noted; /* the ledger has it */
};

/* A drain that is under way, or an ordered one whose end its scheduler has not acknowledged.
 * Strings are never NULL once read. */
struct stow_drain_row {
	char id[STOW_DRAIN_ID_LEN + 1];
	enum stow_drain_step step;
	struct stow_pidref worker; /* pid 0: no program is at work */
	bool ordered;		   /* by a scheduler, which is to hear of the end */
	bool cancel;		   /* it has been asked to stop */
	bool resume;		   /* after its worker's death: go on, rather than undo */
	int node;
	char *device; /* that all the blocks belong to; "" */

	/* What was asked for, for going on; times in ns, the rate in bytes a second. */
	enum stow_drain_eject eject;
	bool keep, elsewhere;
	uint64_t block_timeout, timeout, removal_timeout, rate;

	struct stow_drain_row_block *blocks; /* ascending */
	size_t n_blocks;
	struct stow_drain_row_pool pools[STOW_POOLS_MAX];
	size_t n_pools;
	struct stow_drain_row_move *moved; /* in the order in which they were */
	size_t n_moved;

	char *message;		   /* of the end */
	uint64_t created, updated; /* ns since the epoch */
	uint64_t bytes, bytes_offline;
	uint64_t bytes_staying; /* of the blocks' devices: what stays online */
	enum stow_drain_release release;
	int code; /* of the end: errno, or 0 */
};

/* Adds a container to those that were moved; `nodes`, where it was, may be NULL. -ENOMEM. */
int stow_drain_row_add_move(struct stow_drain_row *row, const char *id,
			    const struct stow_idset *nodes);
/* Formats its blocks, or those of them that are gone, in list format: "48-55". To be freed; NULL:
 * no memory. */
char *stow_drain_row_blocks(const struct stow_drain_row *row, bool gone);

/* Reads all drains, the oldest first. */
int stow_drain_rows(struct stow_ledger *ledger, struct stow_drain_row **ret, size_t *ret_n,
		    struct stow_err *err);
void stow_drain_rows_free(struct stow_drain_row *rows, size_t n);
void stow_drain_row_done(struct stow_drain_row *row);

/*
 * Enters a drain, and fences its node. -EBUSY: another one is under way, and the line says which;
 * -EEXIST: one of this id is there.
 */
int stow_drain_row_begin(struct stow_ledger *ledger, struct stow_drain_row *row,
			 struct stow_err *err);
/* Writes down what has changed: which blocks are gone (and notes that), pools, moves, how far it
 * is. It leaves the column `cancel`, which other programs write. -ENOENT: the row is gone. */
int stow_drain_row_put(struct stow_ledger *ledger, struct stow_drain_row *row,
		       struct stow_err *err);
/* How numastow's share of a hugepage pool changes with it: pages more, and less. */
struct stow_drain_pages {
	uint64_t size, plus, minus;
};
/* Does the same, and changes the pools of the drain's node, in one transaction: a program that is
 * killed has counted both or neither. */
int stow_drain_row_put_pages(struct stow_ledger *ledger, struct stow_drain_row *row,
			     const struct stow_drain_pages *pages, size_t n, struct stow_err *err);
/* Takes over a drain whose worker has died. -EBUSY: another program was faster. */
int stow_drain_row_adopt(struct stow_ledger *ledger, struct stow_drain_row *row,
			 const struct stow_pidref *self, struct stow_err *err);
/* Ends it: lifts the fence, and keeps the row with its end for an ordered drain, else deletes it.
 * `event` ("drained", "undrained") goes into the history. */
int stow_drain_row_end(struct stow_ledger *ledger, struct stow_drain_row *row, const char *event,
		       struct stow_err *err);
/* Says whether it has been asked to stop; true also when the row is gone. */
bool stow_drain_row_cancelled(struct stow_ledger *ledger, const char *id);

/* Asks the worker of a drain (by id or its beginning; "" for the only one) to stop, whichever
 * program that is; it notices within a second. -ENOENT: no such drain is under way. `ret_id` may be
 * NULL. */
int stow_drain_cancel(struct stow_ledger *ledger, const char *id,
		      char ret_id[STOW_DRAIN_ID_LEN + 1], struct stow_err *err);
/* Forgets a drain that has ended. */
int stow_drain_forget(struct stow_ledger *ledger, const char *id, struct stow_err *err);
