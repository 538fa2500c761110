/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Request + capacity -> placement, or a refusal that explains itself.
 *
 * Fewest nodes, then with the node to be near to, then smallest distance, whole cores (exclusive
 * CPUs), least growth of hugepage pools, tightest fit. Polynomial: one and two nodes are searched
 * exactly, wider placements too where there are few sets of nodes to look at (up to a dozen nodes),
 * else they grow greedily from every node, O(nodes^2). (Merging every combination of hints, as the
 * kubelet does, never ends on a machine with 34 nodes.)
 */

#include "base/err.h"
#include "base/idset.h"
#include "model/amounts.h"
#include "place/capacity.h"
#include "place/request.h"

struct stow_plan {
	struct stow_idset nodes;   /* the nodes of the shares; for cpuset.mems less those without
				    * memory, which only ever give CPUs */
	struct stow_idset cpus;	   /* for cpuset.cpus: its own ones, or all shared CPUs of the
				    * nodes */
	bool exclusive;		   /* the CPUs are this container's own */
	bool isolated;		   /* and out of the isolated ones; `exclusive` is true as well */
	struct stow_share *shares; /* by ascending node */
	size_t n_shares;
	char reason[512]; /* one line: why these nodes */
};

struct stow_refusal {
	/* "6 CPUs on one NUMA node; node 0 has 4 of 8 free, node 1 has 2 of 8 free": the nodes that
	 * come nearest, and how many more there are. */
	char text[768];
	/* "4 CPUs would fit on node 0; policy=best-effort would fit on nodes 0-1": or "". */
	char suggestion[256];
	/* One line for each node: what it lacks. `n_nodes` entries, in the capacity's order. */
	struct {
		int id;
		char text[160];
	} * nodes;
	size_t n_nodes;
};

/*
 * Returns 0 with *ret_plan, or -ENOSPC with *ret_refusal (when not NULL) when it does not fit,
 * -EINVAL when it never can mean anything (a node or page size that does not exist), -ENOMEM. `err`
 * has the refusal's text then. `device_node`: -1, or the node of the device to be near to, which is
 * the only one under single-numa-node; under the others sets of as few nodes are preferred that
 * have it, then those that are nearest to it. For a node without CPUs the nearest one with CPUs
 * stands. The reason says so, and also when a request has `near` and the node is not known.
 */
int stow_plan_make(const struct stow_capacity *capacity, const struct stow_request *request,
		   int device_node, struct stow_plan **ret_plan, struct stow_refusal **ret_refusal,
		   struct stow_err *err);
void stow_plan_free(struct stow_plan *plan);
void stow_refusal_free(struct stow_refusal *refusal);

static inline void stow_plan_free_ptr(struct stow_plan **p)
{
	if (*p)
		stow_plan_free(*p);
}

static inline void stow_refusal_free_ptr(struct stow_refusal **r)
{
	if (*r)
		stow_refusal_free(*r);
}
