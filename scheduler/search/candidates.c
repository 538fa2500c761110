// SPDX-License-Identifier: Apache-2.0
/* Searching all machines: candidates from the index, in order, until one fits. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/math.h"
#include "base/parse.h"
#include "scheduler/search/search_internal.h"

#define BEST 16 /* candidates checked before one that needs several NUMA nodes is accepted */

/* --- candidates ----------------------------------------------------------- */

/* The machines of one distance, which are adjacent in the index, sorted by rank; and the part of
 * them that is left to search. */
struct group {
	uint32_t near;
	struct stow_spot low, from, to; /* `low`: machines before it have too few CPUs */
	struct stow_spot end; /* of those with equally many CPUs, when the emptiest come first */
	struct stow_candidate head;
	bool has; /* `head` is valid */
};

#define NEARS 256

struct walk {
	const struct stow_fleet *fleet;
	const struct stow_want *want;
	const struct stow_need *need;
	enum stow_fits looks_for;
	struct stow_query query;
	struct group groups[NEARS];
	struct group *taken; /* its head was returned; the next one is searched on demand */
	uint32_t n, at;	     /* `at`: the present group, for several NUMA nodes */
};

static bool accept(const void *ctx, uint32_t m)
{
	const struct walk *w = ctx;

	return stow_search_fits(w->fleet, m, w->want, w->need) == w->looks_for;
}

static void want_least(struct stow_query *q, uint32_t trait, uint64_t least)
{
	q->wants[q->n].trait = (enum stow_trait)trait;
	q->wants[q->n++].least = stow_saturating_u32(least);
}

static void ask_for_one(const struct stow_want *want, const struct stow_need *need,
			struct stow_query *q)
{
	uint32_t step = stow_trait_step(need->cpus);

	want_least(q, STOW_TRAIT_MOST_CPUS, need->cpus);
	want_least(q, STOW_TRAIT_FREE + step, stow_trait_bytes_of_one(need->memory));
	if (need->exclusive) {
		want_least(q, STOW_TRAIT_MOST_TAKEABLE, need->cpus);
		want_least(q, STOW_TRAIT_TAKEABLE + step, stow_trait_bytes_of_one(need->memory));
	}
	/* Pages that a pool lacks are taken from the same memory. */
	for (size_t p = 0; p < want->request.n_pages; p++) {
		const struct stow_page_request *pages = &want->request.pages[p];

		want_least(q, STOW_TRAIT_PAGES + stow_trait_size(pages->size),
			   stow_trait_bytes(
				   stow_saturating_add(pages->count * pages->size, need->memory)));
	}
}

static void ask_for_many(const struct stow_want *want, const struct stow_need *need,
			 struct stow_query *q)
{
	bool any = want->request.nodes_auto;

	want_least(q, any ? STOW_TRAIT_ALL_MEMORY : STOW_TRAIT_ANY_MEMORY,
		   stow_trait_bytes(need->memory));
	if (need->exclusive)
		want_least(q, STOW_TRAIT_ALL_TAKEABLE, need->cpus);
	for (size_t p = 0; any && p < want->request.n_pages; p++) {
		const struct stow_page_request *pages = &want->request.pages[p];

		want_least(q, STOW_TRAIT_ALL_PAGES + stow_trait_size(pages->size),
			   stow_trait_bytes(pages->count * pages->size));
	}
	q->restricted =
		any && !want->request.n_pages && want->request.policy == STOW_POLICY_RESTRICTED;
	q->cpus = (uint32_t)need->cpus;
	q->memory = stow_trait_bytes(need->memory);
}

/* Set the head of a group to its next machine. */
static void step(const struct walk *w, struct group *g)
{
	const struct stow_index *index = &w->fleet->index;
	bool spread = w->want->spread;
	struct stow_spot spot;

	g->has = stow_index_find(index, &w->query, g->from, spread ? g->end : g->to, false, &spot);
	if (!g->has && spread && stow_index_find(index, &w->query, g->low, g->to, true, &spot)) {
		/* Among equally empty machines the first of the table comes first. */
		uint64_t key = spot.key >> STOW_RANK_CPUS_SHIFT << STOW_RANK_CPUS_SHIFT;

		g->from = g->to = (struct stow_spot){ key, 0 };
		g->end.key = key + (UINT64_C(1) << STOW_RANK_CPUS_SHIFT);
		g->has = stow_index_find(index, &w->query, g->from, g->end, false, &spot);
	}
	if (!g->has)
		return;
	g->from = (struct stow_spot){ spot.key, spot.m + 1 };
	g->head = (struct stow_candidate){
		stow_search_key(&w->fleet->of_machine, spot.m, w->looks_for == STOW_FITS_ON_ONE,
				spread),
		spot.m,
	};
}

