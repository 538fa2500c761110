/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Declarations shared by the files of the planner. The search uses only counts: a set of CPUs is a
 * kilobyte, and with a thousand nodes copying sets would take most of the time.
 */

#include "place/plan.h"

/* The request's amounts; and, in the same units, what a set of nodes can supply. */
struct stow_need {
	uint64_t cpus;
	uint64_t memory; /* bytes */
	uint64_t size[STOW_POOLS_MAX];
	uint64_t count[STOW_POOLS_MAX]; /* pages */
	size_t n;			/* page sizes */
};

struct stow_supply {
	uint64_t cpus;
	uint64_t whole; /* CPUs that are free as whole cores; exclusive plans only */
	uint64_t memory;
	uint64_t free[STOW_POOLS_MAX]; /* pages, indexed as in the need */
	uint64_t grow[STOW_POOLS_MAX]; /* pages that the memory could hold, if it were used for this
					  size alone */
	uint32_t runs_on;	       /* nodes with a CPU to run on */
	uint32_t with_memory;	       /* nodes that have memory */
};

struct stow_candidate {
	int index; /* in capacity->nodes */
	struct stow_supply has;
};

struct stow_candidates {
	const struct stow_capacity *capacity;
	struct stow_candidate *nodes; /* by ascending node */
	int n;
	int near;	/* index in `nodes` of the node to be near, or -1 */
	int near_index; /* its index in capacity->nodes, even if it is no candidate */
	int threads;	/* hardware threads per core, at least 1 */
	/* How many CPUs count as one here, in the need and in all supplies: the threads of a core
	 * where only whole cores may be given and all cores have equally many; otherwise 1. */
	uint32_t unit;
	bool never; /* the requested CPUs are not a multiple of the unit */
	enum stow_cpu_mode mode;
	bool exclusive; /* exclusive CPUs, including isolated ones */
	bool any;	/* the number of nodes matters, not which ones */
	struct stow_need need;
};

/* Return the sum of two nodes' distances in both directions; indices in capacity->nodes. */
int stow_pair_distance(const struct stow_capacity *capacity, int a, int b);

/* Return the largest distance, in either direction, between any two candidates of a set. */
int stow_farthest(const struct stow_candidates *c, const int *set, size_t n);

/* Return the node to be near: the device's node (-1: none); if that has no CPUs, as the memory node
 * of a GPU, the nearest usable node with CPUs. */
int stow_near_node(const struct stow_capacity *capacity, const struct stow_request *request,
		   int device_node);
/* Format "node 1 of eth0", or "node 0, the nearest with CPUs to node 2 of 0009:01:00.0". */
const char *stow_near_format(const struct stow_request *request, int near_node, int device_node,
			     char *buf, size_t size);

/* Why a node is no candidate. */
enum stow_unfit {
	STOW_UNFIT_NOT,
	STOW_UNFIT_UNNAMED, /* not among the request's nodes */
	STOW_UNFIT_FENCED,
	STOW_UNFIT_FORBIDDEN, /* outside the container's cgroup */
	STOW_UNFIT_CPULESS,
	STOW_UNFIT_FAR, /* not the node to be near, under single-numa-node */
};

/* Find the candidates. `empty`: as if the machine were empty. Free with stow_candidates_done(). */
int stow_candidates_init(struct stow_candidates *c, const struct stow_capacity *capacity,
			 const struct stow_request *request, int near_node, bool empty,
			 struct stow_err *err);
void stow_candidates_done(struct stow_candidates *c);

enum stow_unfit stow_candidate_unfit(const struct stow_capacity *capacity,
				     const struct stow_request *request, int near_node,
				     size_t index);

/* Compute what a node could supply if it were a candidate. */
void stow_supply_of(const struct stow_capacity *capacity, const struct stow_request *request,
		    size_t index, bool empty, struct stow_supply *ret);
void stow_supply_add(struct stow_supply *sum, const struct stow_supply *more, size_t n);
/* Return whether the sums cover the need; *ret_grown: bytes of memory by which pools would grow. */
bool stow_supply_covers(const struct stow_supply *sum, const struct stow_need *need,
			uint64_t *ret_grown);

/*
 * Find the best set of at most `max_nodes` candidates that covers the need: fewest nodes, then with
 * the node to be near, then smallest distance, whole cores, least growth of pools, tightest fit.
 * Write indices in ascending order. Return their number, 0 when there is none, or -ENOMEM.
 */
int stow_search(const struct stow_candidates *c, int max_nodes, int *ret_set);
/* Divide the need over a set, balanced. -ENOSPC: it cannot be divided. */
int stow_divide(const struct stow_candidates *c, const int *set, int n, struct stow_share *ret);
/* Divide evenly over as many candidates as can take an even share. Return their number (0: none)
 * and fill `ret_set` and `ret`, both with room for all candidates; or return -ENOMEM. */
int stow_divide_evenly(const struct stow_candidates *c, int *ret_set, struct stow_share *ret);

/*
 * Choose `count` CPUs of `takeable` on a node: whole cores first, then the same last-level cache,
 * tightest fit. An odd thread comes from a core that is in use already, if there is one. -EINVAL:
 * the topology was read without its CPUs. -ENOSPC: there are not enough.
 */
int stow_plan_cpus(const struct stow_topology *topology, int node,
		   const struct stow_idset *takeable, uint32_t count, struct stow_idset *ret,
		   struct stow_err *err);
/* Return the CPUs of a node that may become exclusive in this mode. */
const struct stow_idset *stow_own_cpus(const struct stow_node_capacity *node,
				       enum stow_cpu_mode mode);
/* Count, for each node of the capacity, the CPUs in cores that may become exclusive as a whole.
 * *ret_threads: the most threads of a core; *ret_even: all cores have equally many. */
int stow_whole_cores(const struct stow_capacity *capacity, enum stow_cpu_mode mode,
		     uint64_t *ret_whole, int *ret_threads, bool *ret_even);
/* Return whether the set has only whole cores. */
int stow_full_cores(const struct stow_topology *topology, const struct stow_idset *cpus);
/* Return whether the request needs whole cores. */
bool stow_wants_full_cores(const struct stow_capacity *capacity,
			   const struct stow_request *request);

/* Choose the nodes under the request's policy, `max_nodes` from stow_node_limit(). Return their
 * number, 0 when the request does not fit; `ret_set` and `ret` have room for all candidates. */
int stow_plan_nodes(const struct stow_candidates *c, enum stow_policy policy, int max_nodes,
		    int *ret_set, struct stow_share *ret);
/* Return the most nodes that the policy allows for the request; 0: even the empty machine has no
 * room. */
int stow_node_limit(const struct stow_capacity *capacity, const struct stow_request *request,
		    int near_node, struct stow_err *err);

/* Do as stow_plan_make(), without making a refusal. */
int stow_plan_attempt(const struct stow_capacity *capacity, const struct stow_request *request,
		      int device_node, int max_nodes, struct stow_plan **ret_plan,
		      struct stow_err *err);

/* Format "6 exclusive CPUs, 8Gi memory and 64Mi in 2Mi pages". */
const char *stow_need_format(const struct stow_request *request, char *buf, size_t size);
/* Format "node 1" or "nodes 0-1,3". */
const char *stow_nodes_format(const struct stow_idset *nodes, char *buf, size_t size);

/* Explain why the request does not fit, and what would fit. `near_node`: from stow_near_node(). */
int stow_refuse(const struct stow_capacity *capacity, const struct stow_request *request,
		int device_node, int near_node, int max_nodes, struct stow_refusal **ret_refusal,
		struct stow_err *err);
