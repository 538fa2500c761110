// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/index_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MERGE 12 /* two neighbours with at most that many entries are merged */

/* A set of traits that have changed. */
struct marks {
	uint64_t bits[(STOW_TRAITS + 63) / 64];
};

#define MARK(marks, d)	 ((marks)->bits[(d) / 64] |= UINT64_C(1) << ((d) % 64))
#define UNMARK(marks, d) ((marks)->bits[(d) / 64] &= ~(UINT64_C(1) << ((d) % 64)))

static inline bool any(const struct marks *marks)
{
	uint64_t all = 0;

	for (size_t i = 0; i < sizeof(marks->bits) / sizeof(*marks->bits); i++)
		all |= marks->bits[i];
	return all != 0;
}

/* Iterate over the marks. The loop body may clear the present mark. */
#define MARKS_FOR(d, marks)                                                                      \
	for (uint32_t _w = 0; _w < sizeof((marks)->bits) / sizeof(*(marks)->bits); _w++)         \
		for (uint64_t _left = (marks)->bits[_w]; _left; _left &= _left - 1)              \
			for (uint32_t d = _w * 64 + (uint32_t)__builtin_ctzll(_left), _once = 1; \
			     _once; _once = 0)

/* --- nodes ---------------------------------------------------------------- */

void stow_index_init(struct stow_index *index)
{
	*index = (struct stow_index){ .freed = NONE, .root = NONE };
}

void stow_index_done(struct stow_index *index)
{
	for (uint32_t i = 0; i < index->n_chunks; i++)
		free(index->chunks[i]);
	free(index->chunks);
	free(index->leaf_of);
	stow_index_init(index);
}

static int reserve_chunks(struct stow_index *index, uint32_t n)
{
	struct stow_index_node **more;

	if (n <= index->n_chunks)
		return 0;
	more = reallocarray(index->chunks, n, sizeof(struct stow_index_node *));
	if (!more)
		return -ENOMEM;
	index->chunks = more;
	/* Untouched memory takes no pages. */
	for (; index->n_chunks < n; index->n_chunks++) {
		more[index->n_chunks] = aligned_alloc(64, CHUNK * sizeof(struct stow_index_node));
		if (!more[index->n_chunks])
			return -ENOMEM;
	}
	return 0;
}

int stow_index_reserve(struct stow_index *index, uint32_t n)
{
	uint32_t *more;

	/* At least 4 entries per node: n/4 leaves, n/16 nodes above them ..., and the root. */
	if (reserve_chunks(index, (n / 3 + 16) / CHUNK + 1) < 0)
		return -ENOMEM;
	if (n <= index->room)
		return 0;
	more = reallocarray(index->leaf_of, n, sizeof(*more));
	if (!more)
		return -ENOMEM;
	index->leaf_of = more;
	while (index->room < n)
		more[index->room++] = NONE;
	return 0;
}

static uint32_t take_node(struct stow_index *index, bool leaf, uint32_t parent)
{
	uint32_t id = index->freed;
	struct stow_index_node *node;

	if (id == NONE)
		id = index->used++;
	node = node_of(index, id);
	if (id == index->freed)
		index->freed = node->parent;
	memset(node, 0, sizeof(*node));
	node->leaf = leaf;
	node->parent = parent;
	return id;
}

static void give_node(struct stow_index *index, uint32_t id)
{
	node_of(index, id)->parent = index->freed;
	index->freed = id;
}

static uint32_t entry_of(const struct stow_index_node *node, uint32_t ref)
{
	uint32_t i = 0;

	while (node->ref[i] != ref)
		i++;
	return i;
}

static void sum_up(struct stow_index_node *node)
{
	for (uint32_t d = 0; d < STOW_TRAITS; d++)
		node->most[d] = largest(node->v[d]);
}

/* Copy a node's maxima into its entry of the parent. */
static void show_above(struct stow_index *index, uint32_t id)
{
	struct stow_index_node *node = node_of(index, id), *parent = node_of(index, node->parent);
	uint32_t i = entry_of(parent, id);

	for (uint32_t d = 0; d < STOW_TRAITS; d++)
		parent->v[d][i] = node->most[d];
}

static void set_entry(struct stow_index *index, uint32_t id, uint32_t i, struct stow_spot spot,
		      uint32_t ref)
{
	struct stow_index_node *node = node_of(index, id);

	node->key[i] = spot.key;
	node->m[i] = spot.m;
	node->ref[i] = ref;
	if (node->leaf)
		index->leaf_of[ref] = id;
	else
		node_of(index, ref)->parent = id;
}

