/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What every node still has to give: the machine (topology) less what the administrator reserved,
 * less what the ledger has given away, within the CPUs and nodes that the container's cgroup may
 * use, and never more than is really free above the watermarks. One place computes it, for the
 * hook, `numastow explain`, and every later reader.
 */

#include "base/err.h"
#include "base/idset.h"
#include "model/usage.h"
#include "node/topology.h"
#include "place/config.h"

struct stow_node_capacity {
	int id;
	struct stow_idset cpus;	    /* CPUs that a shared container may run on: online, allowed, not
				     * reserved, not exclusive, not isolated */
	struct stow_idset takeable; /* the part of them that may become exclusive (not pinned) */
	struct stow_idset isolated; /* CPUs for cpu-mode isolated, and for nothing else: online,
				     * allowed, not reserved, not given, not pinned */
	uint32_t cpus_total;	    /* online CPUs less reserved and isolated ones */
	uint32_t isolated_total;    /* isolated CPUs less reserved ones */
	uint32_t cpus_free;	    /* CPUs not promised to anybody, at most the number in `cpus` */
	uint64_t mem_total;	    /* bytes, less reserved */
	uint64_t mem_unpromised;    /* mem_total less promises */
	uint64_t mem_real;	    /* available above the watermarks, less what is promised and not
				     * yet used */
	uint64_t mem_free;	    /* what may be given: the smaller of the two */
	struct {
		uint64_t size;
		uint64_t total; /* pages in the pool now */
		uint64_t free;	/* pages in the pool that are free and not promised; the pool may
				 * grow beyond that, out of mem_free */
	} pools[STOW_POOLS_MAX];
	size_t n_pools;
	bool fenced;  /* gets nothing new */
	bool allowed; /* the container's cgroup may use its memory */
};

struct stow_capacity {
	struct stow_node_capacity *nodes; /* by ascending id */
	size_t n_nodes;
	bool full_cores; /* the configuration's: exclusive CPUs are whole cores, or refused. To be
			  * cleared where the request is a sum over several containers. */
	bool partitions; /* no CPUs are isolated by the kernel's command line, and the configuration
			  * has partitions isolate them: cpu-mode isolated takes from `takeable` */
	const struct stow_topology *topology; /* not owned; must outlive the capacity */
	struct stow_idset unowned; /* online CPUs that are nobody's alone, and not isolated: where
				    * containers without annotations run; never to become empty */
};

/* `config`, `usage`, `allowed_cpus`, `allowed_mems` may be NULL (no limit). Works without the CPUs
 * part of the topology; exclusive plans need it. */
int stow_capacity_build(const struct stow_topology *topology, const struct stow_config *config,
			const struct stow_usage *usage, const struct stow_idset *allowed_cpus,
			const struct stow_idset *allowed_mems, struct stow_capacity **ret_capacity,
			struct stow_err *err);
void stow_capacity_free(struct stow_capacity *capacity);

static inline void stow_capacity_free_ptr(struct stow_capacity **c)
{
	if (*c)
		stow_capacity_free(*c);
}
