/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The machines in the order in which a search wants them, as a B+ tree whose nodes know the largest
 * numbers below them. "The first machine from here on that has 8 CPUs and 32 GiB on one NUMA node"
 * goes straight down to it, past all branches that have it not; "there is none" is mostly said by
 * the root. What is asked is a list of numbers of a row (traits.h) with the least that each must
 * be.
 *
 * The order: a key, then the machine's place in the table. The numbers of a node's 16 entries lie
 * side by side, one cache line for each number, so that a question of three numbers reads three
 * lines of a node, and the largest of 16 is a few instructions. Entries within a node are in no
 * order.
 *
 * An update changes only the numbers that differ, and goes up only as long as a largest one has
 * changed. A machine whose key has changed moves to another leaf. Each node but the root is at
 * least a quarter full: so there are at most as many nodes as a third of the machines, of 6.2 KB
 * each. They are reserved when a machine gets its place in the table; after that nothing fails.
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
	uint32_t used, freed; /* nodes ever taken; the first of those given back, or NONE */
	uint32_t root;	      /* NONE: nothing was ever entered */
	uint32_t *leaf_of;    /* by machine; NONE: it is not in here */
	uint32_t n, room;
};

#define STOW_INDEX_NONE UINT32_MAX

/* Where something is in the order. */
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
	/* As few NUMA nodes as the machine without containers would need: these CPUs and this
	 * memory (MiB). Passed over is what surely needs more. */
	bool restricted;
	uint32_t cpus, memory;
	/* The last word on a machine, which has all that is wanted. */
	bool (*accept)(const void *ctx, uint32_t m);
	const void *ctx;
};

void stow_index_init(struct stow_index *index);
void stow_index_done(struct stow_index *index);

/* Room for the machines 0 to n - 1. -ENOMEM. */
int stow_index_reserve(struct stow_index *index, uint32_t n);

/* Enters a machine for which room was reserved, or changes its key and row. */
void stow_index_set(struct stow_index *index, uint32_t m, uint64_t key,
		    const struct stow_traits *row);
/* Takes it out, if it is there. */
void stow_index_drop(struct stow_index *index, uint32_t m);

/* The first (or last) machine in [from, to) that has what is wanted. */
bool stow_index_find(const struct stow_index *index, const struct stow_query *query,
		     struct stow_spot from, struct stow_spot to, bool last, struct stow_spot *ret);

/* The machine with the least cost; of several the one that is first in the table. NONE: there are
 * none. `bound` gets the largest that two numbers are within a branch, and says what a machine
 * there costs at the least: it must not grow with them. */
struct stow_cost {
	enum stow_trait cpus, memory;
	uint64_t (*bound)(const void *ctx, uint32_t cpus, uint32_t memory);
	uint64_t (*exact)(const void *ctx, uint32_t m);
	const void *ctx;
};

uint32_t stow_index_cheapest(const struct stow_index *index, const struct stow_cost *cost);

/* Whether all of it is as it should be, for tests: "" or what is not. */
const char *stow_index_check(const struct stow_index *index);