static void begin(struct walk *w, enum stow_fits looks_for)
{
	static const struct stow_query any = { .n = 0 };
	struct stow_spot from = { 0, 0 }, to = { UINT64_MAX, UINT32_MAX }, spot;

	w->looks_for = looks_for;
	w->query = (struct stow_query){ .accept = accept, .ctx = w };
	w->taken = NULL;
	w->n = w->at = 0;
	want_least(&w->query, STOW_TRAIT_ALL_CPUS, w->need->cpus);
	if (w->need->exclusive)
		want_least(&w->query, STOW_TRAIT_NONEXCLUSIVE, w->need->cpus + 1);
	if (looks_for == STOW_FITS_ON_ONE)
		ask_for_one(w->want, w->need, &w->query);
	else
		ask_for_many(w->want, w->need, &w->query);
	while (w->n < NEARS && stow_index_find(&w->fleet->index, &any, from, to, false, &spot)) {
		struct group *g = &w->groups[w->n++];
		uint64_t near = spot.key >> STOW_NEAR_SHIFT;

		*g = (struct group){ .near = (uint32_t)near };
		g->low.key = near << STOW_NEAR_SHIFT | w->need->cpus << STOW_RANK_CPUS_SHIFT;
		from.key = (near + 1) << STOW_NEAR_SHIFT;
		g->from = g->low;
		g->to = from;
		if (w->want->spread) /* nothing is left before the first step() */
			g->end = g->from;
		if (looks_for == STOW_FITS_ON_ONE || w->n == 1)
			step(w, g);
	}
}

static bool better(const struct stow_candidate *a, const struct stow_candidate *b)
{
	return a->key < b->key || (a->key == b->key && a->m < b->m);
}

/* The distance does not matter: return the best of all groups. */
static bool next_on_one(struct walk *w, struct stow_candidate *ret)
{
	struct group *best = NULL;

	for (uint32_t i = 0; i < w->n; i++)
		if (w->groups[i].has && (!best || better(&w->groups[i].head, &best->head)))
			best = &w->groups[i];
	if (!best)
		return false;
	*ret = best->head;
	w->taken = best;
	return true;
}

/* The group with the smallest distance comes first. */
static bool next_on_many(struct walk *w, struct stow_candidate *ret)
{
	while (w->at < w->n && !w->groups[w->at].has)
		if (++w->at < w->n)
			step(w, &w->groups[w->at]);
	if (w->at >= w->n)
		return false;
	*ret = w->groups[w->at].head;
	w->taken = &w->groups[w->at];
	return true;
}

static bool next(void *ctx, struct stow_candidate *ret)
{
	struct walk *w = ctx;

	if (w->looks_for == STOW_FITS_NOT)
		begin(w, STOW_FITS_ON_ONE);
	else if (w->taken)
		step(w, w->taken);
	w->taken = NULL;
	if (w->looks_for == STOW_FITS_ON_ONE) {
		if (next_on_one(w, ret))
			return true;
		if (w->need->one)
			return false;
		begin(w, STOW_FITS_ON_MANY);
	}
	return next_on_many(w, ret);
}

/* --- the first that fits -------------------------------------------------- */

/* Place a request without hugepages on one NUMA node of the machine: the columns suffice. */
static bool place_on_one(const struct stow_fleet *fleet, uint32_t m, const struct stow_want *want,
			 const struct stow_need *need, struct stow_found *ret)
{
	char free[32];
	const struct stow_numa_columns *n = &fleet->of_numa;
	struct stow_machine *machine = fleet->machines[m];
	int64_t best = stow_search_one_of(fleet, m, want, need);
	uint32_t at;

	if (best < 0)
		return false;
	at = fleet->of_machine.first[m] + (uint32_t)best;
	ret->shares = calloc(1, sizeof(*ret->shares));
	if (!ret->shares)
		return false;
	ret->machine = machine;
	ret->n_shares = 1;
	ret->shares[0].node = machine->numa[best].id;
	ret->shares[0].cpus = (uint32_t)need->cpus;
	ret->shares[0].memory = need->memory;
	snprintf(ret->reason, sizeof(ret->reason),
		 "NUMA node %d has %u CPU%s and %s free, the tightest fit of the machine",
		 machine->numa[best].id, n->cpus[at], n->cpus[at] == 1 ? "" : "s",
		 stow_format_size(n->memory[at], free, sizeof(free)));
	return true;
}

static bool try_machine(struct stow_fleet *fleet, uint32_t m, const struct stow_want *want,
			const struct stow_need *need, struct stow_found *ret)
{
	/* If the request names NUMA nodes, the planner checks that the machine has all of them. */
	if (want->request.nodes_auto && !want->request.n_pages &&
	    want->request.policy != STOW_POLICY_SPREAD && place_on_one(fleet, m, want, need, ret))
		return true;
	return stow_search_machine(fleet->machines[m], want, ret, NULL) == 0;
}

