/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory blocks: the units in which memory goes online and offline
 * (Documentation/admin-guide/mm/memory-hotplug.rst).
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

enum stow_memblock_state {
	STOW_MEMBLOCK_OFFLINE,
	STOW_MEMBLOCK_ONLINE,
	STOW_MEMBLOCK_GOING_OFFLINE,
	STOW_MEMBLOCK_UNKNOWN, /* a state that this version does not know, or none */
};

/* What to read beyond number, node and state: one more file for each block. */
enum stow_memblock_flags {
	STOW_MEMBLOCK_ZONES = 1 << 0,
	STOW_MEMBLOCK_PHYS_DEVICE = 1 << 1,
};

struct stow_memblock {
	uint64_t id; /* its first byte is at physical address id * block_size */
	int node;    /* -1: the kernel does not say. The lowest, if it spans several */
	enum stow_memblock_state state;
	/* valid_zones: of an online block the zone that it is in, or "none" when it spans several
	 * and so cannot go offline; of an offline block those that it may be put into, the default
	 * first. Empty where it was not read. */
	char zones[48];
	int phys_device; /* s390: the storage increment; 0 elsewhere, -1 where it was not read */
};

struct stow_memblocks {
	uint64_t block_size;	      /* bytes */
	struct stow_memblock *blocks; /* by ascending id */
	size_t n_blocks;
};

/* All blocks of the machine; none, with block_size 0, on a kernel without memory hotplug. Done
 * with stow_memblocks_done(). */
int stow_memblocks_read(struct stow_root *root, unsigned int flags, struct stow_memblocks *ret,
			struct stow_err *err);
void stow_memblocks_done(struct stow_memblocks *list);

/* The block with that number, or NULL. */
const struct stow_memblock *stow_memblocks_find(const struct stow_memblocks *list, uint64_t id);

/* How many blocks of the node there are, and how many of them are online; node -1 counts those
 * without a node. */
void stow_memblocks_count(const struct stow_memblocks *list, int node, size_t *ret_total,
			  size_t *ret_online);

/* "online", "offline", "going-offline", "unknown" */
const char *stow_memblock_state_name(enum stow_memblock_state state);

static inline void stow_memblocks_done_ptr(struct stow_memblocks *list)
{
	stow_memblocks_done(list);
}
