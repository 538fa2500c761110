// SPDX-License-Identifier: Apache-2.0
#include "place/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "place/plan_internal.h"

const char *stow_nodes_format(const struct stow_idset *nodes, char *buf, size_t size)
{
	char list[128];

	snprintf(buf, size, "node%s %s", stow_idset_count(nodes) == 1 ? "" : "s",
		 stow_idset_format(nodes, list, sizeof(list)));
	return buf;
}

/* Return what stands before the next of several parts: "A, B and C". */
static const char *conjunction(size_t before, size_t parts)
{
	return before == 0 ? "" : before + 1 == parts ? " and " : ", ";
}

const char *stow_need_format(const struct stow_request *request, char *buf, size_t size)
{
	char bytes[32], page[32];
	size_t parts = request->n_pages, at = 0;

	parts += request->cpus ? 1 : 0;
	parts += request->memory ? 1 : 0;
	buf[0] = '\0';
	if (!parts) {
		stow_append(buf, size, "shared CPUs");
		return buf;
	}
	if (request->cpus) {
		at++;
		stow_append(buf, size, "%" PRIu32 " %sCPU%s", request->cpus,
			    request->cpu_mode == STOW_CPU_EXCLUSIVE  ? "exclusive "
			    : request->cpu_mode == STOW_CPU_ISOLATED ? "isolated "
								     : "",
			    request->cpus == 1 ? "" : "s");
	}
	if (request->memory)
		stow_append(buf, size, "%s%s memory", conjunction(at++, parts),
			    stow_format_amount(request->memory, bytes, sizeof(bytes)));
	for (size_t i = 0; i < request->n_pages; i++)
		stow_append(buf, size, "%s%s in %s pages", conjunction(at++, parts),
			    stow_format_size(request->pages[i].size * request->pages[i].count,
					     bytes, sizeof(bytes)),
			    stow_format_size(request->pages[i].size, page, sizeof(page)));
	return buf;
}

/* --- which nodes ---------------------------------------------------------- */

int stow_node_limit(const struct stow_capacity *capacity, const struct stow_request *request,
		    int near_node, struct stow_err *err)
{
	_cleanup_(stow_candidates_done) struct stow_candidates empty = { 0 };
	_cleanup_free_ int *set = NULL;
	int r;

	if (request->policy == STOW_POLICY_SINGLE_NUMA_NODE)
		return 1;
	if (request->policy != STOW_POLICY_RESTRICTED)
		return (int)capacity->n_nodes;
	r = stow_candidates_init(&empty, capacity, request, near_node, true, err);
	if (r < 0)
		return r;
	empty.any = true;
	set = calloc((size_t)empty.n + 1, sizeof(*set));
	r = set ? stow_search(&empty, empty.n, set) : -ENOMEM;
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : r;
}

int stow_plan_nodes(const struct stow_candidates *c, enum stow_policy policy, int max_nodes,
		    int *ret_set, struct stow_share *ret)
{
	int n, r = 0;

	if (c->never)
		return 0;
	if (policy == STOW_POLICY_SPREAD) {
		n = stow_divide_evenly(c, ret_set, ret);
	} else {
		n = stow_search(c, max_nodes, ret_set);
		if (n > 0)
			r = stow_divide(c, ret_set, n, ret);
	}
	for (int i = 0; i < n; i++)
		ret[i].cpus *= c->unit;
	return r == -ENOSPC ? 0 : r < 0 ? r : n;
}

/* --- the plan ------------------------------------------------------------- */

/* Count the nodes that have room for all of it. */
static int count_single(const struct stow_candidates *c)
{
	uint64_t grown;
	int n = 0;

	for (int i = 0; i < c->n; i++)
		n += stow_supply_covers(&c->nodes[i].has, &c->need, &grown);
	return n;
}

static void write_reason(const struct stow_candidates *c, const struct stow_request *request,
			 struct stow_plan *plan, const int *set, int device_node)
{
	char need[160], nodes[160], text[160], node[128];
	int fit = count_single(c);

