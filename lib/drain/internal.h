/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parts of a drain, between the files of lib/drain. */

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

/* A container with a grant whose memory, or promise, is concerned. */
struct stow_drain_affected {
	int64_t key; /* of its record */
	char *id, *pod, *ns, *name;
	uint64_t bytes; /* in the blocks */
	enum stow_drain_action action;
	struct stow_idset nodes; /* where it will be, as far as known */
	char *suspect;		 /* "" */
};

struct stow_drain_plan {
	int node;
	const struct stow_memdev *device; /* in `all`; NULL: not one device's */
	struct stow_memblocks all;
	struct stow_drain_block *blocks; /* in the order in which they go: ascending */
	size_t n_blocks;
	uint64_t page_size, bytes, to_move, unmovable, hugepages; /* bytes */
	bool whole_node;  /* nothing is left online on the node */
	uint64_t staying; /* bytes of the blocks' devices that are online, and not of the plan */
	bool use_known;	  /* /proc/kpage* could be read */
	struct stow_drain_affected *affected;
	size_t n_affected;
	struct stow_culprits suspects;
	uint64_t expected; /* ns, a guess */
	char **notes;
	size_t n_notes;
};

/*
 * Makes the plan; fails as stow_drain_preview() says. With an error *ret_plan may still be set (not
 * NULL), to show what was found; free it in any case.
 */
int stow_drain_plan(const struct stow_grant_context *context, const struct stow_drain_spec *spec,
		    struct stow_drain_plan **ret_plan, struct stow_err *err);
void stow_drain_plan_free(struct stow_drain_plan *plan);
static inline void stow_drain_plan_free_ptr(struct stow_drain_plan **plan)
{
	if (*plan)
		stow_drain_plan_free(*plan);
}

/* --- message.c ------------------------------------------------------------ */

/* Makes what stow_drain_preview() returns. `plan` may be NULL; `why`: NULL for a plan that can be
 * done. */
PbDrainProgress *stow_drain_plan_message(const char *id, const struct stow_drain_plan *plan,
					 const struct stow_err *why);

/* --- select.c: which blocks ----------------------------------------------- */

/* What the specification allows to choose from, and how much of it is to go. */
struct stow_drain_choice {
	struct stow_drain_plan *plan;
	uint64_t *ids; /* online blocks that may go, ascending */
	size_t n_ids;
	size_t wanted; /* blocks; n_ids: all of them */
	bool named;    /* by number or device: each is wanted, or the caller hears why not */
};

/* Reads the machine's blocks into plan->all, sets plan->node and plan->device. */
int stow_drain_choose(const struct stow_grant_context *context, const struct stow_drain_spec *spec,
		      struct stow_drain_plan *plan, struct stow_drain_choice *ret,
		      struct stow_err *err);
void stow_drain_choice_done(struct stow_drain_choice *choice);
/* Fills plan->blocks from the choice: all that was named, else the cheapest. */
int stow_drain_pick(struct stow_drain_choice *choice, const struct stow_use *use,
		    const uint64_t *refused, size_t n_refused, struct stow_err *err);
