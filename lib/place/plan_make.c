// SPDX-License-Identifier: Apache-2.0
/* Make a plan or a refusal: check the request against the machine, try, and find the reason of a
 * failure. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "place/plan_internal.h"

static const struct stow_node_capacity *find_node(const struct stow_capacity *capacity, int id)
{
	for (size_t i = 0; i < capacity->n_nodes; i++)
		if (capacity->nodes[i].id == id)
			return &capacity->nodes[i];
	return NULL;
}

static int check_nodes(const struct stow_capacity *capacity, const struct stow_request *request,
		       int near_node, struct stow_err *err)
{
	struct stow_idset all = { 0 };
	char named[128], have[128];
	bool any_cpu = request->memory_only;

	for (size_t i = 0; i < capacity->n_nodes; i++) {
		stow_idset_add(&all, capacity->nodes[i].id);
		any_cpu |= stow_idset_has(&request->nodes, capacity->nodes[i].id) &&
			   !stow_idset_empty(&capacity->topology->nodes[i].cpus);
	}
	stow_idset_format(&all, have, sizeof(have));
	stow_idset_format(&request->nodes, named, sizeof(named));
	if (near_node >= 0 && !stow_idset_has(&all, near_node))
		return stow_err_set(err, EINVAL,
				    "%snear: \"%s\" is at node %d, which does not exist; this "
				    "machine has %s",
				    STOW_ANNOTATION_PREFIX, request->near, near_node, have);
	if (request->nodes_auto)
		return 0;
	STOW_IDSET_FOR(id, &request->nodes)
		if (!find_node(capacity, id))
			return stow_err_set(
				err, EINVAL,
				"%snodes: \"%s\": there is no node %d; this machine has %s",
				STOW_ANNOTATION_PREFIX, named, id, have);
	if (!any_cpu)
		return stow_err_set(err, EINVAL,
				    "%snodes: \"%s\" has no CPUs to run on; name a node with CPUs "
				    "too",
				    STOW_ANNOTATION_PREFIX, named);
	if (near_node >= 0 && request->policy == STOW_POLICY_SINGLE_NUMA_NODE &&
	    !stow_idset_has(&request->nodes, near_node))
		return stow_err_set(err, EINVAL,
				    "%snear: \"%s\" is at node %d, but nodes is \"%s\"; leave one "
				    "of them out",
				    STOW_ANNOTATION_PREFIX, request->near, near_node, named);
	return 0;
}

static int check_pages(const struct stow_capacity *capacity, const struct stow_request *request,
		       struct stow_err *err)
{
	char size[32], have[256] = "";
	bool found[STOW_POOLS_MAX] = { false };

	for (size_t i = 0; i < capacity->n_nodes; i++)
		for (size_t j = 0; j < capacity->nodes[i].n_pools; j++)
			for (size_t p = 0; p < request->n_pages; p++)
				found[p] |=
					capacity->nodes[i].pools[j].size == request->pages[p].size;
	for (size_t p = 0; p < request->n_pages; p++) {
		if (found[p])
			continue;
		for (size_t j = 0; capacity->n_nodes && j < capacity->nodes[0].n_pools; j++)
			stow_append(have, sizeof(have), "%s%s", j ? ", " : "",
				    stow_format_size(capacity->nodes[0].pools[j].size, size,
						     sizeof(size)));
		stow_format_size(request->pages[p].size, size, sizeof(size));
		return stow_err_set(err, EINVAL,
				    "%shugepages-%s: this machine has no pages of that size; it "
				    "has %s",
				    STOW_ANNOTATION_PREFIX, size, have[0] ? have : "none");
	}
	return 0;
}

static int plan_or_refuse(const struct stow_capacity *capacity, const struct stow_request *request,
			  int device_node, struct stow_plan **ret_plan,
			  struct stow_refusal **ret_refusal, struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	struct stow_err inner = { 0 };
	int near_node = stow_near_node(capacity, request, device_node);
	int r, max_nodes;

	r = check_nodes(capacity, request, near_node, err);
	if (r == 0)
		r = check_pages(capacity, request, err);
	if (r < 0)
		return r;
	max_nodes = stow_node_limit(capacity, request, near_node, err);
	if (max_nodes < 0)
		return max_nodes;
	r = stow_plan_attempt(capacity, request, device_node, max_nodes, ret_plan, &inner);
	if (r != -ENOSPC)
		return r < 0 ? stow_err_move(err, r, &inner) : 0;
	r = stow_refuse(capacity, request, device_node, near_node, max_nodes, &refusal, err);
	if (r < 0)
		return r;
	r = stow_err_set(err, ENOSPC, "%s", refusal->text);
	if (ret_refusal)
		*ret_refusal = STOW_TAKE_PTR(refusal);
	return r;
}

/* Where a partition isolates the CPUs, they are chosen as exclusive ones are. */
int stow_plan_make(const struct stow_capacity *capacity, const struct stow_request *request,
		   int device_node, struct stow_plan **ret_plan, struct stow_refusal **ret_refusal,
		   struct stow_err *err)
{
	struct stow_request exclusive = *request;
	int r;

	if (request->cpu_mode != STOW_CPU_ISOLATED || !capacity->partitions)
		return plan_or_refuse(capacity, request, device_node, ret_plan, ret_refusal, err);
	exclusive.cpu_mode = STOW_CPU_EXCLUSIVE;
	r = plan_or_refuse(capacity, &exclusive, device_node, ret_plan, ret_refusal, err);
	if (r == 0)
		(*ret_plan)->isolated = true;
	return r;
}