/* Move the last entry to the place of the removed one. `most` is not updated. */
static void drop_entry(struct stow_index_node *node, uint32_t i)
{
	uint32_t last = --node->n;

	for (uint32_t d = 0; d < STOW_TRAITS; d++) {
		node->v[d][i] = node->v[d][last];
		node->v[d][last] = 0;
	}
	node->key[i] = node->key[last];
	node->m[i] = node->m[last];
	node->ref[i] = node->ref[last];
}

static void move_entry(struct stow_index *index, uint32_t from, uint32_t i, uint32_t to)
{
	struct stow_index_node *a = node_of(index, from), *b = node_of(index, to);
	uint32_t at = b->n++;

	for (uint32_t d = 0; d < STOW_TRAITS; d++)
		b->v[d][at] = a->v[d][i];
	set_entry(index, to, at, spot_of(a, i), a->ref[i]);
	drop_entry(a, i);
}

/* --- changes -------------------------------------------------------------- */

/* Update the maxima above a node whose maxima have changed. */
static void climb(struct stow_index *index, uint32_t id, struct marks *changed)
{
	while (id != index->root && any(changed)) {
		struct stow_index_node *node = node_of(index, id);
		struct stow_index_node *parent = node_of(index, node->parent);
		uint32_t i = entry_of(parent, id);

		MARKS_FOR(d, changed)
		{
			uint32_t old = parent->v[d][i], most = parent->most[d];

			parent->v[d][i] = node->most[d];
			if (node->most[d] > most)
				parent->most[d] = node->most[d];
			else if (old == most)
				parent->most[d] = largest(parent->v[d]);
			if (parent->most[d] == most)
				UNMARK(changed, d);
		}
		id = node->parent;
	}
}

/* Split the full node at entry i of `parent`. `parent` is not full. */
static void split(struct stow_index *index, uint32_t parent, uint32_t i)
{
	struct stow_index_node *above = node_of(index, parent);
	uint32_t left = above->ref[i], order[FAN], right;
	struct stow_index_node *node = node_of(index, left);
	struct stow_spot middle;

	for (uint32_t k = 0; k < FAN; k++) {
		uint32_t at = k;

		for (; at > 0 && stow_spot_before(spot_of(node, k), spot_of(node, order[at - 1]));
		     at--)
			order[at] = order[at - 1];
		order[at] = k;
	}
	middle = spot_of(node, order[FAN / 2]);
	right = take_node(index, node->leaf, parent);
	for (uint32_t k = FAN; k-- > 0;)
		if (!stow_spot_before(spot_of(node, k), middle))
			move_entry(index, left, k, right);
	sum_up(node);
	sum_up(node_of(index, right));
	set_entry(index, parent, above->n++, middle, right);
	show_above(index, left);
	show_above(index, right);
}

static void grow_root(struct stow_index *index)
{
	uint32_t old = index->root, root = take_node(index, false, NONE);
	struct stow_index_node *node = node_of(index, root);

	memcpy(node->most, node_of(index, old)->most, sizeof(node->most));
	set_entry(index, root, node->n++, (struct stow_spot){ 0, 0 }, old);
	index->root = root;
	show_above(index, old);
	split(index, root, 0);
}

/* Return the branch that a position belongs to: the last one that begins at it or before. Where all
 * begin behind it, the first one, which begins there from now on. */
static uint32_t branch_for(struct stow_index_node *node, struct stow_spot spot)
{
	uint32_t below = 0;

	for (uint32_t i = 0; i < node->n; i++)
		below |= (uint32_t)!stow_spot_before(spot, spot_of(node, i)) << i;
	if (!below) {
		uint32_t first = extreme(node, all_of(node), false);

		node->key[first] = spot.key;
		node->m[first] = spot.m;
		return first;
	}
	return extreme(node, below, true);
}

static void enter(struct stow_index *index, struct stow_spot spot, const struct stow_traits *row)
{
	struct stow_index_node *node;
	struct marks changed = { { 0 } };
	uint32_t id, i;

	if (index->root == NONE)
		index->root = take_node(index, true, NONE);
	if (node_of(index, index->root)->n == FAN)
		grow_root(index);
	for (id = index->root; !(node = node_of(index, id))->leaf; id = node->ref[i]) {
		i = branch_for(node, spot);
		if (node_of(index, node->ref[i])->n == FAN) {
			split(index, id, i);
			i = branch_for(node, spot);
		}
	}
	i = node->n++;
	set_entry(index, id, i, spot, spot.m);
	for (uint32_t d = 0; d < STOW_TRAITS; d++) {
		node->v[d][i] = row->v[d];
		if (row->v[d] > node->most[d]) {
			node->most[d] = row->v[d];
			MARK(&changed, d);
		}
	}
	climb(index, id, &changed);
	index->n++;
}

