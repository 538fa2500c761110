// SPDX-License-Identifier: Apache-2.0
/* Whose pages are in the blocks: summing the owners, finding their containers, and moving pages
 * back to these. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cgroup/hierarchy.h"
#include "cgroup/procs.h"
#include "drain/internal.h"
#include "pages/move.h"
#include "pages/numa_maps.h"

#define PAUSE UINT64_C(500000) /* ns between two batches of pages */

int stow_drain_merge_uses(const struct stow_drain_plan *plan, struct stow_block_use *ret)
{
	*ret = (struct stow_block_use){ 0 };
	for (size_t b = 0; b < plan->n_blocks; b++) {
		const struct stow_block_use *use = &plan->blocks[b].use;
		struct stow_owner *grown = reallocarray(
			ret->owners, ret->n_owners + use->n_owners + 1, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		ret->owners = grown;
		ret->unevictable += use->unevictable;
		for (int k = 0; k < STOW_PAGE_KINDS; k++)
			ret->pages[k] += use->pages[k];
		for (size_t i = 0; i < use->n_owners; i++) {
			size_t o = 0;

			while (o < ret->n_owners && grown[o].inode != use->owners[i].inode)
				o++;
			if (o == ret->n_owners)
				grown[ret->n_owners++] =
					(struct stow_owner){ .inode = use->owners[i].inode };
			for (int k = 0; k < STOW_PAGE_KINDS; k++)
				grown[o].pages[k] += use->owners[i].pages[k];
		}
	}
	return 0;
}

size_t stow_drain_owner(struct stow_record *const *records, size_t n, uint64_t inode,
			const char *path)
{
	for (size_t i = 0; i < n; i++)
		if (inode && records[i]->cgroup.at[STOW_CGROUP_MEMORY].inode == inode)
			return i;
	for (size_t i = 0; path && i < n; i++) {
		const char *own = records[i]->cgroup.at[STOW_CGROUP_MEMORY].path;

		if (own && strlen(own) > 1 && stow_cgroup_is_below(path, own))
			return i;
	}
	return n;
}

/* --- one container -------------------------------------------------------- */

struct returning {
	struct stow_root *root;
	bool (*stop)(void *ctx);
	void *ctx;
	struct stow_idset online; /* nodes with memory */
	uint64_t moved, left;
};

static int on_batch(void *ctx, const struct stow_page_move *move)
{
	struct returning *r = ctx;

	return r->stop && r->stop(r->ctx) ? -ECANCELED : 0;
}

/* The container's nodes are those of its cpuset.mems. Pages elsewhere were put there by the kernel,
 * which moves pages off a block to any node. */
static void return_one(struct returning *r, const struct stow_record *record)
{
	struct stow_page_move move = { .from = r->online,
				       .to = record->nodes,
				       .pause = PAUSE,
				       .progress = on_batch,
				       .ctx = r };
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	_cleanup_free_ pid_t *pids = NULL;
	uint64_t bytes;
	size_t n = 0;

	stow_idset_minus(&move.from, &record->nodes);
	stow_idset_and(&move.to, &r->online);
	if (stow_idset_empty(&move.from) || stow_idset_empty(&move.to) ||
	    stow_cgroup_open(r->root, &record->cgroup, &cgroup, NULL) < 0)
		return;
	(void)stow_pages_move_all(r->root, cgroup, &move, NULL);
	r->moved += move.moved;
	if (stow_cgroup_pids(cgroup, &pids, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (stow_pages_mapped(r->root, pids[i], &move.from, &bytes, NULL) == 0)
			r->left += bytes;
}

int stow_drain_return_pages(const struct stow_grant_context *context, int node,
			    bool (*stop)(void *ctx), void *ctx, uint64_t *ret_moved,
			    uint64_t *ret_left)
{
	struct returning r = { .root = context->root, .stop = stop, .ctx = ctx };
	struct stow_record **records = NULL;
	size_t n = 0;
	int result;

	*ret_moved = *ret_left = 0;
	if (!context->root->live || !context->ledger)
		return 0;
	result = stow_root_read_idset(context->root, &r.online, NULL,
				      "/sys/devices/system/node/has_memory");
	if (result == 0)
		result = stow_ledger_records(context->ledger, NULL, &records, &n, NULL);
	for (size_t i = 0; i < n; i++)
		if (records[i]->state == STOW_STATE_ACTIVE &&
		    stow_idset_has(&records[i]->nodes, node))
			return_one(&r, records[i]);
	stow_records_free(records, n);
	*ret_moved = r.moved;
	*ret_left = r.left;
	return result;
}
