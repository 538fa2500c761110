/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A node of the index, for those who change it and for those who ask it. */

#include "scheduler/fleet/index.h"

#define FAN   STOW_INDEX_FAN
#define NONE  STOW_INDEX_NONE
#define LEAST 4	 /* entries of a node that is not the root */
#define CHUNK 32 /* nodes that are allocated together */

struct stow_index_node {
	uint32_t v[STOW_TRAITS][FAN]; /* of its entries; 0 behind the last one */
	uint64_t key[FAN];	      /* with m: of a machine, or at most that of all in a branch */
	uint32_t m[FAN];
	uint32_t ref[FAN]; /* a machine, or a node */
	uint32_t most[STOW_TRAITS];
	uint32_t parent; /* of a free one: the next free one */
	uint32_t n;
	bool leaf;
} __attribute__((aligned(64)));

static inline struct stow_index_node *node_of(const struct stow_index *index, uint32_t id)
{
	return &index->chunks[id / CHUNK][id % CHUNK];
}

static inline struct stow_spot spot_of(const struct stow_index_node *node, uint32_t i)
{
	return (struct stow_spot){ node->key[i], node->m[i] };
}

static inline uint32_t largest(const uint32_t v[FAN])
{
	uint32_t most = 0;

	for (int i = 0; i < FAN; i++)
		most = v[i] > most ? v[i] : most;
	return most;
}

/* The entry that is first, or last, in the order, of those in `mask`. */
static inline uint32_t extreme(const struct stow_index_node *node, uint32_t mask, bool last)
{
	uint32_t best = (uint32_t)__builtin_ctz(mask);

	for (mask &= mask - 1; mask; mask &= mask - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(mask);

		if (stow_spot_before(spot_of(node, last ? best : i),
				     spot_of(node, last ? i : best)))
			best = i;
	}
	return best;
}

static inline uint32_t all_of(const struct stow_index_node *node)
{
	return (UINT32_C(1) << node->n) - 1;
}
