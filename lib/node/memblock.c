// SPDX-License-Identifier: Apache-2.0
#include "node/memblock.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/idlist.h"
#include "base/parse.h"
#include "node/memblock_internal.h"

#define MEMORY_DIR "/sys/devices/system/memory"
#define NODE_DIR   "/sys/devices/system/node"

static const char *const state_names[] = {
	[STOW_MEMBLOCK_OFFLINE] = "offline",
	[STOW_MEMBLOCK_ONLINE] = "online",
	[STOW_MEMBLOCK_GOING_OFFLINE] = "going-offline",
	[STOW_MEMBLOCK_UNKNOWN] = "unknown",
};

const char *stow_memblock_state_name(enum stow_memblock_state state)
{
	return state_names[state < STOW_MEMBLOCK_UNKNOWN ? state : STOW_MEMBLOCK_UNKNOWN];
}

/* Parse the number in a name such as memory42. Numbers go far beyond those of an idset: with 128
 * MiB a block, a TiB has 8192 blocks. */
static bool id_of_name(const char *name, uint64_t *ret)
{
	return strncmp(name, "memory", 6) == 0 &&
	       stow_parse_u64(name + 6, UINT64_MAX, ret, NULL) == 0;
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = ((const struct stow_memblock *)a)->id;
	uint64_t y = ((const struct stow_memblock *)b)->id;

	return (x > y) - (x < y);
}

static struct stow_memblock *find(const struct stow_memblocks *list, uint64_t id)
{
	struct stow_memblock key = { .id = id };

	return list->n_blocks ? bsearch(&key, list->blocks, list->n_blocks, sizeof(key), by_id)
			      : NULL;
}

const struct stow_memblock *stow_memblocks_find(const struct stow_memblocks *list, uint64_t id)
{
	return find(list, id);
}

int stow_memblocks_missing(const struct stow_memblocks *list, uint64_t id, int errnum,
			   struct stow_err *err)
{
	_cleanup_free_ uint64_t *ids = calloc(list->n_blocks + 1, sizeof(*ids));
	_cleanup_free_ char *all = NULL;

	for (size_t i = 0; ids && i < list->n_blocks; i++)
		ids[i] = list->blocks[i].id;
	all = ids ? stow_idlist_format(ids, list->n_blocks) : NULL;
	return stow_err_set(err, errnum,
			    "there is no memory block %" PRIu64 "; this machine has %s", id,
			    all ? all : "others");
}

static int list_blocks(struct stow_root *root, struct stow_memblocks *list, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	size_t capacity = 0;
	struct dirent *e;
	uint64_t id;

	d = stow_root_opendir(root, err, MEMORY_DIR);
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		if (!id_of_name(e->d_name, &id))
			continue;
		if (list->n_blocks == capacity) {
			void *grown;

			capacity = capacity ? capacity * 2 : 128;
			grown = realloc(list->blocks, capacity * sizeof(*list->blocks));
			if (!grown)
				return stow_err_sys(err, ENOMEM, MEMORY_DIR);
			list->blocks = grown;
		}
		list->blocks[list->n_blocks++] = (struct stow_memblock){
			.id = id,
			.node = -1,
			.state = STOW_MEMBLOCK_UNKNOWN,
			.device = -1,
		};
	}
	if (list->n_blocks)
		qsort(list->blocks, list->n_blocks, sizeof(*list->blocks), by_id);
	return 0;
}

/* Read block_size_bytes, which is in hexadecimal, without 0x. */
static int read_block_size(struct stow_root *root, uint64_t *ret, struct stow_err *err)
{
	const char *p;
	char text[32];
	uint64_t v;
	int r;

	r = stow_root_read_buf(root, text, sizeof(text), err, MEMORY_DIR "/block_size_bytes");
	if (r < 0)
		return r;
	p = text;
	if (!stow_scan_hex(&p, &v) || *p)
		return stow_err_set(err, EINVAL,
				    MEMORY_DIR "/block_size_bytes: \"%s\" is not a size", text);
	if (!v)
		return stow_err_set(err, EINVAL, MEMORY_DIR "/block_size_bytes is zero");
	*ret = v;
	return 0;
}

/* Set the blocks' nodes. A node's folder links to all its blocks: this reads one directory for each
 * node, not for each block. */
static int assign_nodes(struct stow_root *root, struct stow_memblocks *list, struct stow_err *err)
{
	struct stow_idset nodes;
	int r;

	r = stow_root_list_ids(root, NODE_DIR, "node", &nodes, err);
	if (r < 0)
		return r;
	STOW_IDSET_FOR(node, &nodes) {
		_cleanup_closedir_ DIR *d = stow_root_opendir(root, NULL, NODE_DIR "/node%d", node);
		struct dirent *e;
		uint64_t id;

		while (d && (e = readdir(d))) {
			struct stow_memblock *block =
				id_of_name(e->d_name, &id) ? find(list, id) : NULL;

			if (block && block->node >= 0)
				list->shared = true;
			else if (block)
				block->node = node;
		}
	}
	return 0;
}

