/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The machine's topology: NUMA nodes with their CPUs, memory, hugepage pools, distances.
 *
 * Read from /sys/devices/system/{node,cpu} (Documentation/ABI/stable/sysfs-devices-node,
 * Documentation/admin-guide/cputopology.rst), /proc/zoneinfo and /proc/meminfo. Normal cases: holes
 * in the node numbering, nodes without CPUs, nodes without memory, offline CPUs, distances that
 * differ by direction, a kernel without NUMA (then there is one node 0 with everything).
 *
 * A file that exists and cannot be read or parsed is an error that names it. A missing file (in a
 * masked /sys, on an old kernel, in a copied tree) is replaced as follows; where the replacement is
 * a guess (*), it is recorded in `assumed`:
 *   list files (cpulist ...)   the mask files of the same name (cpumap ...)
 *   node/online                the nodeN folders
 *   cpu/online                 the cpuN folders whose own `online` is not 0
 *   cpu/isolated               no CPU is isolated (Linux before 4.1)
 *   a CPU on several nodes     the node that the CPU's folder links to, else (*) the lowest
 *   a CPU on no node           the node that its folder links to, else (*) the first one
 *   a node's meminfo           /proc/meminfo if it is the only node, else (*) 0 bytes
 *   zoneinfo                   (*) free memory counts as available
 *   distance                   (*) 10 to itself, 20 to others
 *   sibling lists              (*) each CPU is a core; packages by physical_package_id, or (*) one
 *   caches                     (*) the CPUs of one package on one node share the last-level cache
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "node/hugepage.h"

/* What to read beyond nodes, their CPUs, memory totals and distances. */
enum stow_topology_flags {
	STOW_TOPOLOGY_AVAILABLE = 1 << 0, /* mem_available, from /proc/zoneinfo */
	STOW_TOPOLOGY_POOLS = 1 << 1,	  /* hugepage pools */
	STOW_TOPOLOGY_CPUS = 1 << 2,	  /* cores, caches, packages of each CPU */
	STOW_TOPOLOGY_ALL = (1 << 3) - 1,
};

/* What no file tells, and is assumed as in the table above. */
enum stow_topology_assumed {
	STOW_ASSUMED_CPUS = 1 << 0, /* which CPUs are on the node */
	STOW_ASSUMED_CORES = 1 << 1,
	STOW_ASSUMED_CACHES = 1 << 2,
	STOW_ASSUMED_PACKAGES = 1 << 3,
	STOW_ASSUMED_MEMORY = 1 << 4, /* unknown: all amounts are 0 */
	STOW_ASSUMED_AVAILABLE = 1 << 5,
	STOW_ASSUMED_DISTANCES = 1 << 6,
	STOW_ASSUMED_END = 1 << 7,
};

struct stow_node {
	int id;
	struct stow_idset cpus; /* online CPUs */
	uint64_t mem_total;	/* bytes, MemTotal of the node's meminfo */
	uint64_t mem_free;	/* bytes */
	/* Bytes that can be allocated without reclaim going below the watermarks: free pages above
	 * each zone's high watermark, plus easily reclaimed pages. The node's counterpart of
	 * MemAvailable in /proc/meminfo (proc(5)), computed from the node's zones. Equal to
	 * mem_free without STOW_TOPOLOGY_AVAILABLE. */
	uint64_t mem_available;
	/* Bytes of all page frames that are online, without holes; also those that the kernel has
	 * set aside. 0: not known, as without STOW_TOPOLOGY_AVAILABLE. */
	uint64_t mem_present;
	struct stow_pool pools[STOW_POOLS_MAX]; /* by ascending size */
	size_t n_pools;
	unsigned int assumed; /* of enum stow_topology_assumed */
};

/* One online CPU. Equal numbers mean the same core, cache or package. They are indices, not the
 * kernel's ids, which repeat between packages. */
struct stow_cpu {
	int id;
	int node; /* node id */
	int core;
	int llc; /* last-level cache */
	int package;
};

struct stow_topology {
	struct stow_node *nodes; /* online nodes, by ascending id */
	size_t n_nodes;
	int *distance;		  /* n_nodes * n_nodes, row = from; by index, not id. 10 is local */
	struct stow_idset online; /* online CPUs */
	/* The online CPUs that the kernel's scheduler leaves alone: isolcpus= on its command line.
	 * Only tasks with an explicit affinity run there. */
	struct stow_idset isolated;
	struct stow_cpu *cpus; /* by ascending id; NULL without STOW_TOPOLOGY_CPUS */
	size_t n_cpus;
	bool numa;	      /* false: the kernel has no NUMA; node 0 stands for the machine */
	unsigned int assumed; /* by any node */
};

/* Read the topology; free it with stow_topology_free(). `flags`: enum stow_topology_flags, what
 * else to read.
 * -ENODATA: the tree has no online CPU; -EINVAL or -ERANGE: a malformed file. */
int stow_topology_read(struct stow_root *root, unsigned int flags,
		       struct stow_topology **ret_topology, struct stow_err *err);
void stow_topology_free(struct stow_topology *topology);

/* Read only the online CPUs, which is cheaper than the topology. Also works where the kernel has no
 * list of them. */
int stow_online_cpus(struct stow_root *root, struct stow_idset *ret, struct stow_err *err);

/* Return the node with that id, or NULL. */
const struct stow_node *stow_topology_node(const struct stow_topology *topology, int id);

/* Return the online CPU with that id, or NULL; also without STOW_TOPOLOGY_CPUS. */
const struct stow_cpu *stow_topology_cpu(const struct stow_topology *topology, int id);

/* Return the name of one of enum stow_topology_assumed: "cpus", "cores", "caches", "packages",
 * "memory", "available" or "distances"; NULL for anything else. */
const char *stow_topology_assumed_name(unsigned int what);

/* Return the distance between two nodes by id (10 = local), or -1 when either does not exist. */
int stow_topology_distance(const struct stow_topology *topology, int from, int to);

STOW_DEFINE_CLEANUP(stow_topology_free, struct stow_topology);
