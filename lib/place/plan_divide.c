// SPDX-License-Identifier: Apache-2.0
/* Dividing a request over the chosen nodes. Sums are exact, pages whole. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "place/plan_internal.h"

struct vessel {
	uint64_t cap;
	int i;
};

static int by_cap(const void *a, const void *b)
{
	const struct vessel *x = a, *y = b;

	if (x->cap != y->cap)
		return x->cap < y->cap ? -1 : 1;
	return x->i - y->i;
}

/* Add `amount` to out[], as evenly as the caps allow: the smallest cap first, each gets its part of
 * the rest. Return what did not fit. */
static uint64_t fill(uint64_t amount, struct vessel *vessels, int n, uint64_t *out)
{
	qsort(vessels, (size_t)n, sizeof(*vessels), by_cap);
	for (int i = 0; i < n; i++) {
		uint64_t even = amount / (uint64_t)(n - i);
		uint64_t give = STOW_MIN(vessels[i].cap, even);

		out[vessels[i].i] += give;
		amount -= give;
	}
	return amount;
}

struct divider {
	const struct stow_candidates *c;
	const int *set;
	int n;
	struct vessel *vessels;
	uint64_t *avail; /* memory left, bytes */
	uint64_t *part;	 /* what each node gets of the current resource */
};

static const struct stow_supply *has(const struct divider *d, int i)
{
	return &d->c->nodes[d->set[i]].has;
}

/* First use the pages that are free in the pools, then let the pools grow. */
static int divide_pages(struct divider *d, size_t p, struct stow_share *ret)
{
	uint64_t size = d->c->need.size[p], want = d->c->need.count[p], in_pools = 0, missing;

	memset(d->part, 0, (size_t)d->n * sizeof(*d->part));
	for (int i = 0; i < d->n; i++) {
		d->vessels[i] = (struct vessel){ has(d, i)->free[p], i };
		in_pools += has(d, i)->free[p];
	}
	missing = want - STOW_MIN(want, in_pools);
	fill(want - missing, d->vessels, d->n, d->part);
	for (int i = 0; i < d->n; i++) {
		ret[i].pages[p] = d->part[i];
		/* The pool cannot grow: the node has none of that size. */
		d->vessels[i] = (struct vessel){ has(d, i)->grow[p] ? d->avail[i] / size : 0, i };
		d->part[i] = 0;
	}
	if (fill(missing, d->vessels, d->n, d->part) > 0)
		return -ENOSPC;
	for (int i = 0; i < d->n; i++) {
		ret[i].pages[p] += d->part[i];
		d->avail[i] -= d->part[i] * size;
	}
	return 0;
}

static int divide_cpus(struct divider *d, struct stow_share *ret)
{
	uint64_t threads = (uint64_t)d->c->threads, want = d->c->need.cpus;

	memset(d->part, 0, (size_t)d->n * sizeof(*d->part));
	/* An exclusive container gets whole cores as far as possible. */
	if (d->c->exclusive && threads > 1) {
		uint64_t left;

		for (int i = 0; i < d->n; i++)
			d->vessels[i] = (struct vessel){ has(d, i)->whole / threads, i };
		left = fill(want / threads, d->vessels, d->n, d->part);
		want = want % threads + left * threads;
		for (int i = 0; i < d->n; i++)
			d->part[i] *= threads;
	}
	for (int i = 0; i < d->n; i++)
		d->vessels[i] = (struct vessel){ has(d, i)->cpus - d->part[i], i };
	if (fill(want, d->vessels, d->n, d->part) > 0)
		return -ENOSPC;
	for (int i = 0; i < d->n; i++)
		ret[i].cpus = (uint32_t)d->part[i];
	return 0;
}

static int divide_memory(struct divider *d, struct stow_share *ret)
{
	memset(d->part, 0, (size_t)d->n * sizeof(*d->part));
	for (int i = 0; i < d->n; i++)
		d->vessels[i] = (struct vessel){ d->avail[i], i };
	if (fill(d->c->need.memory, d->vessels, d->n, d->part) > 0)
		return -ENOSPC;
	for (int i = 0; i < d->n; i++)
		ret[i].memory = d->part[i];
	return 0;
}

int stow_divide(const struct stow_candidates *c, const int *set, int n, struct stow_share *ret)
{
	size_t room = (size_t)n + 1;
	_cleanup_free_ struct vessel *vessels = calloc(room, sizeof(*vessels));
	_cleanup_free_ uint64_t *avail = calloc(room, sizeof(*avail));
	_cleanup_free_ uint64_t *part_ = calloc(room, sizeof(*part_));
	struct divider d = { c, set, n, vessels, avail, part_ };
	int r = 0;

	if (!vessels || !avail || !part_)
		return -ENOMEM;
	memset(ret, 0, (size_t)n * sizeof(*ret));
	for (int i = 0; i < n; i++) {
		ret[i].node = c->capacity->nodes[c->nodes[set[i]].index].id;
		avail[i] = has(&d, i)->memory;
	}
	/* The largest pages first: they fit in the fewest places. */
	for (size_t p = c->need.n; p-- > 0 && r == 0;)
		r = divide_pages(&d, p, ret);
	if (r == 0)
		r = divide_memory(&d, ret);
	if (r == 0)
		r = divide_cpus(&d, ret);
	return r;
}

