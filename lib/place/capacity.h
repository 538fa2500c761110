/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What each node has left: the machine's topology, minus what the administrator has reserved, minus
 * what the ledger has given to containers, within the CPUs and nodes that the container's cgroup
 * may use, and never more than is available above the watermarks. Computed here only, for the hook,
 * `numastow explain` and all other readers.
 */

#include "base/cleanup.h"
#include "base/err.h"
#include "base/idset.h"
#include "model/usage.h"
#include "node/topology.h"
#include "place/config.h"

struct stow_node_capacity {
	int id;
	struct stow_idset cpus;	    /* CPUs that a shared container may run on: online, allowed, not
				     * reserved, not exclusive, not isolated */
	struct stow_idset takeable; /* the part of `cpus` that may become exclusive (not pinned) */
	struct stow_idset isolated; /* CPUs for cpu-mode isolated only: online, allowed, not
				       reserved, not exclusive, not pinned */
	uint32_t cpus_total;	    /* online CPUs, minus reserved and isolated ones */
	uint32_t isolated_total;    /* isolated CPUs, minus reserved ones */
	uint32_t cpus_free; /* CPUs not promised to any container, at most the number in `cpus` */
	uint64_t mem_total; /* bytes, minus reserved memory */
	uint64_t mem_unpromised; /* mem_total, minus promises */
	uint64_t mem_real; /* available above the watermarks, minus what is promised and not yet
			      used */
	uint64_t mem_free; /* what a plan may use: the smaller of mem_unpromised and mem_real */
	struct {
		uint64_t size;
		uint64_t total; /* pages in the pool now */
		uint64_t free;	/* pages in the pool that are free and not promised; the pool may
				   grow beyond them, using mem_free */
	} pools[STOW_POOLS_MAX];
	size_t n_pools;
	bool fenced;  /* nothing new is placed here */
	bool allowed; /* the container's cgroup may use its memory */
};

struct stow_capacity {
	struct stow_node_capacity *nodes; /* by ascending id */
	size_t n_nodes;
	bool full_cores; /* from the configuration: exclusive CPUs are whole cores, or refused.
			    Clear it for a request that is a sum over several containers. */
	bool partitions; /* no CPUs are isolated by the kernel's command line, and the configuration
			    lets partitions isolate them: cpu-mode isolated uses `takeable` */
	const struct stow_topology *topology; /* not owned; must outlive the capacity */
	/* Online CPUs that are neither exclusive nor isolated. Containers without annotations run
	 * there, so it must never become empty. */
	struct stow_idset nonexclusive;
};

/* Compute the capacity. `config`, `usage`, `allowed_cpus`, `allowed_mems` may be NULL (no limit).
 * The topology's CPUs are needed for exclusive plans only. */
int stow_capacity_build(const struct stow_topology *topology, const struct stow_config *config,
			const struct stow_usage *usage, const struct stow_idset *allowed_cpus,
			const struct stow_idset *allowed_mems, struct stow_capacity **ret_capacity,
			struct stow_err *err);
void stow_capacity_free(struct stow_capacity *capacity);

STOW_DEFINE_CLEANUP(stow_capacity_free, struct stow_capacity);
