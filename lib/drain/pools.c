// SPDX-License-Identifier: Apache-2.0
/*
 * Hugepages in the blocks. Offlining a block dissolves the free hugepages in it, and moves the used
 * ones to other nodes: the node's pool has fewer pages afterwards, whichever program had added
 * them. Lost pages are counted under the pools' locks and allocated again at the end, when no new
 * page can land in a block that still has to go offline.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "drain/internal.h"
#include "grant/pool.h"
#include "node/hugepage.h"
#include "node/reclaim.h"

/* Read the number of persistent pages; 0 where the node has no pages of that size. */
static uint64_t persistent(struct stow_root *root, int node, uint64_t size)
{
	struct stow_pool pool;

	return stow_pool_read(root, node, size, &pool, NULL) < 0 ? 0 : stow_pool_persistent(&pool);
}

/* --- in the ledger -------------------------------------------------------- */

int stow_drain_pools_init(struct stow_root *root, int node, const struct stow_drain_row *row,
			  struct stow_drain_pools *ret, struct stow_err *err)
{
	struct stow_drain_pools pools = { .node = node };
	uint64_t sizes[STOW_POOLS_MAX];
	int n;

	for (size_t i = 0; i < STOW_POOLS_MAX; i++)
		pools.locks[i] = -EBADF;
	n = stow_pool_sizes(root, sizes, err);
	if (n < 0)
		return n;
	pools.n = (size_t)n;
	for (size_t i = 0; i < pools.n; i++) {
		pools.list[i].row.size = sizes[i];
		for (size_t k = 0; k < row->n_pools; k++)
			if (row->pools[k].size == sizes[i])
				pools.list[i].row = row->pools[k];
	}
	*ret = pools;
	return 0;
}

void stow_drain_pools_put(const struct stow_drain_pools *pools, struct stow_drain_row *row)
{
	row->n_pools = 0;
	for (size_t i = 0; i < pools->n; i++) {
		const struct stow_drain_row_pool *p = &pools->list[i].row;

		if (p->lost || p->used || p->before || p->target)
			row->pools[row->n_pools++] = *p;
	}
}

/* --- counting ------------------------------------------------------------- */

int stow_drain_pools_hold(struct stow_root *root, struct stow_drain_pools *pools,
			  struct stow_err *err)
{
	for (size_t i = 0; i < pools->n; i++) {
		int r = stow_pool_lock(root, pools->node, pools->list[i].row.size, err);

		if (r < 0)
			return r;
		pools->locks[i] = r;
	}
	return 0;
}

int stow_drain_pools_lock(struct stow_root *root, struct stow_drain_pools *pools,
			  struct stow_err *err)
{
	int r = stow_drain_pools_hold(root, pools, err);

	for (size_t i = 0; i < pools->n && r == 0; i++)
		pools->list[i].row.before =
			persistent(root, pools->node, pools->list[i].row.size) + 1;
	return r;
}

void stow_drain_pools_unlock(struct stow_drain_pools *pools)
{
	for (size_t i = 0; i < STOW_POOLS_MAX; i++)
		stow_root_unlock(&pools->locks[i]);
	for (size_t i = 0; i < pools->n; i++)
		pools->list[i].row.before = 0;
}

/* Compute how many of `pages` numastow has added to the pool, as the ledger has it or will have
 * it. */
static int ours_of(struct stow_ledger *ledger, int node, const struct stow_drain_pool *pool,
		   uint64_t pages, uint64_t *ret, struct stow_err *err)
{
	struct stow_ledger_pool row;
	int r = stow_ledger_pool_get(ledger, node, pool->row.size, &row, err);

	if (r < 0)
		return r;
	row.added += pool->plus;
	*ret = STOW_MIN(pages, stow_saturating_sub(row.added, pool->minus));
	return 0;
}

/* Attribute pages that came back to numastow first: they were promised to a container. */
static void gained(struct stow_drain_pool *pool, uint64_t pages)
{
	uint64_t ours = STOW_MIN(pages, pool->row.ours);

	pool->row.lost = stow_saturating_sub(pool->row.lost, pages);
	pool->row.used = stow_saturating_sub(pool->row.used, pages);
	pool->row.ours -= ours;
	pool->plus += ours;
}

static int account_one(const struct stow_grant_context *context, int node,
		       struct stow_drain_pool *pool, uint64_t used, struct stow_err *err)
{
	uint64_t is = persistent(context->root, node, pool->row.size);
	uint64_t was = pool->row.before - 1, taken = 0;
	int r = 0;

	if (is < was) {
		pool->row.lost += was - is;
		pool->row.used += STOW_MIN(used, was - is);
		if (context->ledger)
			r = ours_of(context->ledger, node, pool, was - is, &taken, err);
		pool->row.ours += taken;
		pool->minus += taken;
	} else if (is > was) {
		gained(pool, is - was);
	}
	pool->row.before = 0;
	return r;
}

int stow_drain_pools_account(const struct stow_grant_context *context,
			     struct stow_drain_pools *pools, const struct stow_block_use *use,
			     struct stow_err *err)
{
	struct stow_first first = { .err = err };

