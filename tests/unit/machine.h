/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Topologies of machines that do not exist, for the tests of placement. */

#include "node/topology.h"

/* Make `nodes` nodes of `cores` cores with `threads` threads each and `memory` bytes, pools of 2Mi
 * and 1Gi pages without pages, distance 21 between all nodes. CPUs are numbered as x86 does: the
 * first threads of all cores, then the second ones. Caches hold `per_cache` cores (0: one a node). */
struct stow_topology *machine_new(int nodes, int cores, int threads, int per_cache,
				  uint64_t memory);

/* Take the node's CPUs away: memory only. */
void machine_without_cpus(struct stow_topology *machine, int node);
/* Take the node's memory and pools away. */
void machine_without_memory(struct stow_topology *machine, int node);
/* Set the distance, in both directions. */
void machine_distance(struct stow_topology *machine, int a, int b, int distance);
