/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The parts of the planner. The search works on counts alone: sets of CPUs are a kilobyte each, and
 * with a thousand nodes they would be all that it does.
 */

#include "place/plan.h"

/* What is asked for, and the sums of what a set of nodes can give, in the same units. */
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
	uint64_t free[STOW_POOLS_MAX]; /* pages, index as in the need */
	uint64_t grow[STOW_POOLS_MAX]; /* pages that memory would hold, were it for them alone */
	uint32_t runs_on;	       /* nodes with a CPU to run on */
	uint32_t with_memory;	       /* nodes that have memory at all */
};

struct stow_candidate {
	int index; /* in capacity->nodes */
	struct stow_supply has;
};

struct stow_candidates {
	const struct stow_capacity *capacity;
	struct stow_candidate *nodes; /* by ascending node */
	int n;
	int near;	/* index in `nodes` of the node to be near to, or -1 */
	int near_index; /* the same in capacity->nodes, also when it is no candidate */
	int threads;	/* hardware threads per core, at least 1 */
	/* How many CPUs count as one here, in the need and in all supplies: more than 1 where only
	 * whole cores may be given, and all cores have as many threads. */
	uint32_t unit;
	bool never; /* the CPUs asked for are no whole number of units */
	enum stow_cpu_mode mode;
	bool exclusive; /* CPUs of its own, isolated ones included */
	bool any;	/* the number of nodes matters, not which */
	struct stow_need need;
};

/* The distances of two nodes, both directions added; indices in capacity->nodes. */
int stow_pair_distance(const struct stow_capacity *capacity, int a, int b);

/* The largest distance, in either direction, between any two of a set of candidates. */
int stow_farthest(const struct stow_candidates *c, const int *set, size_t n);

/* The node to be near to: that of the device (-1: none); where it has no CPUs, as a GPU's memory
 * has none, the nearest one with CPUs of those that may be had. */
int stow_near_node(const struct stow_capacity *capacity, const struct stow_request *request,
		   int device_node);
/* "node 1 of eth0", or "node 0, the nearest with CPUs to node 2 of 0009:01:00.0". */
const char *stow_near_format(const struct stow_request *request, int near_node, int device_node,
			     char *buf, size_t size);

/* Why a node is no candidate. */
enum stow_unfit {
	STOW_UNFIT_NOT,
	STOW_UNFIT_UNNAMED, /* not among the request's nodes */
	STOW_UNFIT_FENCED,
	STOW_UNFIT_FORBIDDEN, /* outside the container's cgroup */
	STOW_UNFIT_CPULESS,
	STOW_UNFIT_FAR, /* not the node to be near to, under single-numa-node */
};

/* `empty`: as if nothing had been given to anybody. Freed with stow_candidates_done(). */
int stow_candidates_init(struct stow_candidates *c, const struct stow_capacity *capacity,
			 const struct stow_request *request, int near_node, bool empty,
			 struct stow_err *err);
void stow_candidates_done(struct stow_candidates *c);

enum stow_unfit stow_candidate_unfit(const struct stow_capacity *capacity,
				     const struct stow_request *request, int near_node,
				     size_t index);

/* What a node could give, were it a candidate. */
void stow_supply_of(const struct stow_capacity *capacity, const struct stow_request *request,
		    size_t index, bool empty, struct stow_supply *ret);
void stow_supply_add(struct stow_supply *sum, const struct stow_supply *more, size_t n);
/* Whether the sums cover the need; *ret_grown: bytes of memory that pools would grow by. */
bool stow_supply_covers(const struct stow_supply *sum, const struct stow_need *need,
			uint64_t *ret_grown);

/*
 * The best set of at most `max_nodes` candidates that covers the need: fewest nodes, then with the
 * node to be near to, then smallest distance, whole cores, least growth of pools, tightest. Writes
 * indices in ascending order. Returns their number, 0 when there is none, -ENOMEM.
 */
int stow_search(const struct stow_candidates *c, int max_nodes, int *ret_set);
/* Divides the need over a set, balanced. -ENOSPC: it does not go up after all. */
int stow_divide(const struct stow_candidates *c, const int *set, int n, struct stow_share *ret);
/* An even division over as many candidates as can take one. Returns their number (0: none) and
 * fills `ret_set` and `ret`, both with room for all candidates; -ENOMEM. */
int stow_divide_evenly(const struct stow_candidates *c, int *ret_set, struct stow_share *ret);

/*
 * Chooses `count` CPUs of `takeable` on a node: whole cores first, then the same last-level cache,
 * tightest fit. The odd thread comes from a core that is already broken, if there is one.
 * -EINVAL: the topology was read without its CPUs. -ENOSPC: there are not as many.
 */
int stow_plan_cpus(const struct stow_topology *topology, int node,
		   const struct stow_idset *takeable, uint32_t count, struct stow_idset *ret,
		   struct stow_err *err);
/* The CPUs of a node that a container of this mode can have for itself. */
const struct stow_idset *stow_own_cpus(const struct stow_node_capacity *node,
				       enum stow_cpu_mode mode);
/* The CPUs of those whose whole core is among them, for each of n_nodes nodes of the capacity;
 * *ret_threads: the most threads that a core has; *ret_even: whether all cores have as many. */
int stow_whole_cores(const struct stow_capacity *capacity, enum stow_cpu_mode mode,
		     uint64_t *ret_whole, int *ret_threads, bool *ret_even);
/* Whether the set has no core in part. */
int stow_full_cores(const struct stow_topology *topology, const struct stow_idset *cpus);
/* Whether only whole cores will do for the request. */
bool stow_wants_full_cores(const struct stow_capacity *capacity,
			   const struct stow_request *request);

/* The nodes under the request's policy, `max_nodes` as stow_node_limit() says. Returns their
 * number, 0 when it does not fit; `ret_set` and `ret` have room for all candidates. */
int stow_plan_nodes(const struct stow_candidates *c, enum stow_policy policy, int max_nodes,
		    int *ret_set, struct stow_share *ret);
/* The most nodes that the policy lets a request have; 0: not even the empty machine has room. */
int stow_node_limit(const struct stow_capacity *capacity, const struct stow_request *request,
		    int near_node, struct stow_err *err);

/* stow_plan_make() without a refusal: -ENOSPC alone. */
int stow_plan_attempt(const struct stow_capacity *capacity, const struct stow_request *request,
		      int device_node, int max_nodes, struct stow_plan **ret_plan,
		      struct stow_err *err);

/* "6 exclusive CPUs, 8Gi memory and 64Mi in 2Mi pages" */
const char *stow_need_format(const struct stow_request *request, char *buf, size_t size);
/* snprintf() behind what is in `buf` already; what does not fit is cut. */
void stow_append(char *buf, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* "node 1" or "nodes 0-1,3" */
const char *stow_nodes_format(const struct stow_idset *nodes, char *buf, size_t size);

/* Says why not, and what would go. `near_node` is the one that stow_near_node() says. */
int stow_refuse(const struct stow_capacity *capacity, const struct stow_request *request,
		int device_node, int near_node, int max_nodes, struct stow_refusal **ret_refusal,
		struct stow_err *err);
