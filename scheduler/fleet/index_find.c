// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/index_internal.h"

/* Return a mask of the entries that meet all minimums. */
static uint32_t passing(const struct stow_index_node *node, const struct stow_query *q)
{
	uint32_t ok[FAN], mask = 0;

	for (int i = 0; i < FAN; i++)
		ok[i] = UINT32_MAX;
	for (uint32_t w = 0; w < q->n; w++) {
		const uint32_t *v = node->v[q->wants[w].trait];
		uint32_t least = q->wants[w].least;

		for (int i = 0; i < FAN; i++)
			ok[i] &= v[i] >= least ? UINT32_MAX : 0;
	}
	/* If k NUMA nodes suffice on the machine without containers, k must suffice now. */
	for (int k = 0; q->restricted && k < STOW_TRAIT_SETS; k++)
		for (int i = 0; i < FAN; i++) {
			bool do_empty = ~node->v[STOW_TRAIT_EMPTY_CPUS + k][i] >= q->cpus &&
					~node->v[STOW_TRAIT_EMPTY_MEMORY + k][i] >= q->memory;
			bool do_now = node->v[STOW_TRAIT_MOST_CPUS + k][i] >= q->cpus &&
				      node->v[STOW_TRAIT_MOST_MEMORY + k][i] >= q->memory;

			ok[i] &= do_empty && !do_now ? 0 : UINT32_MAX;
		}
	for (int i = 0; i < FAN; i++)
		mask |= (ok[i] & 1) << i;
	return mask & all_of(node);
}

/* Of the branches that begin at or before `from`, only the last can have positions after `from`. */
static uint32_t within(const struct stow_index_node *node, struct stow_spot from,
		       struct stow_spot to)
{
	uint32_t mask = all_of(node), before = 0;

	for (uint32_t i = 0; i < node->n; i++) {
		if (!stow_spot_before(spot_of(node, i), to))
			mask &= ~(UINT32_C(1) << i);
		else if (stow_spot_before(spot_of(node, i), from))
			before |= UINT32_C(1) << i;
	}
	if (before)
		mask &= ~before | (node->leaf ? 0 : UINT32_C(1) << extreme(node, before, true));
	return mask;
}

static bool find(const struct stow_index *index, uint32_t id, const struct stow_query *q,
		 const struct stow_spot range[2], bool last, struct stow_spot *ret)
{
	const struct stow_index_node *node = node_of(index, id);
	uint32_t mask = passing(node, q);

	if (mask)
		mask &= within(node, range[0], range[1]);
	while (mask) {
		uint32_t i = extreme(node, mask, last);

		mask &= ~(UINT32_C(1) << i);
		if (!node->leaf) {
			if (find(index, node->ref[i], q, range, last, ret))
				return true;
		} else if (!q->accept || q->accept(q->ctx, node->m[i])) {
			*ret = spot_of(node, i);
			return true;
		}
	}
	return false;
}

bool stow_index_find(const struct stow_index *index, const struct stow_query *query,
		     struct stow_spot from, struct stow_spot to, bool last, struct stow_spot *ret)
{
	const struct stow_spot range[] = { from, to };

	return index->n && find(index, index->root, query, range, last, ret);
}

struct best {
	uint64_t cost;
	uint32_t m;
};

static bool cheaper(uint64_t cost, uint32_t m, const struct best *best)
{
	return cost < best->cost || (cost == best->cost && m < best->m);
}

/* Search the branch with the lowest bound first; then most others can be skipped. */
static void cheapest(const struct stow_index *index, uint32_t id, const struct stow_cost *cost,
		     struct best *best)
{
	const struct stow_index_node *node = node_of(index, id);
	struct best at[FAN];

	for (uint32_t i = 0; i < node->n; i++) {
		at[i].m = ~node->v[STOW_TRAIT_FIRST][i];
		at[i].cost = node->leaf ? cost->exact(cost->ctx, node->m[i])
					: cost->bound(cost->ctx, node->v[cost->cpus][i],
						      node->v[cost->memory][i]);
	}
	for (uint32_t left = all_of(node); left;) {
		uint32_t first = (uint32_t)__builtin_ctz(left);

		for (uint32_t more = left; more; more &= more - 1) {
			uint32_t i = (uint32_t)__builtin_ctz(more);

			if (cheaper(at[i].cost, at[i].m, &at[first]))
				first = i;
		}
		if (!cheaper(at[first].cost, at[first].m, best))
			return;
		if (node->leaf)
			*best = at[first];
		else
			cheapest(index, node->ref[first], cost, best);
		left &= ~(UINT32_C(1) << first);
	}
}

uint32_t stow_index_cheapest(const struct stow_index *index, const struct stow_cost *cost)
{
	struct best best = { UINT64_MAX, NONE };

	if (index->n)
		cheapest(index, index->root, cost, &best);
	return best.m;
}