/* A line for people about the plan. -ENOMEM. */
int stow_drain_note(struct stow_drain_plan *plan, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* "48-55" of a plan's blocks; NULL: no memory. */
char *stow_drain_block_list(const struct stow_drain_plan *plan);

/* --- rest.c: what of their devices stays ---------------------------------- */

/* Of the devices that some blocks belong to. */
struct stow_drain_rest {
	uint64_t bytes;	 /* not offline */
	bool other;	 /* some of the blocks are no device's */
	bool shrinkable; /* the devices are virtio-mem, all of them */
	size_t n_devices;
	char text[256]; /* "640Mi of dimm0, 128Mi of dimm1", "" */
};

/* `n` ascending blocks; those that are not there any more do not count, but for `device` (may be
 * NULL), theirs. `without`: as if the blocks themselves were offline. */
void stow_drain_rest(const struct stow_memblocks *all, const uint64_t *ids, size_t n,
		     const char *device, bool without, struct stow_drain_rest *ret);

/* --- containers.c: containers and their pages ----------------------------- */

/* A container with a grant, and its memory cgroup. */
struct stow_drain_container {
	struct stow_record *record; /* the table's */
	uint64_t inode;		    /* of its memory cgroup; 0: it has none */
	const char *path;	    /* in the memory hierarchy; the record's; NULL: none */
};

struct stow_drain_containers {
	struct stow_record **records;
	struct stow_drain_container *list;
	size_t n;
};

/* Those that are pending or active; leases too, without a cgroup. */
int stow_drain_containers_read(const struct stow_grant_context *context,
			       struct stow_drain_containers *ret, struct stow_err *err);
void stow_drain_containers_done(struct stow_drain_containers *containers);
/* Whose a memory cgroup is, itself or one below; NULL: nobody's that has a grant. `path` may be
 * NULL. */
struct stow_drain_container *stow_drain_containers_find(
	const struct stow_drain_containers *containers, uint64_t inode, const char *path);

/* Brings pages that processes of bound containers map elsewhere back to the containers' own nodes.
 * *ret_left: bytes that would not go. Goes on after a failure. */
int stow_drain_return_pages(const struct stow_grant_context *context, int node,
			    bool (*stop)(void *ctx), void *ctx, uint64_t *ret_moved,
			    uint64_t *ret_left);

/* --- impact.c: who is concerned, and whether it fits ---------------------- */

int stow_drain_impact(const struct stow_grant_context *context, struct stow_drain_plan *plan,
		      struct stow_err *err);
/* Blocks with pages of containers that refuse, to be avoided when there is a choice. To be freed. */
int stow_drain_refused_blocks(const struct stow_grant_context *context, const struct stow_use *use,
			      uint64_t **ret_ids, size_t *ret_n, struct stow_err *err);

/* --- pools.c: hugepages that go with the blocks --------------------------- */

struct stow_drain_pool {
	struct stow_drain_row_pool row;
	uint64_t plus, minus; /* of `added`: what the ledger does not have yet, see note_row() */
};

struct stow_drain_pools {
	int node;
	struct stow_drain_pool list[STOW_POOLS_MAX];
	size_t n;
	int locks[STOW_POOLS_MAX]; /* while they are held; else negative */
};

/* With what the row has. */
int stow_drain_pools_init(struct stow_root *root, int node, const struct stow_drain_row *row,
			  struct stow_drain_pools *ret, struct stow_err *err);
/* Holds the locks of the node's pools, and notes their sizes. By ascending size: nobody else takes
 * a second one, so that this order is safe. */
int stow_drain_pools_lock(struct stow_root *root, struct stow_drain_pools *pools,
			  struct stow_err *err);
/* Holds the locks only: the sizes are those that a killed worker has noted. */
int stow_drain_pools_hold(struct stow_root *root, struct stow_drain_pools *pools,
			  struct stow_err *err);
/* Counts what has gone (or come back) since, for stow_drain_save_row() to write down before the
 * locks go. `use` (may be NULL) is what was in the block. */
int stow_drain_pools_account(const struct stow_grant_context *context,
			     struct stow_drain_pools *pools, const struct stow_block_use *use,
			     struct stow_err *err);
/* Nothing is counted from here on. */
void stow_drain_pools_unlock(struct stow_drain_pools *pools);
/* Before pages are made again: what the pools are to have, for the ledger; or, after a worker that
 * was killed at it, what has come already. */
int stow_drain_pools_plan(const struct stow_grant_context *context, struct stow_drain_pools *pools,
			  struct stow_err *err);
/* Makes lost pages again: on the node itself, and (`elsewhere`) what does not fit there, and nobody
 * was promised, on others, the nearest first. `pools` then has what is still lost. */
int stow_drain_pools_renew(const struct stow_grant_context *context, struct stow_drain_pools *pools,
			   bool elsewhere, struct stow_err *err);
/* Puts them into the row. */
void stow_drain_pools_put(const struct stow_drain_pools *pools, struct stow_drain_row *row);

/* --- work.c, undo.c ------------------------------------------------------- */

/* A drain at work. */
struct stow_draining {
	const struct stow_grant_context *context;
	struct stow_drain_spec spec;
	const struct stow_drain_watch *watch;
	struct stow_drain_plan *plan; /* NULL while an orphan is undone */
	struct stow_drain_row row;
	struct stow_drain_pools pools;
	size_t n_gone;	/* of row.blocks: begun with */
	char rest[256]; /* "640Mi of dimm0": of the blocks' devices, what stays online; "" */
	uint64_t block_size, page_size;
	uint64_t started, until; /* monotonic, ns */
	uint64_t asked;		 /* when the ledger was last asked whether to stop */
	bool entered;		 /* in the ledger, where others may ask it to stop */
	bool stopped;		 /* somebody has asked */
	bool final;		 /* past where it can be stopped: it is taken back, or has ended */
	bool stuck;		 /* taking it back has failed */
	uint64_t bytes_moved, block;
	uint64_t left; /* bytes of bound containers that are elsewhere at the end */
	struct stow_culprits culprits;
};

uint64_t stow_drain_now(void); /* monotonic, ns */
/* Tells the watcher. Returns -ECANCELED when it (or somebody else) wants it to end; never while it
 * is being undone. */
int stow_drain_notify(struct stow_draining *d, enum stow_drain_step step, const char *message,
		      struct stow_err *err);
/* Whether it is to stop: a `stop` callback for what takes long. */
bool stow_drain_stop(void *draining);
/* Counts what a worker that was killed had begun to count. */
int stow_drain_count_left(struct stow_draining *d, struct stow_err *err);
/* Writes the row down as things stand, and the node's pools with it. */
int stow_drain_save_row(struct stow_draining *d, struct stow_err *err);
/* Pages of bound containers come home, and the pools get back what they lost. Goes on after a
 * failure; returns the first. */
int stow_drain_settle(struct stow_draining *d, struct stow_err *err);
/* Blocks online, pages home, pools. Goes on after a failure; returns the first. */
int stow_drain_undo(struct stow_draining *d, struct stow_err *err);
/* Containers that were repinned go back, whatever fences the node. Returns how many could not. */
size_t stow_drain_move_back(struct stow_draining *d);
/* Notes of a block of the row that it is begun with, or is not after all. */
void stow_drain_set_gone(struct stow_draining *d, size_t block, bool gone);
/* What the specification says beside the blocks, for the ledger, and back. */
void stow_drain_spec_put(const struct stow_drain_spec *spec, struct stow_drain_row *row);
void stow_drain_spec_get(const struct stow_drain_row *row, struct stow_drain_spec *ret);
/* From the row (and, while it is planned, the plan) on: all steps, and the end, whichever it is. */
int stow_drain_work(struct stow_draining *d, enum stow_drain_step *ret_step, struct stow_err *err);
/* Waits until hooks that were at work before the fence are done. */
int stow_drain_await_pending(struct stow_draining *d, struct stow_err *err);
/* The end: undoes when `r` is an error (with nothing kept), ends the row, and tells. */
int stow_drain_finish(struct stow_draining *d, int r, bool partial, enum stow_drain_step *ret_step,
		      struct stow_err *err);
/* How it goes, in the row's step; with the plan when it is PLANNED. */
PbDrainProgress *stow_drain_message(const struct stow_draining *d, const char *message);
void stow_draining_done(struct stow_draining *d);
/* Whether the block is there at all. */
bool stow_drain_block_exists(struct stow_root *root, uint64_t id);
