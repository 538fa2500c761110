/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parts of a search: so that a test can put another way to find the candidates, one that looks
 * at every machine, in the place of the index. */

#include "scheduler/search/search.h"

/* What is looked for, in the columns' terms. */
struct stow_need {
	uint64_t cpus, memory;
	bool exclusive, one; /* one NUMA node */
};

struct stow_need stow_need_of(const struct stow_want *want);

/* Whether a machine has it: exact, but for page sizes that do not go into each other's gaps, for
 * `restricted` with hugepages, and for machines with so many NUMA nodes that the planner does not
 * look at all sets of them. These the planner may still refuse. */
enum stow_fits {
	STOW_FITS_NOT,
	STOW_FITS_ON_ONE, /* of its NUMA nodes */
	STOW_FITS_ON_MANY,
};

enum stow_fits stow_search_fits(const struct stow_fleet *fleet, uint32_t m,
				const struct stow_want *want, const struct stow_need *need);

/* The tightest NUMA node that holds all of it, or -1. */
int64_t stow_search_one_of(const struct stow_fleet *fleet, uint32_t m, const struct stow_want *want,
			   const struct stow_need *need);

/* Smaller is better. The number of NUMA nodes and their distance come first, and only where more
 * than one is needed; then how full the machine is, then memory: its rank, which with all of its
 * CPUs' bits turned over sorts the emptiest first. */
#define STOW_SPREAD ((UINT64_C(1) << STOW_NEAR_SHIFT) - (UINT64_C(1) << STOW_RANK_CPUS_SHIFT))

static inline uint64_t stow_search_key(const struct stow_machine_columns *c, uint32_t m, bool one,
				       bool spread)
{
	uint64_t far = one ? 0 : (1 + (uint64_t)c->near[m]) << STOW_NEAR_SHIFT;

	return far | (c->rank[m] ^ (spread ? STOW_SPREAD : 0));
}

struct stow_candidate {
	uint64_t key;
	uint32_t m;
};

/* Where candidates come from: all machines that fit, in the order of their keys and, of those with
 * the same key, of their places in the table. */
struct stow_candidates_from {
	bool (*next)(void *ctx, struct stow_candidate *ret);
	void *ctx;
};

/* The first that is what its key promised; -ENOSPC: there is none. */
int stow_search_try(struct stow_fleet *fleet, const struct stow_want *want,
		    const struct stow_need *need, struct stow_candidates_from from,
		    struct stow_found *ret);
