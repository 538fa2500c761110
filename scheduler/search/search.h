/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which machine, and which of its NUMA nodes.
 *
 * Candidates come from the index over the machines (fleet/index.h), in order, and one is looked at
 * after the other, NUMA node by NUMA node in the columns, until one has it: mostly the first. How
 * large the fleet is does not matter much. Where a request fits on one NUMA node and wants no
 * hugepages that is all; else the machine's own planner (place/plan.h) divides it, with the same
 * words that the hook would use.
 *
 * Of machines that fit: one that needs one NUMA node before those that need more, these by the
 * smallest distance between two of their NUMA nodes, then the fullest (or emptiest) machine, then
 * the one with most memory really available, then the one that came first. Where `spread` makes
 * the planner use more NUMA nodes than it would need, the order holds among the best 16.
 *
 * What the index passes over cannot fit; what it does not pass over mostly does. How many machines
 * a search looks at in vain has no bound: docs/scheduler.md says for which requests these may be
 * many.
 */

#include "base/err.h"
#include "numastow/v1/scheduler.pb-c.h"
#include "place/plan.h"
#include "scheduler/fleet/fleet.h"

/* A pod's request, checked. */
struct stow_want {
	struct stow_request request;
	const char *machine; /* only this one; "" for any */
	bool spread;	     /* the emptiest machine, not the fullest */
};

/* -EINVAL names the key and the value. Nothing is copied: the message must outlive the result. */
int stow_want_parse(const PbPodRequest *pod, PbStrategy strategy, struct stow_want *ret,
		    struct stow_err *err);

struct stow_found {
	struct stow_machine *machine;
	struct stow_share *shares; /* `node` is a NUMA node's number; to be freed */
	size_t n_shares;
	char reason[512];
};

/* With the fleet's lock held. -ENOSPC: no machine has room; `err` says how near it was. -ENOENT:
 * there is no machine of that name. */
int stow_search_fleet(struct stow_fleet *fleet, const struct stow_want *want,
		      struct stow_found *ret, struct stow_err *err);

/* Whether, and where, it fits on one machine: 0, or -ENOSPC with the planner's words in `err`. */
int stow_search_machine(const struct stow_machine *machine, const struct stow_want *want,
			struct stow_found *ret, struct stow_err *err);

/* How much the machine lacks, to show the nearest first; 0 when it may fit. */
uint64_t stow_search_lacks(const struct stow_fleet *fleet, const struct stow_machine *machine,
			   const struct stow_want *want);
