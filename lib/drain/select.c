// SPDX-License-Identifier: Apache-2.0
/* Choosing the blocks of a drain. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/idlist.h"
#include "base/parse.h"
#include "drain/internal.h"
#include "pages/kind.h"
#include "pages/leave.h"

#define MEMORY_DIR "/sys/devices/system/memory"
#define NODE_DIR   "/sys/devices/system/node"

int stow_drain_note(struct stow_drain_plan *plan, const char *fmt, ...)
{
	char **added, *text = NULL;
	va_list args;
	int r;

	va_start(args, fmt);
	r = vasprintf(&text, fmt, args);
	va_end(args);
	if (r < 0)
		return -ENOMEM;
	added = STOW_APPEND(plan->notes, plan->n_notes);
	if (!added) {
		free(text);
		return -ENOMEM;
	}
	*added = text;
	return 0;
}

void stow_drain_choice_done(struct stow_drain_choice *choice)
{
	free(choice->ids);
	*choice = (struct stow_drain_choice){ 0 };
}

/* --- candidates ----------------------------------------------------------- */

static bool is_boot_memory(const struct stow_memblocks *all, const struct stow_memblock *block)
{
	return stow_leave_check(all, block, NULL).cause == STOW_LEAVE_BOOT;
}

static int add_id(struct stow_drain_choice *c, uint64_t id)
{
	uint64_t *added = STOW_APPEND(c->ids, c->n_ids);

	if (!added)
		return -ENOMEM;
	*added = id;
	return 0;
}

/* Check that a named block exists, and is on the same NUMA node as the others. */
static int check_named(struct stow_drain_plan *plan, uint64_t id, struct stow_err *err)
{
	const struct stow_memblock *block = stow_memblocks_find(&plan->all, id);

	if (!block)
		return stow_err_wrap(err, stow_memblocks_missing(&plan->all, id, EINVAL, err),
				     "blocks");
	if (plan->node >= 0 && block->node != plan->node)
		return stow_err_set(
			err, EINVAL,
			"blocks: block %" PRIu64
			" is on NUMA node %d, others are on %d; a drain affects one NUMA node",
			id, block->node, plan->node);
	plan->node = block->node;
	return 0;
}

/* Add a named block. Return 1 when it is offline already. */
static int add_named(struct stow_drain_choice *c, uint64_t id, struct stow_err *err)
{
	const struct stow_memblock *block = stow_memblocks_find(&c->plan->all, id);

	if (block->state == STOW_MEMBLOCK_OFFLINE)
		return 1;
	if (is_boot_memory(&c->plan->all, block))
		return stow_err_set(err, EPERM,
				    "blocks: block %" PRIu64
				    " is boot memory in zone %s; only memory that was added later, "
				    "or is in zone Movable, can be removed",
				    id, *block->zones ? block->zones : "unknown");
	return add_id(c, id) < 0 ? stow_err_set(err, ENOMEM, "out of memory") : 0;
}

static int choose_blocks(const struct stow_drain_spec *spec, struct stow_drain_choice *c,
			 struct stow_err *err)
{
	_cleanup_free_ uint64_t *ids = NULL;
	size_t n, offline = 0;
	int r;

	r = stow_idlist_parse(spec->blocks, &ids, &n, err);
	if (r < 0)
		return stow_err_wrap(err, r, "blocks");
	if (n == 0)
		return stow_err_set(err, EINVAL, "blocks: the list is empty; expected 48-55");
	for (size_t i = 0; i < n && r == 0; i++)
		r = check_named(c->plan, ids[i], err);
	for (size_t i = 0; i < n && r >= 0; i++) {
		r = add_named(c, ids[i], err);
		offline += r > 0;
	}
	if (r < 0)
		return r;
	if (c->n_ids == 0)
		return stow_err_set(err, EALREADY, "blocks %s %s offline already", spec->blocks,
				    n == 1 ? "is" : "are");
	if (offline &&
	    stow_drain_note(c->plan, "%zu of the blocks are offline already", offline) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	return 0;
}

static int no_device(const struct stow_memblocks *all, const char *name, struct stow_err *err)
{
	char known[512] = "";
	size_t len = 0;

	for (size_t i = 0; i < all->n_devices && len < sizeof(known); i++)
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "",
					all->devices[i].name);
	return stow_err_set(err, ENODEV, "device: there is no memory device \"%.64s\"; %s%s", name,
			    *known ? "this machine has " : "none was added to this machine", known);
}

static int choose_device(const struct stow_drain_spec *spec, struct stow_drain_choice *c,
			 struct stow_err *err)
{
	struct stow_memblocks *all = &c->plan->all;
	const struct stow_memdev *device = stow_memdev_find(all, spec->device);
	ptrdiff_t index;

