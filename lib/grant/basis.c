// SPDX-License-Identifier: Apache-2.0
#include "grant/basis.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/limits.h"
#include "grant/adopt.h"
#include "grant/claim_used.h"
#include "grant/unmanaged.h"
#include "node/device.h"

void stow_basis_done(struct stow_basis *basis)
{
	stow_topology_free(basis->topology);
}

/* Choose what to read of the topology. /proc/zoneinfo grows with zones times CPUs: read it only
 * when the request asks for memory. */
static unsigned int topology_flags(const struct stow_request *request)
{
	unsigned int flags = 0;

	if (request->memory || request->n_pages)
		flags |= STOW_TOPOLOGY_AVAILABLE;
	if (request->n_pages)
		flags |= STOW_TOPOLOGY_POOLS;
	if (request->cpu_mode != STOW_CPU_SHARED)
		flags |= STOW_TOPOLOGY_CPUS;
	return flags;
}

/* Read what the container may use. */
static int read_cpuset(const struct stow_grant_context *context, const struct stow_cgroup *cgroup,
		       struct stow_basis *basis, struct stow_err *err)
{
	struct stow_idset *cpus = &basis->cpuset.cpus_effective;
	struct stow_idset *mems = &basis->cpuset.mems_effective;
	int r;

	/* The cgroup has only what was planned before. */
	r = context->made ? stow_cpuset_read_above(cgroup, true, cpus, err)
			  : stow_cpuset_read_cpus(cgroup, true, cpus, err);
	if (r == 0)
		r = context->made ? stow_cpuset_read_above(cgroup, false, mems, err)
				  : stow_cpuset_read_mems(cgroup, true, mems, err);
	basis->have_cpuset = r == 0;
	return r;
}

/* Read the CPUs that unmanaged containers need. In place of the folder of their entries there may
 * be a file: remove it, and find the containers by their cgroups. */
static int read_pinned(const struct stow_grant_context *context, struct stow_basis *basis,
		       struct stow_err *err)
{
	const struct stow_idset *online = &basis->topology->online;
	struct stow_adoption found = { 0 };
	size_t strangers;
	int r = stow_unmanaged_pinned(context->root, online, &basis->pinned, err);

	if (r != -ENOTDIR)
		return r;
	(void)stow_unmanaged_sweep(context->root, &strangers, NULL);
	(void)stow_adopt(context, &found, NULL);
	stow_adoption_done(&found);
	return stow_unmanaged_pinned(context->root, online, &basis->pinned, err);
}

int stow_basis_read(const struct stow_grant_context *context, const struct stow_cgroup *cgroup,
		    const struct stow_request *request, const struct stow_member *members,
		    size_t n_members, struct stow_basis *basis, struct stow_err *err)
{
	unsigned int flags = topology_flags(request);
	int r;

	for (size_t i = 0; i < n_members; i++)
		flags |= topology_flags(&members[i].request);
	if (context->made && context->topology && *context->topology) {
		basis->topology = STOW_TAKE_PTR(*context->topology);
		r = 0;
	} else {
		r = stow_topology_read(context->root, flags, &basis->topology, err);
	}
	if (r == 0 && cgroup)
		r = read_cpuset(context, cgroup, basis, err);
	if (r < 0)
		return r;
	if (flags & STOW_TOPOLOGY_CPUS) {
		r = read_pinned(context, basis, err);
		if (r < 0)
			return r;
	}
	basis->near_node = -1;
	if (!request->near[0])
		return 0;
	r = stow_device_node(context->root, request->near, &basis->near_node, err);
	if (r < 0)
		return stow_err_wrap(err, r, STOW_ANNOTATION_PREFIX "near");
	return 0;
}

/* Subtract what the container has used of its share from the promises of the share's node. */
static void note_used(struct stow_usage *usage, const struct stow_cgroup *cgroup,
		      const struct stow_record *record, const struct stow_share *share)
{
	uint64_t used;

	for (size_t i = 0; i < usage->n_nodes; i++) {
		struct stow_node_usage *node = &usage->nodes[i];

		if (node->id != share->node)
			continue;
		if (stow_memory_used(cgroup, share->node, &used, NULL) == 0)
			stow_usage_note_memory(node, used, share->memory);
		for (size_t p = 0; p < record->n_pages; p++)
			if (stow_hugetlb_used(cgroup, record->pages[p].size, share->node, &used,
					      NULL) == 0)
				stow_usage_note_pages(node, record->pages[p].size, used,
						      share->pages[p]);
	}
}

/* Subtract what the containers of a claim's share have used of it. */
static void note_claim(const struct stow_grant_context *context, struct stow_usage *usage,
		       struct stow_record *const *records, size_t n,
		       const struct stow_record *claim)
{
	for (size_t i = 0; i < usage->n_nodes; i++) {
		struct stow_node_usage *node = &usage->nodes[i];
		uint64_t used = stow_claim_used(context->root, records, n, claim, node->id, 0);

		stow_usage_note_memory(node, used, used);
		for (size_t p = 0; p < claim->n_pages; p++) {
			used = stow_claim_used(context->root, records, n, claim, node->id,
					       claim->pages[p].size);
			stow_usage_note_pages(node, claim->pages[p].size, used, used);
		}
	}
}

