/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The output of `numastow topology`: read by cmd_topology.c, printed by topology_text.c and
 * topology_json.c, which share topology_view.c. */

#include "model/usage.h"
#include "node/device.h"
#include "node/memblock.h"
#include "node/topology.h"

struct topology_view {
	const struct stow_topology *topology; /* may have no nodes: only memory blocks */
	const struct stow_memblocks *blocks;
	const struct stow_devices *devices;
	const struct stow_usage *usage; /* NULL: the tree has no ledger */
};

/* What one node has granted. */
struct topology_given {
	struct stow_idset exclusive;
	uint32_t shared_cpus;
	uint64_t memory;
	const struct stow_node_usage *pools; /* for its pools[].promised; NULL: none */
	bool fenced;
};

void topology_given(const struct stow_usage *usage, const struct stow_node *node,
		    struct topology_given *ret);

/* Group a node's CPUs by core, last-level cache or package: *ret is an array of sets, sorted by
 * first CPU, which the caller frees. Returns their number, or -ENOMEM. */
enum topology_level { TOPOLOGY_CORE, TOPOLOGY_LLC, TOPOLOGY_PACKAGE };
int topology_groups(const struct stow_topology *topology, const struct stow_idset *cpus,
		    enum topology_level level, struct stow_idset **ret);

#define TOPOLOGY_LINE_WIDTH 96

/* Print the distances of a machine with several nodes: as a table; if that is too wide, as a
 * table in which neighbours with equal distances are joined; if that is too wide, as lists. 0 or
 * -ENOMEM. */
int topology_print_distances(const struct stow_topology *topology);

int topology_print_text(const struct topology_view *view);
int topology_print_json(const struct topology_view *view);
