/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Planning: from a request and the capacity to a plan, or a refusal with its reason.
 *
 * The best plan has the fewest nodes, then the node of the device to be near, then smallest
 * distance, whole cores (exclusive CPUs), least growth of hugepage pools, tightest fit. Polynomial:
 * one and two nodes are searched exactly, larger sets too where there are few of them (up to a
 * dozen nodes); otherwise sets are grown greedily from every node, O(nodes^2). (Merging every
 * combination of hints, as the kubelet does, does not end on a machine with 34 nodes.)
 */

#include "base/cleanup.h"
#include "base/err.h"
#include "base/idset.h"
#include "model/amounts.h"
#include "place/capacity.h"
#include "place/request.h"

struct stow_plan {
	struct stow_idset nodes; /* the nodes of the shares; cpuset.mems gets those with memory */
	struct stow_idset cpus;	 /* cpuset.cpus: exclusive CPUs, or all shared ones of the nodes */
	bool exclusive;		 /* the CPUs belong to this container alone */
	bool isolated;		 /* and are isolated; `exclusive` is true as well */
	struct stow_share *shares; /* by ascending node */
	size_t n_shares;
	char reason[512]; /* one line: why these nodes */
};

struct stow_refusal {
	/* "6 CPUs on one NUMA node; node 0 has 4 of 8 free, node 1 has 2 of 8 free": the nodes with
	 * the least shortage, and how many more there are. */
	char text[768];
	/* "4 CPUs would fit on node 0; policy=best-effort would fit on nodes 0-1", or "". */
	char suggestion[256];
	/* One line for each node that says what it lacks, in the capacity's order. */
	struct {
		int id;
		char text[160];
	} * nodes;
	size_t n_nodes;
};

/*
 * Make a plan. Return 0 with *ret_plan; -ENOSPC with *ret_refusal (if not NULL) when the request
 * does not fit; -EINVAL when it can never be fulfilled (a node or page size that does not exist);
 * -ENOMEM. `err` has the refusal's text. `device_node`: the node of the device to be near, or -1.
 * Under single-numa-node it is the only candidate; under the other policies, of the sets with the
 * fewest nodes those with this node are preferred, then the nearest to it. For a node without CPUs,
 * the nearest node with CPUs is used instead. The reason says so, and also when a request has
 * `near` and the node is unknown.
 */
int stow_plan_make(const struct stow_capacity *capacity, const struct stow_request *request,
		   int device_node, struct stow_plan **ret_plan, struct stow_refusal **ret_refusal,
		   struct stow_err *err);
void stow_plan_free(struct stow_plan *plan);
void stow_refusal_free(struct stow_refusal *refusal);

STOW_DEFINE_CLEANUP(stow_plan_free, struct stow_plan);
STOW_DEFINE_CLEANUP(stow_refusal_free, struct stow_refusal);
