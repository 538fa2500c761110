/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The machines in search order, as a B+ tree whose nodes have the maximum of each number below
 * them. A search for the next machine with 8 CPUs and 32 GiB on one NUMA node skips all branches
 * whose maxima are too small; when there is no such machine, usually the root tells so. A query is
 * a list of traits (traits.h) with the minimum of each.
 *
 * Machines are ordered by key, then by their index in the table. A node stores each number of its
 * 16 entries in one cache line. So a query of three numbers reads three lines of a node, and the
 * maximum of 16 takes a few instructions. Entries within a node are not sorted.
 *
 * An update writes only numbers that differ, and goes up only while a maximum changes. A machine
 * whose key changes moves to another leaf. Each node except the root is at least a quarter full, so
 * the number of nodes is at most a third of the number of machines; a node has 6.2 KB. Nodes are
 * reserved when a machine is added to the table, so later updates cannot fail.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "scheduler/fleet/traits.h"

#define STOW_INDEX_FAN 16

struct stow_index_node;

struct stow_index {
	struct stow_index_node **chunks;
	uint32_t n_chunks;
	uint32_t used, freed; /* nodes used so far; the first free node, or NONE */
	uint32_t root;	      /* NONE: nothing was entered yet */
	uint32_t *leaf_of;    /* by machine; NONE: not in the index */
	uint32_t n, room;
};

#define STOW_INDEX_NONE UINT32_MAX

/* A position in the order. */
struct stow_spot {
	uint64_t key;
	uint32_t m;
};

static inline bool stow_spot_before(struct stow_spot a, struct stow_spot b)
{
	return a.key < b.key || (a.key == b.key && a.m < b.m);
}

#define STOW_QUERY_MAX 24

struct stow_query {
	struct {
		enum stow_trait trait;
		uint32_t least;
	} wants[STOW_QUERY_MAX];
	uint32_t n;
	/* Policy restricted: no more NUMA nodes than the machine without containers would need
	 * for these CPUs and this memory (MiB). Machines that certainly need more are skipped. */
	bool restricted;
	uint32_t cpus, memory;
	/* Final check of a machine that meets all minimums. */
	bool (*accept)(const void *ctx, uint32_t m);
	const void *ctx;
};

void stow_index_init(struct stow_index *index);
void stow_index_done(struct stow_index *index);

/* Reserve nodes for the machines 0 to n - 1. -ENOMEM. */
int stow_index_reserve(struct stow_index *index, uint32_t n);

/* Add a machine for which nodes were reserved, or change its key and row. */
void stow_index_set(struct stow_index *index, uint32_t m, uint64_t key,
		    const struct stow_traits *row);
/* Remove a machine, if it is in the index. */
void stow_index_drop(struct stow_index *index, uint32_t m);

/* Find the first (or last) machine in [from, to) that matches the query. */
bool stow_index_find(const struct stow_index *index, const struct stow_query *query,
		     struct stow_spot from, struct stow_spot to, bool last, struct stow_spot *ret);

/* The cost by which stow_index_cheapest() chooses. `bound` gets the maxima of two numbers in a
 * branch, and returns the lowest cost that a machine of the branch can have. It must not
 * increase with these numbers. */
struct stow_cost {
	enum stow_trait cpus, memory;
	uint64_t (*bound)(const void *ctx, uint32_t cpus, uint32_t memory);
	uint64_t (*exact)(const void *ctx, uint32_t m);
	const void *ctx;
};

uint32_t stow_index_cheapest(const struct stow_index *index, const struct stow_cost *cost);