	stow_need_format(request, need, sizeof(need));
	stow_nodes_format(&plan->nodes, nodes, sizeof(nodes));
	snprintf(plan->reason, sizeof(plan->reason), "%s: %s fit", nodes, need);
	/* One thing "fits", several "fit". */
	if (request->cpus ? request->cpus == 1 && !request->memory && !request->n_pages
			  : (request->memory != 0) + (int)request->n_pages == 1)
		stow_append(plan->reason, sizeof(plan->reason), "s");
	if (c->near_index >= 0)
		snprintf(text, sizeof(text), "; %s %s",
			 stow_idset_has(&plan->nodes, c->capacity->nodes[c->near_index].id)
				 ? "with the"
				 : "near the full",
			 stow_near_format(request, c->capacity->nodes[c->near_index].id,
					  device_node, node, sizeof(node)));
	else
		text[0] = '\0';
	if (request->policy == STOW_POLICY_SPREAD)
		stow_append(plan->reason, sizeof(plan->reason), "; spread evenly over %zu of %d",
			    plan->n_shares, c->n);
	else if (plan->n_shares > 1)
		stow_append(plan->reason, sizeof(plan->reason),
			    "; no %s has room, distance up to %d%s",
			    plan->n_shares == 2 ? "single node" : "smaller set of nodes",
			    stow_farthest(c, set, plan->n_shares),
			    c->capacity->topology->assumed & STOW_ASSUMED_DISTANCES ? " (assumed)"
										    : "");
	else if (c->near_index >= 0)
		; /* the node is that of the device */
	else if (fit <= 1)
		stow_append(plan->reason, sizeof(plan->reason), "; the only node that fits");
	else
		stow_append(plan->reason, sizeof(plan->reason), "; %s of %d nodes that fit",
			    request->cpus || request->memory || request->n_pages ? "tightest"
										 : "roomiest",
			    fit);
	stow_append(plan->reason, sizeof(plan->reason), "%s", text);
	if (request->near[0] && device_node < 0)
		stow_append(plan->reason, sizeof(plan->reason),
			    "; the platform does not say which node %.32s is at", request->near);
}

static int fill_plan(const struct stow_candidates *c, const struct stow_request *request,
		     const int *set, int device_node, struct stow_plan *plan, struct stow_err *err)
{
	plan->exclusive = c->exclusive;
	plan->isolated = c->mode == STOW_CPU_ISOLATED;
	for (size_t i = 0; i < plan->n_shares; i++) {
		const struct stow_node_capacity *node = &c->capacity->nodes[c->nodes[set[i]].index];
		int r;

		stow_idset_add(&plan->nodes, node->id);
		if (!c->exclusive) {
			stow_idset_or(&plan->cpus, &node->cpus);
			continue;
		}
		r = stow_plan_cpus(c->capacity->topology, node->id, stow_own_cpus(node, c->mode),
				   plan->shares[i].cpus, &plan->cpus, err);
		if (r < 0)
			return r;
	}
	if (stow_wants_full_cores(c->capacity, request)) {
		int full = stow_full_cores(c->capacity->topology, &plan->cpus);

		if (full <= 0)
			return full < 0 ? stow_err_set(err, ENOMEM, "out of memory") : -ENOSPC;
	}
	write_reason(c, request, plan, set, device_node);
	return 0;
}

static int make(const struct stow_capacity *capacity, const struct stow_request *request,
		int device_node, int max_nodes, struct stow_plan **ret_plan, struct stow_err *err)
{
	int near_node = stow_near_node(capacity, request, device_node);
	_cleanup_(stow_candidates_done) struct stow_candidates c = { 0 };
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	_cleanup_free_ int *set = NULL;
	int r;

	r = stow_candidates_init(&c, capacity, request, near_node, false, err);
	if (r < 0)
		return r;
	set = calloc((size_t)c.n + 1, sizeof(*set));
	plan = calloc(1, sizeof(*plan));
	if (plan)
		plan->shares = calloc((size_t)c.n + 1, sizeof(*plan->shares));
	if (!set || !plan || !plan->shares)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = stow_plan_nodes(&c, request->policy, max_nodes, set, plan->shares);
	if (r < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		return -ENOSPC;
	plan->n_shares = (size_t)r;
	r = fill_plan(&c, request, set, device_node, plan, err);
	if (r < 0)
		return r;
	*ret_plan = STOW_TAKE_PTR(plan);
	return 0;
}

int stow_plan_attempt(const struct stow_capacity *capacity, const struct stow_request *request,
		      int device_node, int max_nodes, struct stow_plan **ret_plan,
		      struct stow_err *err)
{
	/* Containers without exclusive CPUs must still run somewhere. */
	if (request->cpu_mode == STOW_CPU_EXCLUSIVE &&
	    request->cpus >= stow_idset_count(&capacity->nonexclusive))
		return -ENOSPC;
	return make(capacity, request, device_node, max_nodes, ret_plan, err);
}

void stow_plan_free(struct stow_plan *plan)
{
	if (!plan)
		return;
	free(plan->shares);
	free(plan);
}

void stow_refusal_free(struct stow_refusal *refusal)
{
	if (!refusal)
		return;
	free(refusal->nodes);
	free(refusal);
}
