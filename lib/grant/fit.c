// SPDX-License-Identifier: Apache-2.0
#include "grant/fit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "grant/unmanaged.h"
#include "place/capacity.h"

/* What each node has left, with the topology that it points to. */
struct room {
	struct stow_topology *topology;
	struct stow_capacity *capacity;
};

static void room_done(struct room *room)
{
	stow_capacity_free_ptr(&room->capacity);
	stow_topology_free_ptr(&room->topology);
}

static int room_read(const struct stow_grant_context *context, struct room *ret)
{
	_cleanup_(stow_usage_free_ptr) struct stow_usage *usage = NULL;
	int r;

	r = stow_topology_read(context->root, STOW_TOPOLOGY_AVAILABLE, &ret->topology, NULL);
	if (r == 0)
		r = stow_ledger_usage(context->ledger, &usage, NULL);
	if (r == 0)
		r = stow_capacity_build(ret->topology, context->config, usage, NULL, NULL,
					&ret->capacity, NULL);
	return r;
}

bool stow_fit_nodes(const struct stow_grant_context *context, struct stow_record *record,
		    const struct stow_idset *nodes)
{
	_cleanup_(room_done) struct room room = { 0 };
	int at = -1;

	if (stow_idset_equal(nodes, &record->nodes))
		return true;
	/* Only a share on one node can move as a whole: for hugepages and shares on several nodes
	 * there is `repin`. Otherwise the memory must be able to stay where it is. */
	if (record->n_shares != 1 || record->n_pages || stow_idset_count(nodes) != 1)
		return stow_idset_subset(&record->nodes, nodes);
	STOW_IDSET_FOR(id, nodes)
		at = id;
	if (room_read(context, &room) < 0)
		return false;
	for (size_t i = 0; i < room.capacity->n_nodes; i++) {
		const struct stow_node_capacity *node = &room.capacity->nodes[i];

		if (node->id == at && !node->fenced &&
		    node->mem_unpromised >= record->shares[0].memory) {
			record->shares[0].node = at;
			return true;
		}
	}
	return false;
}

/* Return whether an exclusive container may have as many CPUs of each node: the node must keep
 * enough for its shared containers. */
static bool leaves_promises(const struct stow_grant_context *context,
			    const struct stow_cpu_view *view, const struct stow_record *record,
			    const struct stow_idset *cpus)
{
	_cleanup_(room_done) struct room room = { 0 };

	if (stow_idset_subset(cpus, &record->cpus))
		return true;
	if (room_read(context, &room) < 0)
		return false;
	for (size_t i = 0; i < room.capacity->n_nodes; i++) {
		struct stow_idset common = room.topology->nodes[i].cpus, now = *cpus,
				  was = record->cpus;

		stow_idset_minus(&common, &view->isolated);
		stow_idset_and(&now, &common);
		stow_idset_and(&was, &common);
		if (stow_idset_count(&now) >
		    stow_idset_count(&was) + room.capacity->nodes[i].cpus_free)
			return false;
	}
	return true;
}

bool stow_fit_cpus(const struct stow_grant_context *context, const struct stow_cpu_view *view,
		   const struct stow_record *record, const struct stow_idset *cpus)
{
	struct stow_idset others = view->exclusive, pinned, rest = view->online, now = *cpus;

	stow_idset_and(&now, &view->online);
	if (stow_idset_empty(&now))
		return false;
	if (record->exclusive)
		stow_idset_minus(&others, &record->cpus);
	if (stow_idset_intersects(cpus, &others))
		return false;
	if (!record->exclusive)
		return true;
	/* Containers without exclusive CPUs must keep some. */
	if (stow_unmanaged_pinned(context->root, &view->online, &pinned, NULL) < 0 ||
	    stow_idset_intersects(cpus, &pinned))
		return false;
	stow_idset_minus(&rest, &others);
	stow_idset_minus(&rest, cpus);
	return !stow_idset_empty(&rest) && leaves_promises(context, view, record, &now);
}

int stow_fit_count(const struct stow_grant_context *context, struct stow_record *record,
		   const struct stow_idset *cpus)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *topology = NULL;

	if (stow_topology_read(context->root, 0, &topology, NULL) < 0)
		return 0;
	for (size_t i = 0; i < topology->n_nodes; i++) {
		struct stow_idset here = *cpus;
		uint32_t n;
		size_t s = 0;

		stow_idset_and(&here, &topology->nodes[i].cpus);
		n = (uint32_t)stow_idset_count(&here);
		while (s < record->n_shares && record->shares[s].node != topology->nodes[i].id)
			s++;
		if (s < record->n_shares) {
			/* The number of a shared container is a promise, not the size of its
			 * set. */
			if (record->exclusive || n < record->shares[s].cpus)
				record->shares[s].cpus = n;
		} else if (n && record->exclusive) {
			struct stow_share *added = STOW_APPEND(record->shares, record->n_shares);

			if (!added)
				return -ENOMEM;
			added->node = topology->nodes[i].id;
			added->cpus = n;
		}
	}
	return 0;
}
