/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The search: which machine, and which of its NUMA nodes.
 *
 * Candidates come from the index of machines (fleet/index.h), in order. Each is checked against the
 * columns, NUMA node by NUMA node, until one fits; usually the first does. So the size of the fleet
 * matters little. A request that fits on one NUMA node and needs no hugepages is then done.
 * Otherwise the planner that the machine itself uses (place/plan.h) distributes it, with the same
 * messages.
 *
 * The order of machines that fit: those where one NUMA node suffices; then by the smallest distance
 * between two of their NUMA nodes; then the fullest (or emptiest) machine; then the one with most
 * available memory; then the one that was added first. Where the policy `spread` uses more NUMA
 * nodes than needed, the order holds among the best 16.
 *
 * Machines that the index skips cannot fit; most of the others do. The number of machines that a
 * search checks in vain is not bounded: docs/scheduler.md lists the requests for which it may be
 * large.
 */

#include "base/cleanup.h"
#include "base/err.h"
#include "numastow/v1/scheduler.pb-c.h"
#include "place/plan.h"
#include "scheduler/fleet/fleet.h"

/* A checked request of a pod. */
struct stow_want {
	struct stow_request request;
	const char *machine; /* the only machine allowed; "" for any */
	bool spread;	     /* prefer the emptiest machine, not the fullest */
};

/* Check a request. -EINVAL; `err` names the key and the value. Nothing is copied: `pod` must
 * outlive the result. */
int stow_want_parse(const PbPodRequest *pod, PbStrategy strategy, struct stow_want *ret,
		    struct stow_err *err);

struct stow_found {
	struct stow_machine *machine;
	struct stow_share *shares; /* `node` is a NUMA node's number; the caller frees it */
	size_t n_shares;
	char reason[512];
};

/* Find a machine, with the fleet's lock held. -ENOSPC: no machine has room; `err` describes the
 * closest one. -ENOENT: there is no machine of that name. */
int stow_search_fleet(struct stow_fleet *fleet, const struct stow_want *want,
		      struct stow_found *ret, struct stow_err *err);

/* Find where a request fits on one machine. -ENOSPC, with the planner's reason in `err`. */
int stow_search_machine(const struct stow_machine *machine, const struct stow_want *want,
			struct stow_found *ret, struct stow_err *err);

/* Return how much the machine lacks, to sort machines by it; 0 when the request may fit. */
uint64_t stow_search_shortfall(const struct stow_fleet *fleet, const struct stow_machine *machine,
			       const struct stow_want *want);

/* Return a machine's place in the order of those that fit, smaller is better. `one`: its NUMA nodes
 * are used one at a time. Machines with the same number are equally good. */
uint64_t stow_search_order(const struct stow_fleet *fleet, const struct stow_machine *machine,
			   bool one, bool spread);

/*
 * A copy of one machine, on which requests that belong together are planned one after another. Only
 * stow_trial_new() requires the fleet's lock.
 */
struct stow_trial;

/* -ENOSPC: nothing is placed on the machine now; `err` says why. */
int stow_trial_new(const struct stow_machine *machine, struct stow_trial **ret,
		   struct stow_err *err);
void stow_trial_free(struct stow_trial *trial);
/* Plan a request; *ret_n is the number of its NUMA nodes. With `take`, the following requests have
 * only what it leaves. -ENOSPC, with the planner's reason in `err`. */
int stow_trial_plan(struct stow_trial *trial, const struct stow_request *request, bool take,
		    size_t *ret_n, struct stow_err *err);

STOW_DEFINE_CLEANUP(stow_trial_free, struct stow_trial);
