/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What `numastow topology` shows, read by cmd_topology.c, written by topology_text.c and
 * topology_json.c. */

#include "model/usage.h"
#include "node/device.h"
#include "node/memblock.h"
#include "node/topology.h"

struct topology_view {
	const struct stow_topology *topology; /* without nodes in a tree of memory blocks only */
	const struct stow_memblocks *blocks;
	const struct stow_devices *devices;
	const struct stow_usage *usage; /* NULL: nobody keeps a ledger here */
};

/* What one node has given away. */
struct topology_given {
	struct stow_idset exclusive;
	uint32_t shared_cpus;
	uint64_t memory;
	const struct stow_node_usage *pools; /* its pools[].promised; NULL when there are none */
	bool fenced;
};

void topology_given(const struct stow_usage *usage, const struct stow_node *node,
		    struct topology_given *ret);

/* The groups of a node's CPUs that share a core, a last-level cache or a package: *ret is an
 * array of sets by first CPU, to be freed by the caller. Returns how many, or -ENOMEM. */
enum topology_level { TOPOLOGY_CORE, TOPOLOGY_LLC, TOPOLOGY_PACKAGE };
int topology_groups(const struct stow_topology *topology, const struct stow_idset *cpus,
		    enum topology_level level, struct stow_idset **ret);

#define TOPOLOGY_LINE_WIDTH 96

/* The distances of a machine with several nodes, as text: as a table; where that would be too wide,
 * as one with like neighbours joined, or else as lists. 0 or -ENOMEM. */
int topology_print_distances(const struct stow_topology *topology);

int topology_print_text(const struct topology_view *view);
int topology_print_json(const struct topology_view *view);
