// SPDX-License-Identifier: Apache-2.0
/* Containers with grants, whose memory cgroups are whose, and bringing their pages home. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cgroup/procs.h"
#include "drain/internal.h"
#include "pages/move.h"
#include "pages/numa_maps.h"

#define PAUSE UINT64_C(500000) /* ns between two batches of pages */

int stow_homes_read(const struct stow_grant_context *context, struct stow_homes *ret,
		    struct stow_err *err)
{
	struct stow_homes homes = { 0 };
	int r;

	if (!context->ledger) {
		*ret = homes;
		return 0;
	}
	r = stow_ledger_records(context->ledger, NULL, &homes.records, &homes.n, err);
	if (r < 0)
		return r;
	homes.list = calloc(homes.n + 1, sizeof(*homes.list));
	if (!homes.list) {
		stow_homes_done(&homes);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < homes.n; i++) {
		const struct stow_cgroup_id *id = &homes.records[i]->cgroup;

		homes.list[i].record = homes.records[i];
		homes.list[i].inode = id->at[STOW_CGROUP_MEMORY].inode;
		homes.list[i].path = id->at[STOW_CGROUP_MEMORY].path;
	}
	*ret = homes;
	return 0;
}

void stow_homes_done(struct stow_homes *homes)
{
	free(homes->list);
	if (homes->records)
		stow_records_free(homes->records, homes->n);
	*homes = (struct stow_homes){ 0 };
}

struct stow_home *stow_homes_find(const struct stow_homes *homes, uint64_t inode, const char *path)
{
	for (size_t i = 0; i < homes->n; i++)
		if (inode && homes->list[i].inode == inode)
			return &homes->list[i];
	for (size_t i = 0; path && i < homes->n; i++) {
		const char *own = homes->list[i].path;
		size_t len = own ? strlen(own) : 0;

		if (len > 1 && strncmp(path, own, len) == 0 && path[len] == '/')
			return &homes->list[i];
	}
	return NULL;
}

/* --- home ----------------------------------------------------------------------------------------
 */

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

/* A container's nodes are what its cpuset.mems is: whatever it maps elsewhere was put there by the
 * kernel, which moves pages off a block to any node. */
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

int stow_homes_return(const struct stow_grant_context *context, int node, bool (*stop)(void *ctx),
		      void *ctx, uint64_t *ret_moved, uint64_t *ret_left)
{
	struct returning r = { .root = context->root, .stop = stop, .ctx = ctx };
	struct stow_homes homes = { 0 };
	int result;

	*ret_moved = *ret_left = 0;
	if (!context->root->live || !context->ledger)
		return 0;
	result = stow_root_read_idset(context->root, &r.online, NULL,
				      "/sys/devices/system/node/has_memory");
	if (result == 0)
		result = stow_homes_read(context, &homes, NULL);
	for (size_t i = 0; result == 0 && i < homes.n; i++) {
		const struct stow_record *record = homes.list[i].record;

		if (record->state == STOW_STATE_ACTIVE && stow_idset_has(&record->nodes, node))
			return_one(&r, record);
	}
	stow_homes_done(&homes);
	*ret_moved = r.moved;
	*ret_left = r.left;
	return result;
}
