/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Declarations shared by the files of lib/drain. */

#include "base/cleanup.h"
#include "base/idset.h"
#include "drain/drain.h"
#include "node/memblock.h"
#include "pages/owners.h"

/* --- plan.c --------------------------------------------------------------- */

enum stow_drain_action { STOW_DRAIN_ACTION_RETURN, STOW_DRAIN_ACTION_MOVE, STOW_DRAIN_ACTION_END };

struct stow_drain_block {
	uint64_t id;
	char zone[48];
	struct stow_block_use use;
};

/* A container with a grant whose memory, or share, is affected. */
struct stow_drain_affected {
	int64_t key; /* of its record */
	char *id, *pod, *ns, *name;
	uint64_t bytes; /* in the blocks */
	enum stow_drain_action action;
	struct stow_idset nodes; /* where it will be, when known */
	char *uid, *share; /* of a claim: the record is a share, whose pods are evicted; or NULL */
	bool holds;	   /* a container of claims: it ends with their eviction */
	char *suspect;	   /* a suspect; "" for none */
};

struct stow_drain_plan {
	int node;
	const struct stow_memdev *device; /* in `all`; NULL: the blocks are not of one device */
	struct stow_memblocks all;
	struct stow_drain_block *blocks; /* in the order of offlining: ascending */
	size_t n_blocks;
	uint64_t page_size, bytes, to_move, unmovable, hugepages; /* bytes */
	bool evicts;	  /* pods with claims can be evicted */
	bool force_taint; /* ... and all of them are deleted */
	bool whole_node;  /* no memory stays online on the node */
	uint64_t staying; /* online bytes of the blocks' devices outside of the plan */
	bool use_known;	  /* /proc/kpage* could be read */
	struct stow_drain_affected *affected;
	size_t n_affected;
	struct stow_culprits suspects;
	uint64_t expected; /* estimate, ns */
	char **notes;
	size_t n_notes;
};

/*
 * Make the plan. Errors as in stow_drain_preview(). After an error *ret_plan may be set, too, to
 * show what was found; free it in any case.
 */
int stow_drain_plan(const struct stow_grant_context *context, const struct stow_drain_spec *spec,
		    struct stow_drain_plan **ret_plan, struct stow_err *err);
void stow_drain_plan_free(struct stow_drain_plan *plan);
STOW_DEFINE_CLEANUP(stow_drain_plan_free, struct stow_drain_plan);

/* --- message.c ------------------------------------------------------------ */

/* Make the result of stow_drain_preview(). `plan` may be NULL. `why`: the error, or NULL. */
PbDrainProgress *stow_drain_plan_message(const char *id, const struct stow_drain_plan *plan,
					 const struct stow_err *why);

/* --- select.c: which blocks ----------------------------------------------- */

/* The candidates that the specification allows, and how many of them to take offline. */
struct stow_drain_choice {
	struct stow_drain_plan *plan;
	uint64_t *ids; /* online blocks that may be taken, ascending */
	size_t n_ids;
	size_t wanted; /* number of blocks; n_ids: all of them */
	bool named;    /* blocks or a device were named: take all of them, or fail */
};

/* Read the machine's blocks into plan->all; set plan->node and plan->device. */
int stow_drain_choose(const struct stow_grant_context *context, const struct stow_drain_spec *spec,
		      struct stow_drain_plan *plan, struct stow_drain_choice *ret,
		      struct stow_err *err);
void stow_drain_choice_done(struct stow_drain_choice *choice);
/* Fill plan->blocks from the candidates: all that were named, or else the cheapest. */
int stow_drain_pick(struct stow_drain_choice *choice, const struct stow_use *use,
		    const uint64_t *refused, size_t n_refused, struct stow_err *err);
