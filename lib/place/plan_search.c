// SPDX-License-Identifier: Apache-2.0
/*
 * Choosing the nodes. Exact where there are few sets: always for one and two nodes, and for every
 * size on machines of a dozen nodes; otherwise sets are grown greedily from every node.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "place/plan_internal.h"

#define EXACT_NODES 20	  /* beyond, only one and two nodes are searched exactly */
#define EXACT_SETS  20000 /* sets to visit before the search turns greedy */
#define SEEDS	    256	  /* most nodes that the greedy search starts from */
#define BUCKETS	    1024  /* of distances: the kernel's are at most 255 each way */

/* The criteria by which sets of one size compare: the first difference decides, smaller is
 * better. */
enum {
	RANK_FAR,	  /* 1: the set lacks the node that `near` names */
	RANK_NO_MEMORY,	  /* 1: no node of it has memory */
	RANK_DISTANCE,	  /* between its nodes, and to the device of `near` */
	RANK_SPLIT_CORES, /* exclusive CPUs that cannot be whole cores */
	RANK_GROWN,	  /* bytes by which hugepage pools would grow */
	RANK_CPUS_LEFT,	  /* the tightest fit */
	RANK_MEMORY_LEFT,
	RANK_CRITERIA,
};

struct rank {
	uint64_t v[RANK_CRITERIA];
};

struct searcher {
	const struct stow_candidates *c;
	int *set;		  /* being built */
	struct stow_supply *sums; /* of its first 0, 1, 2 ... members */
	int *best;
	int n_best; /* 0: none yet */
	struct rank best_rank;
	int *order, *by_score; /* for the greedy search */
};

/* `star`: distances from the first member only, for sets too large to compare all pairs. */
static struct rank rank_of(const struct stow_candidates *c, const int *set, int n,
			   const struct stow_supply *sum, uint64_t grown, bool star)
{
	const struct stow_need *need = &c->need;
	uint64_t whole = need->cpus - need->cpus % (uint64_t)c->threads;
	bool asks = need->cpus || need->memory || need->n;
	struct rank rank = { 0 };

	rank.v[RANK_FAR] = c->near >= 0;
	rank.v[RANK_NO_MEMORY] = !sum->with_memory;
	for (int i = 0; i < n; i++) {
		int index = c->nodes[set[i]].index;

		if (set[i] == c->near)
			rank.v[RANK_FAR] = 0;
		if (c->near_index >= 0)
			rank.v[RANK_DISTANCE] +=
				(uint64_t)stow_pair_distance(c->capacity, index, c->near_index);
		for (int j = 0; j < (star ? (i > 0) : i); j++)
			rank.v[RANK_DISTANCE] += (uint64_t)stow_pair_distance(
				c->capacity, index, c->nodes[set[j]].index);
	}
	rank.v[RANK_SPLIT_CORES] = c->exclusive ? stow_saturating_sub(whole, sum->whole) : 0;
	rank.v[RANK_GROWN] = grown;
	/* Without a number there is no tight fit: prefer the node with the most CPUs. */
	if (!asks)
		rank.v[RANK_CPUS_LEFT] = UINT64_MAX - sum->cpus;
	else if (need->cpus)
		rank.v[RANK_CPUS_LEFT] = sum->cpus - need->cpus;
	rank.v[RANK_MEMORY_LEFT] =
		asks ? sum->memory - grown - need->memory : UINT64_MAX - sum->memory;
	return rank;
}

static bool better(const struct rank *a, const struct rank *b)
{
	for (size_t i = 0; i < STOW_ARRAY_SIZE(a->v); i++)
		if (a->v[i] != b->v[i])
			return a->v[i] < b->v[i];
	return false;
}

/* Keep the set that was built if it is the best so far. */
static void consider(struct searcher *s, int n, const struct stow_supply *sum, bool star)
{
	struct rank rank;
	uint64_t grown;

	if ((s->n_best && n > s->n_best) || !stow_supply_covers(sum, &s->c->need, &grown))
		return;
	rank = rank_of(s->c, s->set, n, sum, grown, star);
	if (s->n_best == n && !better(&rank, &s->best_rank))
		return;
	s->best_rank = rank;
	s->n_best = n;
	memcpy(s->best, s->set, (size_t)n * sizeof(*s->set));
}

