/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory blocks: the units in which memory goes online and offline
 * (Documentation/admin-guide/mm/memory-hotplug.rst).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"

enum stow_memblock_state {
	STOW_MEMBLOCK_OFFLINE,
	STOW_MEMBLOCK_ONLINE,
	STOW_MEMBLOCK_GOING_OFFLINE,
	STOW_MEMBLOCK_UNKNOWN, /* missing, or not known to this version */
};

/* What to read beyond id, node and state: one more file for each block. With NO_STATE not the
 * states, which stow_memblocks_read_states() can read later. */
enum stow_memblock_flags {
	STOW_MEMBLOCK_ZONES = 1 << 0,
	STOW_MEMBLOCK_DEVICE = 1 << 1, /* the device of each block */
	STOW_MEMBLOCK_NO_STATE = 1 << 2,
};

/* What brings memory beyond the machine's boot memory. */
enum stow_memdev_kind {
	STOW_MEMDEV_DIMM,   /* an ACPI memory device (PNP0C80) */
	STOW_MEMDEV_DAX,    /* a dax device whose memory the kmem driver has added */
	STOW_MEMDEV_VIRTIO, /* virtio-mem */
};

struct stow_memdev {
	enum stow_memdev_kind kind;
	char name[64];	/* "dimm0" (ACPI's _UID, or else the instance), "dax0.0", "virtio1" */
	char alias[64]; /* "PNP0C80:00"; for other kinds equal to the name */
	char path[128]; /* firmware's name, "\\_SB_.MHPC.MP00"; or "" */
	char dir[256];	/* directory in /sys */
	uint64_t start,
		size; /* physical, bytes: from the first block's start to the last block's end */
	size_t n_blocks;
};

struct stow_memblock {
	uint64_t id; /* its first byte is at physical address id * block_size */
	int node;    /* -1: unknown. The lowest one, if it spans several */
	enum stow_memblock_state state;
	/* valid_zones. Online block: the zone that it is in, or "none" when it spans several and
	 * cannot go offline. Offline block: the zones that it may be put into, the default first.
	 * Empty when it was not read. */
	char zones[48];
	int device; /* index in `devices`; -1: boot memory, or not read */
};

struct stow_memblocks {
	uint64_t block_size;	      /* bytes */
	bool increments;	      /* s390: storage increments (phys_device) */
	bool shared;		      /* a block is on several nodes */
	struct stow_memblock *blocks; /* by ascending id */
	size_t n_blocks;
	struct stow_memdev *devices; /* devices that have blocks; by name */
	size_t n_devices;
};

/* Read all blocks of the machine; none, with block_size 0, on a kernel without memory hotplug. Free
 * with stow_memblocks_done(). */
int stow_memblocks_read(struct stow_root *root, unsigned int flags, struct stow_memblocks *ret,
			struct stow_err *err);
void stow_memblocks_done(struct stow_memblocks *list);

/* Return whether no block of the node can be offline: `present` bytes of its page frames are online
 * (the node's mem_present), as many as its blocks have, or less than one block fewer. A block that
 * is just going offline counts as online, because its page frames do. */
bool stow_memblocks_all_online(const struct stow_memblocks *list, int node, uint64_t present);
/* Set the states of blocks that were read with STOW_MEMBLOCK_NO_STATE: online on the nodes of
 * `online`, and as each block's file says on others. */
int stow_memblocks_read_states(struct stow_root *root, const struct stow_idset *online,
			       struct stow_memblocks *list, struct stow_err *err);

/* Return the block with that id, or NULL. */
const struct stow_memblock *stow_memblocks_find(const struct stow_memblocks *list, uint64_t id);
/* Set the error that there is no such block, with those that are there. Return -errnum. */
int stow_memblocks_missing(const struct stow_memblocks *list, uint64_t id, int errnum,
			   struct stow_err *err);

/* Count the blocks of the node, and how many of them are online; node -1 counts blocks without a
 * node. */
void stow_memblocks_count(const struct stow_memblocks *list, int node, size_t *ret_total,
			  size_t *ret_online);

/* Return the device with that name or alias ("dimm0", "PNP0C80:00"), or NULL. */
const struct stow_memdev *stow_memdev_find(const struct stow_memblocks *list, const char *name);
/* Return "dimm", "dax" or "virtio-mem". */
const char *stow_memdev_kind_name(enum stow_memdev_kind kind);

/* Return "online", "offline", "going-offline" or "unknown". */
const char *stow_memblock_state_name(enum stow_memblock_state state);
