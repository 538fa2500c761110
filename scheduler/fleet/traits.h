/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The most that can be placed on a machine, as a row of numbers (traits). A request is converted to
 * a few minimums of traits; a machine below one of them cannot fit. The maxima of several machines
 * are a row, too, which is below a minimum only when all of the machines are. So the index
 * (index.h) skips whole branches. A machine that meets all minimums may still not fit: the search
 * then checks the machine itself.
 *
 * Bytes are in MiB, rounded up on both sides, so that a comparison never rejects a machine that
 * fits.
 *
 * A request for one NUMA node needs CPUs and memory on the same one, but the maxima of a machine
 * may be on two. Therefore a row has, for several numbers of CPUs (steps), the most memory of one
 * NUMA node with at least that many free CPUs. A request uses the next lower step.
 */

#include <stdint.h>

#include "base/math.h"
#include "scheduler/fleet/report.h"

#define STOW_TRAIT_STEPS 24 /* numbers of CPUs */
#define STOW_TRAIT_SIZES 8  /* groups of page sizes */
#define STOW_TRAIT_SETS	 4  /* 1, 2, 3, 4 NUMA nodes together */

enum stow_trait {
	/* For each step: 1 plus the most memory of one NUMA node with that many free CPUs (or
	 * CPUs that may become exclusive); 0: no NUMA node has that many. Only NUMA nodes that
	 * are open to all requests. */
	STOW_TRAIT_FREE = 0,
	STOW_TRAIT_TAKEABLE = STOW_TRAIT_FREE + STOW_TRAIT_STEPS,
	/* For each group of page sizes: bytes in free pages, and in memory that could become
	 * pages. The most of one NUMA node; the sum of all. */
	STOW_TRAIT_PAGES = STOW_TRAIT_TAKEABLE + STOW_TRAIT_STEPS,
	STOW_TRAIT_ALL_PAGES = STOW_TRAIT_PAGES + STOW_TRAIT_SIZES,
	/* The most free CPUs, and memory, of 1 to 4 NUMA nodes together. */
	STOW_TRAIT_MOST_CPUS = STOW_TRAIT_ALL_PAGES + STOW_TRAIT_SIZES,
	STOW_TRAIT_MOST_MEMORY = STOW_TRAIT_MOST_CPUS + STOW_TRAIT_SETS,
	/* The same for the machine without containers, as complements: the maximum over machines
	 * is the smallest machine. Memory is rounded down. */
	STOW_TRAIT_EMPTY_CPUS = STOW_TRAIT_MOST_MEMORY + STOW_TRAIT_SETS,
	STOW_TRAIT_EMPTY_MEMORY = STOW_TRAIT_EMPTY_CPUS + STOW_TRAIT_SETS,
	STOW_TRAIT_MOST_TAKEABLE = STOW_TRAIT_EMPTY_MEMORY + STOW_TRAIT_SETS,
	/* Sums over all NUMA nodes. ALL_MEMORY counts NUMA nodes with CPUs only, ANY_MEMORY all
	 * that are open. */
	STOW_TRAIT_ALL_CPUS,
	STOW_TRAIT_ALL_TAKEABLE,
	STOW_TRAIT_ALL_MEMORY,
	STOW_TRAIT_ANY_MEMORY,
	STOW_TRAIT_NONEXCLUSIVE,
	STOW_TRAIT_FIRST, /* complement of the machine's index in the table */
	STOW_TRAITS
};

struct stow_traits {
	uint32_t v[STOW_TRAITS];
};

/* State while a row is computed: sums that need more bits than the row has. */
struct stow_traits_maker {
	struct stow_traits *row;
	uint64_t cpus, takeable, memory, any_memory;
	uint64_t most_cpus[STOW_TRAIT_SETS], most_memory[STOW_TRAIT_SETS];
	uint64_t pages[STOW_TRAIT_SIZES];
};

struct stow_room;
struct stow_machine;

/* Begin a row, add every NUMA node on which something may be placed, finish the row. */
void stow_traits_begin(struct stow_traits_maker *maker, struct stow_traits *row);
void stow_traits_add(struct stow_traits_maker *maker, const struct stow_numa *numa,
		     const struct stow_room *room);
void stow_traits_end(struct stow_traits_maker *maker, const struct stow_machine *machine,
		     uint32_t nonexclusive);

/* Convert bytes to MiB, rounded up, at most UINT32_MAX. */
static inline uint32_t stow_trait_bytes(uint64_t bytes)
{
	uint64_t mib = bytes ? ((bytes - 1) >> 20) + 1 : 0;

	return stow_saturating_u32(mib);
}

/* The same plus one, for traits in which 0 means "no NUMA node". */
static inline uint32_t stow_trait_bytes_of_one(uint64_t bytes)
{
	uint32_t mib = stow_trait_bytes(bytes);

	return stow_saturating_u32((uint64_t)mib + 1);
}

/* Return the step for a number of CPUs: the highest that is not above it. */
unsigned int stow_trait_step(uint64_t cpus);

/* Return the group of a page size. Sizes that differ by a factor of 2^8 or more may share a
 * group, which has the larger number of both. */
unsigned int stow_trait_size(uint64_t page_size);