/* Add a line for users to the plan. Fails only with -ENOMEM. */
int stow_drain_note(struct stow_drain_plan *plan, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* --- rest.c: what stays online of the blocks' devices --------------------- */

/* The devices that some blocks belong to. */
struct stow_drain_rest {
	uint64_t bytes;	 /* of these devices, not offline */
	bool other;	 /* some of the blocks belong to no device */
	bool shrinkable; /* all of the devices are virtio-mem */
	size_t n_devices;
	char text[256]; /* "640Mi of dimm0, 128Mi of dimm1", "" */
};

/* Compute what stays online of the devices of `n` ascending blocks, and of `device` (may be NULL),
 * whose blocks may no longer exist. `without`: as if the blocks themselves were offline. */
void stow_drain_rest(const struct stow_memblocks *all, const uint64_t *ids, size_t n,
		     const char *device, bool without, struct stow_drain_rest *ret);

/* --- containers.c: containers and their pages ----------------------------- */

/* Sum the uses of all blocks: each owner once. The caller frees ret->owners. -ENOMEM. */
int stow_drain_merge_uses(const struct stow_drain_plan *plan, struct stow_block_use *ret);
/* Return the index of the record whose container owns a memory cgroup, or one above it; `n`: none
 * does. `path` may be NULL. */
size_t stow_drain_owner(struct stow_record *const *records, size_t n, uint64_t inode,
			const char *path);

/* Move pages that processes of bound containers map on other nodes back to the containers' own
 * nodes. *ret_left: bytes that could not be moved. Continue after a failure. */
int stow_drain_return_pages(const struct stow_grant_context *context, int node,
			    bool (*stop)(void *ctx), void *ctx, uint64_t *ret_moved,
			    uint64_t *ret_left);

/* --- impact.c: affected containers, and whether their memory fits --------- */

int stow_drain_impact(const struct stow_grant_context *context, struct stow_drain_plan *plan,
		      struct stow_err *err);
/* Find the blocks with pages of containers that have drain=refuse, to avoid them if possible. The
 * caller frees the list. */
int stow_drain_refused_blocks(const struct stow_grant_context *context, const struct stow_use *use,
			      uint64_t **ret_ids, size_t *ret_n, struct stow_err *err);

/* --- pools.c: hugepages that go with the blocks --------------------------- */

struct stow_drain_pool {
	struct stow_drain_row_pool row;
	uint64_t plus, minus; /* of `added`: not in the ledger yet, see stow_drain_save_row() */
};

struct stow_drain_pools {
	int node;
	struct stow_drain_pool list[STOW_POOLS_MAX];
	size_t n;
	int locks[STOW_POOLS_MAX]; /* negative: not held */
};

/* Initialise from the row. */
int stow_drain_pools_init(struct stow_root *root, int node, const struct stow_drain_row *row,
			  struct stow_drain_pools *ret, struct stow_err *err);
/* Take the locks of the node's pools, and record their sizes. Locks are taken by ascending size; no
 * other code takes two of them, so that this order cannot deadlock. */
int stow_drain_pools_lock(struct stow_root *root, struct stow_drain_pools *pools,
			  struct stow_err *err);
/* Take the locks only: the sizes are those that a killed worker has recorded. */
int stow_drain_pools_hold(struct stow_root *root, struct stow_drain_pools *pools,
			  struct stow_err *err);
/* Count the pages that were lost (or came back) since, for stow_drain_save_row() to save before the
 * locks are dropped. `use` (may be NULL): the content of the block. */
int stow_drain_pools_account(const struct stow_grant_context *context,
			     struct stow_drain_pools *pools, const struct stow_block_use *use,
			     struct stow_err *err);
/* Drop the locks; nothing is counted from here on. */
void stow_drain_pools_unlock(struct stow_drain_pools *pools);
/* Before lost pages are allocated again: set the sizes that the pools must get, for the ledger; or,
 * after a worker that was killed meanwhile, count the pages that it allocated. */
int stow_drain_pools_plan(const struct stow_grant_context *context, struct stow_drain_pools *pools,
			  struct stow_err *err);
/* Allocate lost pages again: on the node itself; and with `elsewhere`, pages that do not fit there
 * and are promised to no container, on other nodes, the nearest first. `pools` then has what is
 * still lost. */
int stow_drain_pools_renew(const struct stow_grant_context *context, struct stow_drain_pools *pools,
			   bool elsewhere, struct stow_err *err);
/* Write the pools into the row. */
void stow_drain_pools_put(const struct stow_drain_pools *pools, struct stow_drain_row *row);

/* --- work.c, move.c, evict.c, undo.c ----------------------------------------------- */

/* A running drain. */
struct stow_draining {
	const struct stow_grant_context *context;
	struct stow_drain_spec spec;
	const struct stow_drain_watch *watch;
	struct stow_drain_plan *plan; /* NULL while a dead worker's drain is undone */
	struct stow_drain_row row;
	struct stow_drain_pools pools;
	size_t n_gone;	/* entries of row.blocks that were begun */
	char rest[256]; /* what stays online of the blocks' devices, "640Mi of dimm0"; or "" */
	uint64_t block_size, page_size;
	uint64_t started, until; /* monotonic, ns */
	uint64_t asked;		 /* when the ledger was last checked for a cancellation */
	bool entered;		 /* in the ledger, where other programs may cancel it */
	bool stopped;		 /* it was cancelled */
	bool final;		 /* too late to cancel: it is being undone, or has ended */
	bool stuck;		 /* undoing has failed */
	uint64_t bytes_moved, block;
	uint64_t left; /* bytes of bound containers on other nodes at the end */
	struct stow_culprits culprits;
};

/* Notify the watcher. Return -ECANCELED when the watcher, or another program, has cancelled the
 * drain; never while it is being undone. */
int stow_drain_notify(struct stow_draining *d, enum stow_drain_step step, const char *message,
		      struct stow_err *err);
/* Return whether the drain was cancelled: a `stop` callback for long operations. */
bool stow_drain_stop(void *draining);
/* Set the error of a cancelled drain, and return -ECANCELED. */
int stow_drain_cancelled(struct stow_err *err);
/* Move or evict the plan's containers that cannot stay, one after the other. */
int stow_drain_move_all(struct stow_draining *d, struct stow_err *err);
/* Have the pods evicted that hold claims of the plan, and wait until all these were unprepared. */
int stow_drain_evict_claims(struct stow_draining *d, struct stow_err *err);
/* Count the pages that a killed worker had begun to count. */
int stow_drain_count_left(struct stow_draining *d, struct stow_err *err);
/* Save the row in its present state, and the node's pools with it. */
int stow_drain_save_row(struct stow_draining *d, struct stow_err *err);
/* Move pages of bound containers back, and give the pools what they lost. Continue after a failure;
 * return the first. */
int stow_drain_settle(struct stow_draining *d, struct stow_err *err);
/* Bring blocks online, then do as stow_drain_settle(). Continue after a failure; return the
 * first. */
int stow_drain_undo(struct stow_draining *d, struct stow_err *err);
/* Move repinned containers back, in spite of the node's fences. Return how many could not. */
size_t stow_drain_move_back(struct stow_draining *d);
/* Mark a block of the row as begun, or clear the mark. */
void stow_drain_set_gone(struct stow_draining *d, size_t block, bool gone);
/* Write the specification, except the blocks, to the row for the ledger; and read it back. */
void stow_drain_spec_put(const struct stow_drain_spec *spec, struct stow_drain_row *row);
void stow_drain_spec_get(const struct stow_drain_row *row, struct stow_drain_spec *ret);
/* Run all steps from the row's step on (with the plan when that is PLANNED), and the end. */
int stow_drain_work(struct stow_draining *d, enum stow_drain_step *ret_step, struct stow_err *err);
/* Wait until hooks that were running before the fence are done. */
int stow_drain_await_pending(struct stow_draining *d, struct stow_err *err);
/* End the drain: undo it when `r` is an error and nothing is kept, end the row, and report. */
int stow_drain_finish(struct stow_draining *d, int r, bool partial, enum stow_drain_step *ret_step,
		      struct stow_err *err);
/* Make the progress message for the row's step; with the plan when that is PLANNED. */
PbDrainProgress *stow_drain_message(const struct stow_draining *d, const char *message);
void stow_draining_done(struct stow_draining *d);
/* Return whether the block exists. */
bool stow_drain_block_exists(struct stow_root *root, uint64_t id);