/* Visit all sets of k candidates; depth is bounded by EXACT_NODES. */
static void enumerate(struct searcher *s, int depth, int from, int k)
{
	if (depth == k) {
		consider(s, k, &s->sums[k], false);
		return;
	}
	for (int i = from; i <= s->c->n - (k - depth) && !(s->c->any && s->n_best); i++) {
		const struct stow_supply *has = &s->c->nodes[i].has;

		/* The last member must supply all that is missing: most do not. */
		if (depth + 1 == k && (s->sums[depth].cpus + has->cpus < s->c->need.cpus ||
				       s->sums[depth].memory + has->memory < s->c->need.memory))
			continue;
		s->set[depth] = i;
		s->sums[depth + 1] = s->sums[depth];
		stow_supply_add(&s->sums[depth + 1], has, s->c->need.n);
		enumerate(s, depth + 1, i + 1, k);
	}
}

/* Return n over k, at most `max`. */
static uint64_t combinations(int n, int k, uint64_t max)
{
	uint64_t v = 1;

	for (int i = 1; i <= k; i++) {
		v = v * (uint64_t)(n - k + i) / (uint64_t)i;
		if (v >= max)
			return max;
	}
	return v;
}

static int descending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x < y) - (x > y);
}

/* Return a lower bound on the number of nodes: the largest nodes first, for CPUs and for memory
 * alone. */
static int fewest(const struct stow_candidates *c, uint64_t *scratch)
{
	uint64_t needs[2] = { c->need.cpus, c->need.memory };
	int bound = 1;

	for (int what = 0; what < 2; what++) {
		uint64_t sum = 0;
		int n = 0;

		for (int i = 0; i < c->n; i++)
			scratch[i] = what ? c->nodes[i].has.memory : c->nodes[i].has.cpus;
		qsort(scratch, (size_t)c->n, sizeof(*scratch), descending);
		while (n < c->n && sum < needs[what])
			sum += scratch[n++];
		if (n > bound)
			bound = n;
	}
	return bound;
}

static double part(uint64_t has, uint64_t need)
{
	return !need ? 0 : has >= need ? 1 : (double)has / (double)need;
}

/* Return how much of the missing amounts a node supplies, at most 1 for each kind. */
static double score(const struct stow_supply *has, const struct stow_need *need,
		    const struct stow_supply *sum)
{
	double v = part(has->cpus, stow_saturating_sub(need->cpus, sum->cpus)) +
		   part(has->memory, stow_saturating_sub(need->memory, sum->memory));

	for (size_t i = 0; i < need->n; i++)
		v += part(has->free[i] + has->grow[i],
			  stow_saturating_sub(need->count[i], sum->free[i] + sum->grow[i]));
	return v + (!sum->runs_on && has->runs_on ? 0.001 : 0);
}

/* Remove members that are not needed, the last ones first. */
static int prune(struct searcher *s, int n, struct stow_supply *sum)
{
	for (int i = n; i-- > 0 && n > 1;) {
		const struct stow_supply *out = &s->c->nodes[s->set[i]].has;
		struct stow_supply rest = *sum;
		uint64_t grown;

		rest.cpus -= out->cpus;
		rest.whole -= out->whole;
		rest.memory -= out->memory;
		rest.runs_on -= out->runs_on;
		rest.with_memory -= out->with_memory;
		for (size_t j = 0; j < s->c->need.n; j++) {
			rest.free[j] -= out->free[j];
			rest.grow[j] -= out->grow[j];
		}
		if (!stow_supply_covers(&rest, &s->c->need, &grown))
			continue;
		*sum = rest;
		memmove(&s->set[i], &s->set[i + 1], (size_t)(n - i - 1) * sizeof(*s->set));
		n--;
	}
	return n;
}

/* Add candidates in the given order until the need is covered. */
static void grow_along(struct searcher *s, int max_nodes)
{
	struct stow_supply sum = { 0 };
	int limit = s->n_best ? s->n_best : max_nodes, n = 0;
	uint64_t grown;

	/* Allow a few more, because some of the first may turn out superfluous. */
	while (n < s->c->n && n < limit + 8) {
		s->set[n] = s->order[n];
		stow_supply_add(&sum, &s->c->nodes[s->set[n++]].has, s->c->need.n);
		if (stow_supply_covers(&sum, &s->c->need, &grown))
			break;
	}
	if (!stow_supply_covers(&sum, &s->c->need, &grown))
		return;
	n = prune(s, n, &sum);
	if (n <= max_nodes)
		consider(s, n, &sum, true);
}

struct scored {
	double score;
	int node;
};

static int by_score_descending(const void *a, const void *b)
{
	const struct scored *x = a, *y = b;

	if (x->score != y->score)
		return x->score < y->score ? 1 : -1;
	return x->node - y->node;
}

/* Order by what is missing: always next the node that supplies most of it, wherever it is. Then all
 * other nodes, by what they have. */