	for (size_t i = 0; i < pools->n; i++) {
		uint64_t used = 0;

		if (!pools->list[i].row.before)
			continue;
		for (size_t p = 0; use && p < use->n_pools; p++)
			if (use->pools[p].size == pools->list[i].row.size)
				used = use->pools[p].used;
		stow_first_note(&first, account_one(context, pools->node, &pools->list[i], used,
						    first.err));
	}
	return first.code;
}

/* --- making lost pages again ---------------------------------------------- */

/* Set the number of persistent pages. Return how many there are then; 0 also after a failure. */
static uint64_t resize(struct stow_root *root, int node, uint64_t size, uint64_t pages)
{
	return stow_pool_write(root, node, size, pages, NULL) < 0 ? 0
								  : persistent(root, node, size);
}

/* Grow a node's pool by up to `pages`. *ret: by how many it grew. Fails only for the lock. */
static int grow(struct stow_root *root, int node, uint64_t size, uint64_t pages, uint64_t *ret,
		struct stow_err *err)
{
	_cleanup_unlock_ int lock = stow_pool_lock(root, node, size, err);
	struct stow_pool now;
	uint64_t was, is;

	*ret = 0;
	if (lock < 0)
		return lock;
	if (stow_pool_read(root, node, size, &now, NULL) < 0)
		return 0;
	was = stow_pool_persistent(&now);
	is = resize(root, node, size, was + pages);
	if (is < was + pages) { /* free memory may be fragmented */
		(void)stow_node_compact(root, node, NULL);
		is = resize(root, node, size, was + pages);
	}
	*ret = stow_saturating_sub(is, was);
	return 0;
}

/* Save how many pages the pool has to have: those that it has, and the lost ones that are to be
 * made again. */
static int set_target(const struct stow_grant_context *context, int node,
		      struct stow_drain_pool *pool, struct stow_err *err)
{
	uint64_t wanted = stow_saturating_sub(pool->row.lost, pool->row.used), is;
	_cleanup_unlock_ int lock = -EBADF;
	struct stow_pool now;

	lock = stow_pool_lock(context->root, node, pool->row.size, err);
	if (lock < 0)
		return lock;
	if (stow_pool_read(context->root, node, pool->row.size, &now, NULL) < 0)
		return 0; /* the node is gone */
	is = stow_pool_persistent(&now);
	/* A worker that was killed here had saved its target: some of the pages may be there
	 * already. */
	if (pool->row.target) {
		uint64_t from = stow_saturating_sub(pool->row.target - 1, wanted);
		uint64_t came = is > from ? STOW_MIN(is - from, wanted) : 0;

		gained(pool, came);
		wanted -= came;
	}
	pool->row.target = is + wanted + 1;
	return 0;
}

/* Allocate pages that were promised to no container on other nodes, the nearest first. */
static int renew_elsewhere(const struct stow_grant_context *context, int node,
			   struct stow_drain_pool *pool, struct stow_err *err)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *topology = NULL;
	struct stow_idset tried = { 0 };
	int r;

	r = stow_topology_read(context->root, 0, &topology, err);
	stow_idset_add(&tried, node);
	while (r == 0 && pool->row.lost > pool->row.ours + pool->row.used) {
		int best = -1, distance = INT32_MAX;
		uint64_t grown;

		for (size_t i = 0; i < topology->n_nodes; i++) {
			int id = topology->nodes[i].id;
			int d = stow_topology_distance(topology, node, id);

			if (!stow_idset_has(&tried, id) && topology->nodes[i].mem_total &&
			    d < distance) {
				best = id;
				distance = d;
			}
		}
		if (best < 0)
			break;
		stow_idset_add(&tried, best);
		r = grow(context->root, best, pool->row.size,
			 pool->row.lost - pool->row.ours - pool->row.used, &grown, err);
		pool->row.lost -= STOW_MIN(pool->row.lost, grown);
	}
	return r;
}

int stow_drain_pools_plan(const struct stow_grant_context *context, struct stow_drain_pools *pools,
			  struct stow_err *err)
{
	struct stow_first first = { .err = err };

	for (size_t i = 0; i < pools->n; i++)
		if (pools->list[i].row.lost)
			stow_first_note(&first, set_target(context, pools->node, &pools->list[i],
							   first.err));
	return first.code;
}

int stow_drain_pools_renew(const struct stow_grant_context *context, struct stow_drain_pools *pools,
			   bool elsewhere, struct stow_err *err)
{
	struct stow_first first = { .err = err };

	for (size_t i = 0; i < pools->n; i++) {
		struct stow_drain_pool *pool = &pools->list[i];
		uint64_t wanted = stow_saturating_sub(pool->row.lost, pool->row.used), grown;
		int r = 0;

		if (wanted) {
			r = grow(context->root, pools->node, pool->row.size, wanted, &grown,
				 first.err);
			gained(pool, grown);
		}
		pool->row.target = 0;
		if (r == 0 && elsewhere && pool->row.lost > pool->row.ours + pool->row.used)
			r = renew_elsewhere(context, pools->node, pool, first.err);
		stow_first_note(&first, r);
	}
	return first.code;
}