/* One of two neighbours has too few entries: merge them, or distribute the entries evenly. */
static void even_out(struct stow_index *index, uint32_t parent, uint32_t left, uint32_t right)
{
	struct stow_index_node *above = node_of(index, parent);
	struct stow_index_node *a = node_of(index, left), *b = node_of(index, right);
	uint32_t at = entry_of(above, right);

	if (a->n + b->n <= MERGE) {
		while (b->n)
			move_entry(index, right, b->n - 1, left);
		sum_up(a);
		show_above(index, left);
		drop_entry(above, at);
		give_node(index, right);
		return;
	}
	while (a->n + 1 < b->n) {
		move_entry(index, right, extreme(b, all_of(b), false), left);
		set_entry(index, parent, at, spot_of(b, extreme(b, all_of(b), false)), right);
	}
	while (b->n + 1 < a->n) {
		uint32_t i = extreme(a, all_of(a), true);

		set_entry(index, parent, at, spot_of(a, i), right);
		move_entry(index, left, i, right);
	}
	sum_up(a);
	sum_up(b);
	show_above(index, left);
	show_above(index, right);
}

/* Refill a node with too few entries from a neighbour, which may leave the node above with too few.
 * A root with one branch is replaced by that. */
static void fill_up(struct stow_index *index, uint32_t id)
{
	struct stow_index_node *root;

	while (id != index->root && node_of(index, id)->n < LEAST) {
		uint32_t parent = node_of(index, id)->parent, before = 0, behind = 0, i;
		struct stow_index_node *above = node_of(index, parent);
		struct stow_spot here = spot_of(above, entry_of(above, id));

		for (i = 0; i < above->n; i++) {
			before |= (uint32_t)stow_spot_before(spot_of(above, i), here) << i;
			behind |= (uint32_t)stow_spot_before(here, spot_of(above, i)) << i;
		}
		if (behind)
			even_out(index, parent, id, above->ref[extreme(above, behind, false)]);
		else
			even_out(index, parent, above->ref[extreme(above, before, true)], id);
		id = parent;
	}
	root = node_of(index, index->root);
	if (root->leaf || root->n > 1)
		return;
	id = root->ref[0];
	give_node(index, index->root);
	index->root = id;
}

void stow_index_drop(struct stow_index *index, uint32_t m)
{
	struct marks changed = { { 0 } };
	struct stow_index_node *node;
	uint32_t id = m < index->room ? index->leaf_of[m] : NONE, i;

	if (id == NONE)
		return;
	node = node_of(index, id);
	i = entry_of(node, m);
	/* Mark the traits in which it was the maximum. */
	for (uint32_t d = 0; d < STOW_TRAITS; d++)
		if (node->v[d][i] == node->most[d])
			MARK(&changed, d);
	drop_entry(node, i);
	MARKS_FOR(d, &changed)
	{
		uint32_t most = largest(node->v[d]);

		if (most == node->most[d])
			UNMARK(&changed, d);
		node->most[d] = most;
	}
	climb(index, id, &changed);
	index->leaf_of[m] = NONE;
	index->n--;
	fill_up(index, id);
}

/* Return whether a machine that moves from `old` stays in its leaf. */
static bool stays(const struct stow_index *index, uint32_t id, struct stow_spot old,
		  struct stow_spot spot)
{
	const struct stow_index_node *above;
	struct stow_spot here;
	bool last = true;

	if (id == index->root)
		return true;
	above = node_of(index, node_of(index, id)->parent);
	here = spot_of(above, entry_of(above, id));
	if (stow_spot_before(spot, old))
		return !stow_spot_before(spot, here);
	for (uint32_t i = 0; i < above->n; i++) {
		if (!stow_spot_before(here, spot_of(above, i)))
			continue;
		if (!stow_spot_before(spot, spot_of(above, i)))
			return false;
		last = false;
	}
	return !last; /* the upper bound of the last branch is known only further up */
}

void stow_index_set(struct stow_index *index, uint32_t m, uint64_t key,
		    const struct stow_traits *row)
{
	struct stow_spot spot = { key, m };
	struct marks changed = { { 0 } };
	uint32_t id = index->leaf_of[m], i;
	struct stow_index_node *node;

	if (id == NONE) {
		enter(index, spot, row);
		return;
	}
	node = node_of(index, id);
	i = entry_of(node, m);
	if (node->key[i] != key && !stays(index, id, spot_of(node, i), spot)) {
		stow_index_drop(index, m);
		enter(index, spot, row);
		return;
	}
	node->key[i] = key;
	for (uint32_t d = 0; d < STOW_TRAITS; d++) {
		uint32_t old = node->v[d][i], most = node->most[d];

		if (old == row->v[d])
			continue;
		node->v[d][i] = row->v[d];
		if (row->v[d] > most)
			node->most[d] = row->v[d];
		else if (old == most)
			node->most[d] = largest(node->v[d]);
		if (node->most[d] != most)
			MARK(&changed, d);
	}
	climb(index, id, &changed);
}
