/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the kernel knows of its NUMA nodes beyond the topology: their states, how far their memory
 * is by HMAT, memory-side caches, memory tiers, the order of fallback, nodes per package, and what
 * can be added while the machine runs.
 *
 * Files: /sys/devices/system/node (Documentation/ABI/stable/sysfs-devices-node, admin-guide/mm/
 * numaperf.rst), /sys/devices/virtual/memory_tiering (ABI/testing/sysfs-kernel-mm-memory-tiers).
 * Most kernels and machines lack some of them: what a missing or garbled file would tell is
 * unknown, never a guess.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "node/topology.h"

/* The files of /sys/devices/system/node. */
enum stow_node_state {
	STOW_NODE_POSSIBLE,
	STOW_NODE_ONLINE,
	STOW_NODE_HAS_CPU,
	STOW_NODE_HAS_MEMORY,
	STOW_NODE_HAS_NORMAL_MEMORY,
	STOW_NODE_HAS_GENERIC_INITIATOR, /* Linux 5.10 */
	STOW_NODE_STATES,
};

/* A node's memory as seen by the nearest initiators: class 0 by any of them, class 1 by CPUs only.
 * Each number may be 0: unknown. */
struct stow_access {
	bool known;
	struct stow_idset initiators;		  /* nodes */
	uint64_t read_latency, write_latency;	  /* ns */
	uint64_t read_bandwidth, write_bandwidth; /* MB/s */
};

#define STOW_ACCESS_CLASSES 2

/* -1: unknown. */
struct stow_side_cache {
	int level;
	int64_t size, line_size; /* bytes */
	int indexing;		 /* 0: direct-mapped; 1: indexed; 2: other */
	int write_policy;	 /* 0: write-back; 1: write-through; 2: other */
};

#define STOW_SIDE_CACHES 4

struct stow_locality_node {
	struct stow_access access[STOW_ACCESS_CLASSES];
	struct stow_side_cache caches[STOW_SIDE_CACHES]; /* by ascending level */
	size_t n_caches;
	int tier; /* -1: unknown, as of a node without memory */
	/* Nodes with memory in the order in which the kernel falls back to them, computed by its
	 * rule (find_next_best_node() in mm/page_alloc.c, Linux 5.16). Owned by the locality. */
	const int *fallback;
	size_t n_fallback;
};

struct stow_locality {
	bool known[STOW_NODE_STATES];
	struct stow_idset states[STOW_NODE_STATES];
	struct stow_locality_node *nodes; /* as the topology's, by index */
	size_t n_nodes;
	int *fallback; /* storage */

	struct stow_idset tiers; /* numbers of the memory tiers; a lower one is faster */
	int demotion;		 /* 0, 1; -1: unknown */

	int nodes_per_package; /* -1: unknown, or not the same for all packages */
	bool node_is_llc;      /* every node's CPUs share one last-level cache, its alone */
	/* What it is called: "NPS" on AMD and Hygon, "SNC" on Intel, else "". */
	const char *packaging;

	bool cpus_known;
	struct stow_idset possible_cpus, present_cpus;

	size_t n_broken;	/* files that are garbled, */
	struct stow_err broken; /* and the first of them */
};

/* Read it for the nodes of a topology that was read with STOW_TOPOLOGY_CPUS. Free with
 * stow_locality_done(). -ENOMEM. */
int stow_locality_read(struct stow_root *root, const struct stow_topology *topology,
		       struct stow_locality *ret, struct stow_err *err);
/* Read only possible_cpus and present_cpus: all else is unknown. Free likewise. */
void stow_locality_read_cpus(struct stow_root *root, struct stow_locality *ret);
void stow_locality_done(struct stow_locality *locality);

/* Return "possible", "online", "has_cpu", and so on: the name of the state's file. */
const char *stow_node_state_name(enum stow_node_state state);

/* Return "direct-mapped", "indexed" or "other"; NULL: unknown. */
const char *stow_side_cache_indexing(const struct stow_side_cache *cache);
/* Return "write-back", "write-through" or "other"; NULL: unknown. */
const char *stow_side_cache_policy(const struct stow_side_cache *cache);