/* Compute how much of the promises on each node has been used. This reads the cgroup of every
 * container, so it runs only for a request that was refused. */
static int refine_usage(const struct stow_grant_context *context, struct stow_usage *usage,
			struct stow_err *err)
{
	struct stow_record **records;
	size_t n;
	int r;

	r = stow_ledger_records(context->ledger, NULL, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;

		if (stow_record_is_share(records[i]))
			note_claim(context, usage, records, n, records[i]);
		if (records[i]->state != STOW_STATE_ACTIVE ||
		    stow_cgroup_open(context->root, &records[i]->cgroup, &cgroup, NULL) < 0)
			continue;
		for (size_t s = 0; s < records[i]->n_shares; s++)
			note_used(usage, cgroup, records[i], &records[i]->shares[s]);
	}
	stow_records_free(records, n);
	return 0;
}

/* Add the CPUs that unmanaged containers, and shared ones with CPU sets of their own, need. */
static int add_pinned(const struct stow_grant_context *context, const struct stow_basis *basis,
		      struct stow_usage *usage, struct stow_err *err)
{
	int r = stow_ledger_pinned(context->ledger, &basis->topology->online, &usage->pinned, err);

	stow_idset_or(&usage->pinned, &basis->pinned);
	return r;
}

/* Check that the pages are in the pools and free. */
static int check_pools(const struct stow_capacity *capacity, const struct stow_request *request,
		       struct stow_err *err)
{
	for (size_t i = 0; i < request->n_pages; i++) {
		const struct stow_page_request *wanted = &request->pages[i];
		char size[32], nodes[128];
		uint64_t free = 0;

		for (size_t n = 0; n < capacity->n_nodes; n++)
			for (size_t p = 0; p < capacity->nodes[n].n_pools; p++)
				if (stow_idset_has(&request->nodes, capacity->nodes[n].id) &&
				    capacity->nodes[n].pools[p].size == wanted->size)
					free += capacity->nodes[n].pools[p].free;
		if (free < wanted->count)
			return stow_err_set(
				err, ENOSPC,
				"%" PRIu64 " hugepages of %s; NUMA node %s has %" PRIu64
				" free that are promised to none, and pools do not "
				"grow for claims",
				wanted->count, stow_format_size(wanted->size, size, sizeof(size)),
				stow_idset_format(&request->nodes, nodes, sizeof(nodes)), free);
	}
	return 0;
}

int stow_basis_plan(const struct stow_grant_context *context, const struct stow_basis *basis,
		    const struct stow_request *request, unsigned int how,
		    struct stow_plan **ret_plan, struct stow_refusal **ret_refusal,
		    struct stow_err *err)
{
	_cleanup_(stow_capacity_free_ptr) struct stow_capacity *capacity = NULL;
	_cleanup_(stow_usage_free_ptr) struct stow_usage *usage = NULL;
	int r = 0;

	if (context->ledger) {
		r = stow_ledger_usage(context->ledger, &usage, err);
		if (r == 0 && request->cpu_mode != STOW_CPU_SHARED)
			r = add_pinned(context, basis, usage, err);
		if (r == 0 && context->past_fences)
			usage->fenced = (struct stow_idset){ 0 };
		if (r == 0 && how & STOW_PLAN_REFINE)
			r = refine_usage(context, usage, err);
	}
	if (r == 0)
		r = stow_capacity_build(basis->topology, context->config, usage,
					basis->have_cpuset ? &basis->cpuset.cpus_effective : NULL,
					basis->have_cpuset ? &basis->cpuset.mems_effective : NULL,
					&capacity, err);
	if (r < 0)
		return r;
	capacity->full_cores &= !(how & STOW_PLAN_ANY_CORES);
	r = how & STOW_PLAN_KEEP_POOLS ? check_pools(capacity, request, err) : 0;
	if (r < 0)
		return r;
	return stow_plan_make(capacity, request, basis->near_node, ret_plan, ret_refusal, err);
}

/* cpuset.mems takes the nodes of the plan that have memory: the kernel accepts no other. With
 * memory-policy=preferred the plan is a preference (linux.memoryPolicy), and all other nodes stay
 * allowed. */
void stow_basis_mems(const struct stow_basis *basis, const struct stow_plan *plan,
		     const struct stow_request *request, struct stow_idset *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (request->memory_policy == STOW_MEMORY_PREFERRED && basis->have_cpuset) {
		*ret = basis->cpuset.mems_effective;
		return;
	}
	STOW_IDSET_FOR(id, &plan->nodes) {
		const struct stow_node *node = stow_topology_node(basis->topology, id);

		if (node && node->mem_total)
			stow_idset_add(ret, id);
	}
	/* The plan has only nodes without memory, and no memory was asked for: allow what the
	 * cgroup allows. */
	if (stow_idset_empty(ret) && basis->have_cpuset)
		*ret = basis->cpuset.mems_effective;
}