/* --- evenly --------------------------------------------------------------- */

/* A candidate that can take an even share, and what it could take beyond that. */
struct taker {
	int node; /* index in the candidates */
	int more; /* number of kinds of which it could take one more */
	struct stow_need load;
};

/* The kinds: page sizes, then memory, then CPUs. */
static uint64_t *kind(struct stow_need *need, size_t k)
{
	return k < need->n ? &need->count[k] : k == need->n ? &need->memory : &need->cpus;
}

/* Return the size of the pieces in which the remainder of a division by n is distributed: CPUs and
 * pages one by one, bytes of memory all at once. */
static uint64_t piece(const struct stow_need *need, size_t k, uint64_t over)
{
	return k == need->n ? over : 1;
}

static bool takes(const struct stow_candidates *c, const struct taker *t, size_t k, uint64_t more)
{
	struct stow_need load = t->load;
	uint64_t grown;

	*kind(&load, k) += more;
	return stow_supply_covers(&c->nodes[t->node].has, &load, &grown);
}

static int by_more(const void *a, const void *b)
{
	const struct taker *x = a, *y = b;

	return x->more != y->more ? y->more - x->more : x->node - y->node;
}

/* Divide by n; fill takers[] with the candidates that can take a share, those with most room first.
 * Return their number. */
static int find_takers(const struct stow_candidates *c, int n, struct taker *takers)
{
	struct stow_need even = c->need;
	uint64_t grown;
	int found = 0;

	for (size_t k = 0; k < even.n + 2; k++)
		*kind(&even, k) /= (uint64_t)n;
	for (int i = 0; i < c->n; i++) {
		struct stow_need all = c->need;
		struct taker *t = &takers[found];

		if (!stow_supply_covers(&c->nodes[i].has, &even, &grown) ||
		    !c->nodes[i].has.with_memory)
			continue;
		*t = (struct taker){ .node = i, .load = even };
		for (size_t k = 0; k < even.n + 2; k++) {
			uint64_t over = *kind(&all, k) % (uint64_t)n;

			if (over && takes(c, t, k, piece(&even, k, over)))
				t->more++;
		}
		if (i == c->near)
			t->more += STOW_POOLS_MAX + 2;
		found++;
	}
	qsort(takers, (size_t)found, sizeof(*takers), by_more);
	return found;
}

/* Distribute the remainder over the first n takers. False: it does not fit. */
static bool load_rest(const struct stow_candidates *c, int n, struct taker *takers)
{
	struct stow_need all = c->need;

	for (size_t k = all.n + 2; k-- > 0;) {
		uint64_t over = *kind(&all, k) % (uint64_t)n;
		uint64_t step = piece(&all, k, over);

		for (int i = 0; i < n && over; i++)
			if (takes(c, &takers[i], k, step)) {
				*kind(&takers[i].load, k) += step;
				over -= step;
			}
		if (over)
			return false;
	}
	return true;
}

/* Every node must get something. */
static int most_shares(const struct stow_candidates *c)
{
	uint64_t most = c->need.cpus ? c->need.cpus : c->need.memory;

	for (size_t i = 0; i < c->need.n && !c->need.cpus; i++)
		if (c->need.count[i] > most)
			most = c->need.count[i];
	return most && most < (uint64_t)c->n ? (int)most : c->n;
}

/* A cheap check before find_takers(), because it is made for every number of nodes. */
static bool may_take(const struct stow_candidates *c, int n)
{
	uint64_t cpus = c->need.cpus / (uint64_t)n, memory = c->need.memory / (uint64_t)n;
	int found = 0;

	for (int i = 0; i < c->n && found < n; i++)
		found += c->nodes[i].has.cpus >= cpus && c->nodes[i].has.memory >= memory;
	return found == n;
}

static int by_node(const void *a, const void *b)
{
	return ((const struct taker *)a)->node - ((const struct taker *)b)->node;
}

int stow_divide_evenly(const struct stow_candidates *c, int *ret_set, struct stow_share *ret)
{
	_cleanup_free_ struct taker *takers = calloc((size_t)c->n + 1, sizeof(*takers));

	if (!takers)
		return -ENOMEM;
	for (int n = most_shares(c); n > 0; n--) {
		if (!may_take(c, n) || find_takers(c, n, takers) < n || !load_rest(c, n, takers))
			continue;
		qsort(takers, (size_t)n, sizeof(*takers), by_node);
		for (int i = 0; i < n; i++) {
			const struct stow_need *load = &takers[i].load;

			ret_set[i] = takers[i].node;
			ret[i] = (struct stow_share){
				.node = c->capacity->nodes[c->nodes[takers[i].node].index].id,
				.cpus = (uint32_t)load->cpus,
				.memory = load->memory,
			};
			memcpy(ret[i].pages, load->count, sizeof(ret[i].pages));
		}
		return n;
	}
	return 0;
}