	if (!device)
		return no_device(all, spec->device, err);
	index = device - all->devices;
	c->plan->device = device;
	for (size_t i = 0; i < all->n_blocks; i++) {
		if (all->blocks[i].device != index)
			continue;
		if (c->plan->node >= 0 && all->blocks[i].node != c->plan->node)
			return stow_err_set(err, EINVAL,
					    "device: %s is on NUMA nodes %d and %d; a drain "
					    "affects one, so list the blocks of one of them",
					    device->name, c->plan->node, all->blocks[i].node);
		c->plan->node = all->blocks[i].node;
		if (all->blocks[i].state == STOW_MEMBLOCK_ONLINE &&
		    add_id(c, all->blocks[i].id) < 0)
			return stow_err_set(err, ENOMEM, "out of memory");
	}
	if (c->n_ids == 0)
		return stow_err_set(err, EALREADY, "device %s is offline already", device->name);
	return 0;
}

static int choose_node(struct stow_root *root, const struct stow_drain_spec *spec,
		       struct stow_drain_choice *c, struct stow_err *err)
{
	const struct stow_memblocks *all = &c->plan->all;
	size_t boot = 0, offline = 0;
	struct stow_idset nodes;
	char text[256];
	int r = stow_root_list_ids(root, NODE_DIR, "node", &nodes, err);

	if (r < 0)
		return r;
	if (!stow_idset_has(&nodes, spec->node))
		return stow_err_set(err, EINVAL,
				    "node: there is no NUMA node %d; this machine has %s",
				    spec->node, stow_idset_format(&nodes, text, sizeof(text)));
	c->plan->node = spec->node;
	for (size_t i = 0; i < all->n_blocks; i++) {
		const struct stow_memblock *block = &all->blocks[i];

		if (block->node != spec->node)
			continue;
		offline += block->state == STOW_MEMBLOCK_OFFLINE;
		if (block->state != STOW_MEMBLOCK_ONLINE)
			continue;
		if (is_boot_memory(all, block))
			boot++;
		else if (add_id(c, block->id) < 0)
			return stow_err_set(err, ENOMEM, "out of memory");
	}
	if (c->n_ids)
		return 0;
	if (offline && !boot)
		return stow_err_set(err, EALREADY, "NUMA node %d is offline already", spec->node);
	if (!boot)
		return stow_err_set(err, EPERM, "node: NUMA node %d has no memory", spec->node);
	return stow_err_set(err, EPERM,
			    "node: NUMA node %d has only boot memory (%zu blocks); only memory "
			    "that was added later, or is in zone Movable, can be removed",
			    spec->node, boot);
}

/* Compute how many blocks make the size; rounding up adds a note. */
static int set_wanted(const struct stow_drain_spec *spec, struct stow_drain_choice *c,
		      struct stow_err *err)
{
	uint64_t size = c->plan->all.block_size;
	uint64_t wanted = spec->size / size + (spec->size % size != 0);
	char asked[32], rounded[32], has[32];

	c->wanted = c->n_ids;
	if (!spec->size)
		return 0;
	stow_format_size(spec->size, asked, sizeof(asked));
	if (wanted > c->n_ids)
		return stow_err_set(err, ERANGE,
				    "size: %s is more than the %s of NUMA node %d that can be "
				    "removed (%zu blocks)",
				    asked, stow_format_size(c->n_ids * size, has, sizeof(has)),
				    c->plan->node, c->n_ids);
	if (spec->size % size &&
	    stow_drain_note(c->plan, "size: %s is rounded up to %s, whole memory blocks", asked,
			    stow_format_size(wanted * size, rounded, sizeof(rounded))) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	c->wanted = (size_t)wanted;
	return 0;
}

/* A kernel without hot-remove reports every block as not removable (drivers/base/memory.c). */
static int check_kernel(struct stow_root *root, const struct stow_memblocks *all,
			struct stow_err *err)
{
	uint64_t removable;

	if (all->n_blocks == 0)
		return stow_err_set(err, EOPNOTSUPP,
				    "this kernel has no memory blocks (CONFIG_MEMORY_HOTPLUG): "
				    "memory cannot be removed");
	if (stow_root_read_u64(root, &removable, NULL, MEMORY_DIR "/memory%" PRIu64 "/removable",
			       all->blocks[all->n_blocks - 1].id) == 0 &&
	    removable == 0)
		return stow_err_set(err, EOPNOTSUPP,
				    "this kernel cannot take memory offline "
				    "(CONFIG_MEMORY_HOTREMOVE)");
	return 0;
}

static int check_spec(const struct stow_drain_spec *spec, struct stow_err *err)
{
	if ((spec->node >= 0) + !!spec->blocks + !!spec->device != 1)
		return stow_err_set(err, EINVAL, "expected one of node, blocks and device");
	if (spec->size && spec->blocks)
		return stow_err_set(err, EINVAL,
				    "size: goes with a node or a device; blocks are as large as "
				    "they are");
	if (spec->force_taint && !spec->evicts)
		return stow_err_set(err, EOPNOTSUPP,
				    "force-taint: only an agent with \"kubernetes: true\" has "
				    "taints");
	return 0;
}

int stow_drain_choose(const struct stow_grant_context *context, const struct stow_drain_spec *spec,
		      struct stow_drain_plan *plan, struct stow_drain_choice *ret,
		      struct stow_err *err)
{
	struct stow_drain_choice c = { .plan = plan };
	int r;