static int order_by_score(struct searcher *s)
{
	struct stow_supply sum = { 0 };
	int n = s->c->n;
	_cleanup_free_ struct scored *scored = calloc((size_t)n + 1, sizeof(*scored));

	if (!scored)
		return -ENOMEM;
	for (int i = 0; i < n; i++)
		scored[i] = (struct scored){ score(&s->c->nodes[i].has, &s->c->need, &sum), i };
	qsort(scored, (size_t)n, sizeof(*scored), by_score_descending);
	for (int i = 0; i < n; i++)
		s->order[i] = scored[i].node;
	for (int at = 0; at < n; at++) {
		double most = 0;
		int found = -1, node;

		for (int i = at; i < n; i++) {
			double v = score(&s->c->nodes[s->order[i]].has, &s->c->need, &sum);

			if (v > most) {
				most = v;
				found = i;
			}
		}
		if (found < 0)
			break; /* nothing is missing any more */
		node = s->order[found];
		memmove(&s->order[at + 1], &s->order[at], (size_t)(found - at) * sizeof(*s->order));
		s->order[at] = node;
		stow_supply_add(&sum, &s->c->nodes[node].has, s->c->need.n);
	}
	memcpy(s->by_score, s->order, (size_t)n * sizeof(*s->order));
	return 0;
}

/* The seed, then its neighbours by distance; equal distances keep the order of score. */
static void order_by_distance(struct searcher *s, int seed)
{
	const struct stow_candidates *c = s->c;
	int start[BUCKETS + 1] = { 0 }, n = 0;

	s->order[n++] = seed;
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < c->n; i++) {
			int node = s->by_score[i], d;

			if (node == seed)
				continue;
			d = stow_pair_distance(c->capacity, c->nodes[seed].index,
					       c->nodes[node].index);
			d = d < 0 ? 0 : d >= BUCKETS ? BUCKETS - 1 : d;
			if (pass == 0)
				start[d + 1]++;
			else
				s->order[1 + start[d]++] = node;
		}
		for (int d = 0; pass == 0 && d < BUCKETS; d++)
			start[d + 1] += start[d];
	}
}

static int search_greedily(struct searcher *s, int max_nodes)
{
	int step = s->c->n / SEEDS + 1;

	if (order_by_score(s) < 0)
		return -ENOMEM;
	grow_along(s, max_nodes);
	for (int seed = 0; seed < s->c->n && !(s->c->any && s->n_best); seed += step) {
		order_by_distance(s, seed);
		grow_along(s, max_nodes);
	}
	return 0;
}

static int search(struct searcher *s, int max_nodes, uint64_t *scratch)
{
	const struct stow_candidates *c = s->c;
	uint64_t sets = EXACT_SETS;
	int k;

	for (k = fewest(c, scratch); k <= max_nodes && k <= c->n; k++) {
		if (k > 2) {
			uint64_t more = c->n > EXACT_NODES ? sets : combinations(c->n, k, sets);

			if (more >= sets)
				break;
			sets -= more;
		}
		enumerate(s, 0, 0, k);
		if (s->n_best)
			return 0;
	}
	return k <= max_nodes && k <= c->n ? search_greedily(s, max_nodes) : 0;
}

static int ascending(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

int stow_search(const struct stow_candidates *c, int max_nodes, int *ret_set)
{
	size_t room = (size_t)c->n + 1;
	_cleanup_free_ int *set = calloc(room, sizeof(*set));
	_cleanup_free_ int *order = calloc(room, sizeof(*order));
	_cleanup_free_ int *by_score = calloc(room, sizeof(*by_score));
	_cleanup_free_ uint64_t *scratch = calloc(room, sizeof(*scratch));
	_cleanup_free_ struct stow_supply *sums = NULL;
	struct searcher s = {
		.c = c, .set = set, .order = order, .by_score = by_score, .best = ret_set
	};
	struct stow_supply all = { 0 };
	uint64_t grown;

	sums = calloc(EXACT_NODES + 2, sizeof(*sums));
	if (!set || !order || !by_score || !scratch || !sums)
		return -ENOMEM;
	for (int i = 0; i < c->n; i++)
		stow_supply_add(&all, &c->nodes[i].has, c->need.n);
	if (!stow_supply_covers(&all, &c->need, &grown))
		return 0;
	s.sums = sums;
	if (search(&s, max_nodes, scratch) < 0)
		return -ENOMEM;
	qsort(ret_set, (size_t)s.n_best, sizeof(*ret_set), ascending);
	return s.n_best;
}
