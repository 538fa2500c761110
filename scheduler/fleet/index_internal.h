/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A node of the index, shared by index.c (updates) and index_find.c (queries). */

#include "scheduler/fleet/index.h"

#define FAN   STOW_INDEX_FAN
#define NONE  STOW_INDEX_NONE
#define LEAST 4	 /* minimum of entries, except in the root */
#define CHUNK 32 /* nodes per allocation */

struct stow_index_node {
	uint32_t v[STOW_TRAITS][FAN]; /* of its entries; 0 after the last one */
	uint64_t key[FAN]; /* with m: the machine's position, or a lower bound of the branch's
			      positions */
	uint32_t m[FAN];
	uint32_t ref[FAN]; /* machine (in a leaf) or node */
	uint32_t most[STOW_TRAITS];
	uint32_t parent; /* of a free node: the next free node */
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

/* Return the first, or last, of the entries in `mask`. */
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