int stow_search_try(struct stow_fleet *fleet, const struct stow_want *want,
		    const struct stow_need *need, struct stow_candidates_from from,
		    struct stow_found *ret)
{
	struct stow_found divided = { 0 };
	struct stow_candidate at;
	uint64_t key = UINT64_MAX;

	/* A machine that needs several NUMA nodes, though its key promised one, is used only if
	 * none of the best fits on one. */
	for (size_t i = 0; (i < BEST || key == UINT64_MAX) && from.next(from.ctx, &at); i++) {
		struct stow_found found = { 0 };
		uint64_t its;

		if (at.key >= key)
			break;
		if (!try_machine(fleet, at.m, want, need, &found))
			continue;
		its = stow_search_key(&fleet->of_machine, at.m, found.n_shares == 1, want->spread);
		if (its >= key) {
			free(found.shares);
			continue;
		}
		free(divided.shares);
		divided = found;
		key = its;
		if (its == at.key)
			break; /* no later candidate is better */
	}
	*ret = divided;
	return key == UINT64_MAX ? -ENOSPC : 0;
}

/* --- no machine fits ------------------------------------------------------ */

static uint64_t shortfall_of(const struct stow_need *need, uint64_t cpus, uint64_t memory)
{
	double parts = 0;

	if (cpus < need->cpus)
		parts += (double)(need->cpus - cpus) / (double)need->cpus;
	if (memory < need->memory)
		parts += (double)(need->memory - memory) / (double)need->memory;
	return (uint64_t)(parts * 1000);
}

static uint64_t shortfall(const struct stow_machine_columns *c, uint32_t m,
			  const struct stow_need *need)
{
	if (!c->open[m])
		return UINT64_MAX;
	return shortfall_of(need, need->one ? c->most_cpus[m] : c->cpus[m],
			    need->one ? c->most_memory[m] : c->memory[m]);
}

uint64_t stow_search_shortfall(const struct stow_fleet *fleet, const struct stow_machine *machine,
			       const struct stow_want *want)
{
	struct stow_need need = stow_need_of(want);

	return shortfall(&fleet->of_machine, machine->index, &need);
}

struct cost_of {
	const struct stow_machine_columns *c;
	const struct stow_need *need;
};

static uint64_t cost_at_least(const void *ctx, uint32_t cpus, uint32_t memory)
{
	const struct cost_of *of = ctx;

	return shortfall_of(of->need, cpus,
			    memory < UINT32_MAX ? (uint64_t)memory << 20 : UINT64_MAX);
}

static uint64_t cost(const void *ctx, uint32_t m)
{
	const struct cost_of *of = ctx;

	return shortfall(of->c, m, of->need);
}

/* Set the error: the closest machine, with the planner's reason. */
static int no_room(struct stow_fleet *fleet, const struct stow_want *want, struct stow_err *err)
{
	struct stow_need need = stow_need_of(want);
	const struct cost_of of = { &fleet->of_machine, &need };
	struct stow_cost least = { .bound = cost_at_least, .exact = cost, .ctx = &of };
	struct stow_found found = { 0 };
	struct stow_err why = { 0 };
	uint32_t nearest;

	if (fleet->n_machines == 0)
		return stow_err_set(err, ENOSPC, "no node has reported yet");
	least.cpus = need.one ? STOW_TRAIT_MOST_CPUS : STOW_TRAIT_ALL_CPUS;
	least.memory = need.one ? STOW_TRAIT_MOST_MEMORY : STOW_TRAIT_ANY_MEMORY;
	nearest = stow_index_cheapest(&fleet->index, &least);
	if (nearest == STOW_INDEX_NONE) /* no machine is open */
		nearest = 0;
	if (stow_search_machine(fleet->machines[nearest], want, &found, &why) == 0) {
		free(found.shares);
		snprintf(why.msg, sizeof(why.msg), "another pod got its room meanwhile");
	}
	return stow_err_set(err, ENOSPC, "none of %u nodes has room; the nearest is %s",
			    fleet->n_machines, why.msg);
}

int stow_search_fleet(struct stow_fleet *fleet, const struct stow_want *want,
		      struct stow_found *ret, struct stow_err *err)
{
	struct stow_need need = stow_need_of(want);
	struct walk walk;

	*ret = (struct stow_found){ 0 };
	if (want->machine[0]) {
		struct stow_machine *m = stow_fleet_find(fleet, want->machine);

		if (!m)
			return stow_err_set(err, ENOENT, "there is no node \"%.64s\"",
					    want->machine);
		return stow_search_machine(m, want, ret, err);
	}
	walk.fleet = fleet;
	walk.want = want;
	walk.need = &need;
	walk.looks_for = STOW_FITS_NOT; /* not started */
	if (stow_search_try(fleet, want, &need, (struct stow_candidates_from){ next, &walk },
			    ret) == 0)
		return 0;
	return no_room(fleet, want, err);
}