/* Set the node of a block that no node links to, from the block's own link. */
static void assign_node_by_block(struct stow_root *root, struct stow_memblock *block)
{
	struct stow_idset nodes;
	char dir[64];

	snprintf(dir, sizeof(dir), MEMORY_DIR "/memory%llu", (unsigned long long)block->id);
	if (stow_root_list_ids(root, dir, "node", &nodes, NULL) == 0)
		block->node = stow_idset_next(&nodes, 0);
}

static int read_state(struct stow_root *root, struct stow_memblock *block, struct stow_err *err)
{
	char text[32];
	int r = stow_root_read_buf(root, text, sizeof(text), err, MEMORY_DIR "/memory%llu/state",
				   (unsigned long long)block->id);

	/* -ENOENT: the block was unplugged meanwhile. */
	if (r < 0 && r != -ENOENT && r != -ENODEV)
		return r;
	for (int s = 0; r >= 0 && s < STOW_MEMBLOCK_UNKNOWN; s++)
		if (strcmp(text, state_names[s]) == 0)
			block->state = (enum stow_memblock_state)s;
	return 0;
}

/* Return whether a text is names of zones, as "Normal Movable": all else is unknown. */
static bool is_zones(const char *text)
{
	while (isalnum((unsigned char)*text) || *text == ' ')
		text++;
	return !*text;
}

static int read_block(struct stow_root *root, struct stow_memblock *block, unsigned int flags,
		      struct stow_err *err)
{
	unsigned long long id = block->id;
	int r = flags & STOW_MEMBLOCK_NO_STATE ? 0 : read_state(root, block, err);

	if (r < 0)
		return r;
	if (flags & STOW_MEMBLOCK_ZONES &&
	    (stow_root_read_buf(root, block->zones, sizeof(block->zones), NULL,
				MEMORY_DIR "/memory%llu/valid_zones", id) < 0 ||
	     !is_zones(block->zones)))
		block->zones[0] = '\0';
	return 0;
}

/* Return whether the machine has storage increments (s390): phys_device of a block is the number of
 * its increment, from 0, so the last block's is not 0. Elsewhere all are 0. */
static bool has_increments(struct stow_root *root, const struct stow_memblocks *list)
{
	uint64_t number;

	return list->n_blocks &&
	       stow_root_read_u64(root, &number, NULL, MEMORY_DIR "/memory%llu/phys_device",
				  (unsigned long long)list->blocks[list->n_blocks - 1].id) == 0 &&
	       number > 0;
}

int stow_memblocks_read(struct stow_root *root, unsigned int flags, struct stow_memblocks *ret,
			struct stow_err *err)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };
	struct stow_err inner = { 0 };
	int r;

	r = list_blocks(root, &list, &inner);
	if (r == -ENOENT) {
		*ret = (struct stow_memblocks){ 0 };
		return 0;
	}
	if (r == 0)
		r = read_block_size(root, &list.block_size, &inner);
	if (r == -ENOENT && !list.n_blocks)
		r = 0;
	if (r == 0)
		r = assign_nodes(root, &list, &inner);
	for (size_t i = 0; r == 0 && i < list.n_blocks; i++) {
		if (list.blocks[i].node < 0)
			assign_node_by_block(root, &list.blocks[i]);
		r = read_block(root, &list.blocks[i], flags, &inner);
	}
	if (r == 0 && flags & STOW_MEMBLOCK_ZONES)
		list.increments = has_increments(root, &list);
	if (r == 0 && flags & STOW_MEMBLOCK_DEVICE)
		r = stow_memdevs_assign(root, &list, &inner);
	if (r < 0)
		return stow_err_move(err, -inner.code, &inner);
	*ret = list;
	list = (struct stow_memblocks){ 0 };
	return 0;
}

bool stow_memblocks_all_online(const struct stow_memblocks *list, int node, uint64_t present)
{
	size_t total, online;
	uint64_t size;

	stow_memblocks_count(list, node, &total, &online);
	/* A block of two nodes counts for one of them only, and its page frames for each. A tree of
	 * another page size can have more page frames than blocks. */
	return !list->shared && present &&
	       !__builtin_mul_overflow(list->block_size, total, &size) && present <= size &&
	       size - present < list->block_size;
}

int stow_memblocks_read_states(struct stow_root *root, const struct stow_idset *online,
			       struct stow_memblocks *list, struct stow_err *err)
{
	for (size_t i = 0; i < list->n_blocks; i++) {
		struct stow_memblock *block = &list->blocks[i];
		int r = 0;

		if (block->node >= 0 && stow_idset_has(online, block->node))
			block->state = STOW_MEMBLOCK_ONLINE;
		else
			r = read_state(root, block, err);
		if (r < 0)
			return r;
	}
	return 0;
}

void stow_memblocks_done(struct stow_memblocks *list)
{
	free(list->blocks);
	free(list->devices);
	*list = (struct stow_memblocks){ 0 };
}

void stow_memblocks_count(const struct stow_memblocks *list, int node, size_t *ret_total,
			  size_t *ret_online)
{
	size_t total = 0, online = 0;

	for (size_t i = 0; i < list->n_blocks; i++) {
		if (list->blocks[i].node != node)
			continue;
		total++;
		online += list->blocks[i].state == STOW_MEMBLOCK_ONLINE;
	}
	*ret_total = total;
	*ret_online = online;
}
