/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a machine can give at the most, as a row of numbers that are compared one by one: a request
 * becomes a few "this number is at least that", and a machine that misses one cannot have it. The
 * largest of each over several machines is a row, too, and misses a number only when all of them
 * do. So an index (index.h) passes over whole branches. A row that misses nothing may still belong
 * to a machine that cannot have it: the search looks at the machine itself.
 *
 * Bytes are in MiB, rounded up, which keeps every order: what is at least as much stays so.
 *
 * CPUs and memory must be on the same NUMA node for a request that wants one, and the largest
 * numbers of a machine may be on two. Therefore a row has, for each of some numbers of CPUs, the
 * most memory that one NUMA node with so many free CPUs has. In between the next smaller number
 * stands.
 */

#include <stdint.h>

#include "scheduler/fleet/report.h"

#define STOW_TRAIT_STEPS 24 /* numbers of CPUs */
#define STOW_TRAIT_SIZES 8  /* groups of page sizes */
#define STOW_TRAIT_SETS	 4  /* 1, 2, 3, 4 NUMA nodes together */

enum stow_trait {
	/* Memory and one, of the NUMA node that has most of those with so many free CPUs, or CPUs
	 * that may become exclusive; 0: none has so many. Only those open to everybody. */
	STOW_TRAIT_FREE = 0,
	STOW_TRAIT_TAKEABLE = STOW_TRAIT_FREE + STOW_TRAIT_STEPS,
	/* Bytes in pages of that size that are free or that memory would hold: of the NUMA node
	 * that has most, memory and pages added up; and of all of them. */
	STOW_TRAIT_PAGES = STOW_TRAIT_TAKEABLE + STOW_TRAIT_STEPS,
	STOW_TRAIT_ALL_PAGES = STOW_TRAIT_PAGES + STOW_TRAIT_SIZES,
	/* Free CPUs, and memory, of the 1 to 4 NUMA nodes that have most. */
	STOW_TRAIT_MOST_CPUS = STOW_TRAIT_ALL_PAGES + STOW_TRAIT_SIZES,
	STOW_TRAIT_MOST_MEMORY = STOW_TRAIT_MOST_CPUS + STOW_TRAIT_SETS,
	/* The same of the machine without any container; the complement, so that the largest is
	 * the one that has least. Memory is rounded down. */
	STOW_TRAIT_EMPTY_CPUS = STOW_TRAIT_MOST_MEMORY + STOW_TRAIT_SETS,
	STOW_TRAIT_EMPTY_MEMORY = STOW_TRAIT_EMPTY_CPUS + STOW_TRAIT_SETS,
	STOW_TRAIT_MOST_TAKEABLE = STOW_TRAIT_EMPTY_MEMORY + STOW_TRAIT_SETS,
	/* Of all NUMA nodes; memory of those with CPUs, and of all that give any. */
	STOW_TRAIT_ALL_CPUS,
	STOW_TRAIT_ALL_TAKEABLE,
	STOW_TRAIT_ALL_MEMORY,
	STOW_TRAIT_ANY_MEMORY,
	STOW_TRAIT_UNOWNED,
	STOW_TRAIT_FIRST, /* the complement of the machine's place in the table */
	STOW_TRAITS
};

struct stow_traits {
	uint32_t v[STOW_TRAITS];
};

/* A row in the making: sums that do not fit into it. */
struct stow_traits_maker {
	struct stow_traits *row;
	uint64_t cpus, takeable, memory, any_memory;
	uint64_t most_cpus[STOW_TRAIT_SETS], most_memory[STOW_TRAIT_SETS];
	uint64_t pages[STOW_TRAIT_SIZES];
};

struct stow_room;
struct stow_machine;

/* Begin a row, add every NUMA node that gives anything, end it. */
void stow_traits_begin(struct stow_traits_maker *maker, struct stow_traits *row);
void stow_traits_add(struct stow_traits_maker *maker, const struct stow_numa *numa,
		     const struct stow_room *room);
void stow_traits_end(struct stow_traits_maker *maker, const struct stow_machine *machine,
		     uint32_t unowned);

/* MiB, rounded up; UINT32_MAX stands for all that is more. */
static inline uint32_t stow_trait_bytes(uint64_t bytes)
{
	uint64_t mib = bytes ? ((bytes - 1) >> 20) + 1 : 0;

	return mib < UINT32_MAX ? (uint32_t)mib : UINT32_MAX;
}

/* The same plus one: 0 stands for "none". */
static inline uint32_t stow_trait_bytes_of_one(uint64_t bytes)
{
	uint32_t mib = stow_trait_bytes(bytes);

	return mib < UINT32_MAX ? mib + 1 : UINT32_MAX;
}

/* The step of a number of CPUs: the largest that is not above it. */
unsigned int stow_trait_step(uint64_t cpus);

/* The group of a page size. Two sizes may share one when one is 2^8 times the other or more often
 * so: it then has the larger number. */
unsigned int stow_trait_size(uint64_t page_size);
