/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parts of a search, so that a test can replace the index by a scan of all machines. */

#include "scheduler/search/search.h"

/* A request in terms of the columns. */
struct stow_need {
	uint64_t cpus, memory;
	bool exclusive, one; /* `one`: on one NUMA node */
};

struct stow_need stow_need_of(const struct stow_want *want);

/* Whether a machine fits. This is exact, except for page sizes that are not multiples of each
 * other, for policy `restricted` with hugepages, and for machines with more NUMA nodes than the
 * planner tries in all combinations. In these cases the planner may still refuse. */
enum stow_fits {
	STOW_FITS_NOT,
	STOW_FITS_ON_ONE, /* NUMA node */
	STOW_FITS_ON_MANY,
};

enum stow_fits stow_search_fits(const struct stow_fleet *fleet, uint32_t m,
				const struct stow_want *want, const struct stow_need *need);

/* Return the NUMA node with the tightest fit for the whole request, or -1. */
int64_t stow_search_one_of(const struct stow_fleet *fleet, uint32_t m, const struct stow_want *want,
			   const struct stow_need *need);

/* Return the sort key of a machine; smaller is better. If one NUMA node does not suffice, the
 * distance comes first. Then the machine's rank: how full it is, then memory. With the rank's
 * CPU bits inverted the emptiest machine comes first. */
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

/* A source of candidates: all machines that fit, by key, then by index in the table. */
struct stow_candidates_from {
	bool (*next)(void *ctx, struct stow_candidate *ret);
	void *ctx;
};

/* Return the first candidate that fits as its key promised. -ENOSPC: there is none. */
int stow_search_try(struct stow_fleet *fleet, const struct stow_want *want,
		    const struct stow_need *need, struct stow_candidates_from from,
		    struct stow_found *ret);
