// SPDX-License-Identifier: Apache-2.0
/* Containers with grants: finding the owner of a memory cgroup, and moving pages back. */
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

int stow_drain_containers_read(const struct stow_grant_context *context,
			       struct stow_drain_containers *ret, struct stow_err *err)
{
	struct stow_drain_containers containers = { 0 };
	int r;

	if (!context->ledger) {
		*ret = containers;
		return 0;
	}
	r = stow_ledger_records(context->ledger, NULL, &containers.records, &containers.n, err);
	if (r < 0)
		return r;
	containers.list = calloc(containers.n + 1, sizeof(*containers.list));
	if (!containers.list) {
		stow_drain_containers_done(&containers);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < containers.n; i++) {
		const struct stow_cgroup_id *id = &containers.records[i]->cgroup;

		containers.list[i].record = containers.records[i];
		containers.list[i].inode = id->at[STOW_CGROUP_MEMORY].inode;
		containers.list[i].path = id->at[STOW_CGROUP_MEMORY].path;
	}
	*ret = containers;
	return 0;
}

void stow_drain_containers_done(struct stow_drain_containers *containers)
{
	free(containers->list);
	if (containers->records)
		stow_records_free(containers->records, containers->n);
	*containers = (struct stow_drain_containers){ 0 };
}

struct stow_drain_container *stow_drain_containers_find(
	const struct stow_drain_containers *containers, uint64_t inode, const char *path)
{
	for (size_t i = 0; i < containers->n; i++)
		if (inode && containers->list[i].inode == inode)
			return &containers->list[i];
	for (size_t i = 0; path && i < containers->n; i++) {
		const char *own = containers->list[i].path;

		if (own && strlen(own) > 1 && stow_cgroup_is_below(path, own))
			return &containers->list[i];
	}
	return NULL;
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
	struct stow_drain_containers containers = { 0 };
	int result;

	*ret_moved = *ret_left = 0;
	if (!context->root->live || !context->ledger)
		return 0;
	result = stow_root_read_idset(context->root, &r.online, NULL,
				      "/sys/devices/system/node/has_memory");
	if (result == 0)
		result = stow_drain_containers_read(context, &containers, NULL);
	for (size_t i = 0; result == 0 && i < containers.n; i++) {
		const struct stow_record *record = containers.list[i].record;

		if (record->state == STOW_STATE_ACTIVE && stow_idset_has(&record->nodes, node))
			return_one(&r, record);
	}
	stow_drain_containers_done(&containers);
	*ret_moved = r.moved;
	*ret_left = r.left;
	return result;
}
