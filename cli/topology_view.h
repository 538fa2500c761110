/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The output of `numastow topology`: read by topology_load.c, printed by topology_text.c and
 * topology_json.c, which share topology_view.c. Its other views are in cli/view. */

#include "cli/cli.h"
#include "ledger/ledger.h"
#include "model/usage.h"
#include "node/device.h"
#include "node/locality.h"
#include "node/measured.h"
#include "node/memblock.h"
#include "node/topology.h"

struct topology_view {
	const struct stow_topology *topology; /* may have no nodes: only memory blocks */
	const struct stow_memblocks *blocks;
	const struct stow_devices *devices;
	const struct stow_locality *locality;
	const struct stow_measured *measured; /* without pairs: nothing was measured and kept */
	const struct stow_usage *usage;	      /* NULL: the tree has no ledger */
	const struct stow_idset *wanted;      /* print these nodes only; NULL: all */
};

/* Everything that is read, and the view of it. */
struct topology_data {
	struct stow_topology *topology;
	struct stow_memblocks blocks;
	struct stow_devices devices;
	struct stow_locality locality;
	struct stow_measured measured;
	struct stow_ledger *ledger; /* NULL: the tree has none, or the user may not read it */
	struct stow_usage *usage;
	struct topology_view view;
};

/* What a view shows beyond nodes and CPUs. */
enum topology_part {
	TOPOLOGY_MEMORY = 1 << 0, /* amounts and hugepage pools */
	TOPOLOGY_BLOCKS = 1 << 1, /* with TOPOLOGY_MEMORY: and their states */
	TOPOLOGY_DEVICES = 1 << 2,
	TOPOLOGY_LOCALITY = 1 << 3, /* otherwise only which CPUs are possible and present */
	TOPOLOGY_LEDGER = 1 << 4,
	TOPOLOGY_USAGE = 1 << 5,    /* with TOPOLOGY_LEDGER: what it says of each node */
	TOPOLOGY_MEASURED = 1 << 6, /* what `numastow measure --save` has kept */
	TOPOLOGY_EVERYTHING = (1 << 7) - 1,
};

/* Read these parts of the machine. Print one line to standard error about what is not shown, for
 * lack of rights or because a file is garbled. Free with topology_unload(). */
int topology_load(struct stow_root *root, unsigned int parts, struct topology_data *ret,
		  struct stow_err *err);
void topology_unload(struct topology_data *data);

/* Return whether a node is printed. */
bool topology_wants(const struct topology_view *view, int node);

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
 * first CPU, which the caller frees. Return their number, or -ENOMEM. */
enum topology_level { TOPOLOGY_CORE, TOPOLOGY_LLC, TOPOLOGY_PACKAGE };
int topology_groups(const struct stow_topology *topology, const struct stow_idset *cpus,
		    enum topology_level level, struct stow_idset **ret);

#define TOPOLOGY_LINE_WIDTH 96
/* Return `most`, or the width of the terminal, if that is less. */
static inline size_t topology_width(size_t most)
{
	int width = cli_width();

	return width && (size_t)width < most ? (size_t)width : most;
}

/* Print the distances of a machine with several nodes: as a table; if that is too wide, as a
 * table in which neighbours with equal distances are joined; if that is too wide, as lists. 0 or
 * -ENOMEM. */
int topology_print_distances(const struct stow_topology *topology);

int topology_print_text(const struct topology_view *view);
int topology_print_json(const struct topology_view *view);