	r = check_spec(spec, err);
	if (r == 0)
		r = stow_memblocks_read(context->root, STOW_MEMBLOCK_ZONES | STOW_MEMBLOCK_DEVICE,
					&plan->all, err);
	if (r == 0)
		r = check_kernel(context->root, &plan->all, err);
	if (r == 0) {
		c.named = spec->blocks || (spec->device && !spec->size);
		r = spec->blocks   ? choose_blocks(spec, &c, err)
		    : spec->device ? choose_device(spec, &c, err)
				   : choose_node(context->root, spec, &c, err);
	}
	if (r == 0)
		r = set_wanted(spec, &c, err);
	if (r < 0) {
		stow_drain_choice_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

/* --- the cheapest --------------------------------------------------------- */

struct rated {
	const struct stow_memblock *block;
	const struct stow_block_use *use; /* NULL: unknown */
	enum stow_leave can;
	bool movable, refused;
	uint64_t unmovable, cost;
};

static int rank_of(const struct rated *rated)
{
	return rated->can == STOW_LEAVE_YES ? 0 : rated->can == STOW_LEAVE_UNKNOWN ? 1 : 2;
}

/* Order by: zone Movable first; then blocks that can leave as far as known; then blocks without
 * containers that have drain=refuse; then the least to move; then the highest number, so that
 * memory that was added last goes first. */
static int by_cost(const void *a, const void *b)
{
	const struct rated *x = a, *y = b;

	if (x->movable != y->movable)
		return y->movable - x->movable;
	if (rank_of(x) != rank_of(y))
		return rank_of(x) - rank_of(y);
	if (x->refused != y->refused)
		return x->refused - y->refused;
	if (x->cost != y->cost)
		return x->cost < y->cost ? -1 : 1;
	return x->block->id < y->block->id ? 1 : -1;
}

static int by_id(const void *a, const void *b)
{
	const struct stow_drain_block *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static void rate(const struct stow_drain_choice *c, size_t i, const struct stow_use *use,
		 const uint64_t *refused, size_t n_refused, struct rated *ret)
{
	*ret = (struct rated){ .block = stow_memblocks_find(&c->plan->all, c->ids[i]),
			       .use = use ? &use->blocks[i] : NULL };
	ret->movable = strcmp(ret->block->zones, "Movable") == 0;
	ret->can = stow_leave_check(&c->plan->all, ret->block, ret->use).can;
	if (ret->use) {
		ret->unmovable = stow_block_use_sum(ret->use, false);
		ret->cost = stow_block_use_sum(ret->use, true);
	}
	for (size_t k = 0; k < n_refused; k++)
		ret->refused |= refused[k] == c->ids[i];
}

/* Copy the use of a block, with its list of owners. */
static int copy_use(struct stow_block_use *to, const struct stow_block_use *from)
{
	*to = *from;
	to->owners = malloc((from->n_owners + 1) * sizeof(*to->owners));
	if (!to->owners)
		return -ENOMEM;
	if (from->n_owners)
		memcpy(to->owners, from->owners, from->n_owners * sizeof(*to->owners));
	return 0;
}

static int take(struct stow_drain_plan *plan, const struct rated *rated)
{
	struct stow_drain_block *block = &plan->blocks[plan->n_blocks];
	uint64_t page = plan->page_size;

	block->id = rated->block->id;
	snprintf(block->zone, sizeof(block->zone), "%s", rated->block->zones);
	plan->n_blocks++;
	plan->bytes += plan->all.block_size;
	if (!rated->use)
		return 0;
	plan->to_move += rated->cost * page;
	plan->unmovable += rated->unmovable * page;
	plan->hugepages += rated->use->pages[STOW_PAGE_HUGETLB] * page;
	return copy_use(&block->use, rated->use);
}

int stow_drain_pick(struct stow_drain_choice *c, const struct stow_use *use,
		    const uint64_t *refused, size_t n_refused, struct stow_err *err)
{
	_cleanup_free_ struct rated *rated = calloc(c->n_ids + 1, sizeof(*rated));
	struct stow_drain_plan *plan = c->plan;
	int r = 0;

	plan->blocks = calloc(c->wanted + 1, sizeof(*plan->blocks));
	if (!rated || !plan->blocks)
		return stow_err_set(err, ENOMEM, "out of memory");
	plan->page_size = use ? use->page_size : (uint64_t)sysconf(_SC_PAGESIZE);
	plan->use_known = use != NULL;
	for (size_t i = 0; i < c->n_ids; i++)
		rate(c, i, use, refused, n_refused, &rated[i]);
	if (c->wanted < c->n_ids)
		qsort(rated, c->n_ids, sizeof(*rated), by_cost);
	for (size_t i = 0; i < c->wanted && r == 0; i++)
		r = take(plan, &rated[i]);
	if (r < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	qsort(plan->blocks, plan->n_blocks, sizeof(*plan->blocks), by_id);
	return 0;
}
