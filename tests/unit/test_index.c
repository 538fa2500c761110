// SPDX-License-Identifier: Apache-2.0
/* The index over the machines against a look at all of them: random trees, and random fleets that
 * change while requests come. NUMASTOW_TEST_SEED=N plays another game. */
#include "unit.h"

#include <stdio.h>

#include "report.h"
#include "scheduler/fleet/index_internal.h"
#include "scheduler/search/search_internal.h"

#define MI     (UINT64_C(1) << 20)
#define GI     (UINT64_C(1) << 30)
#define PLACES 600 /* of machines, in the tree of its own */
#define FLEETS 40
#define STEPS  120 /* changes and requests of each */
#define MOST   250 /* machines */

static uint64_t seed;

static uint32_t roll(uint32_t n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (uint32_t)((seed * UINT64_C(2685821657736338717)) >> 32) % n;
}

static void begin(uint64_t game)
{
	const char *text = getenv("NUMASTOW_TEST_SEED");
	uint64_t base = text ? strtoull(text, NULL, 0) : 1;

	if (game == 0)
		print_message("NUMASTOW_TEST_SEED=%llu\n", (unsigned long long)base);
	seed = UINT64_C(0x9e3779b97f4a7c15) * (base * 1000 + game + 1);
}

/* --- a tree ------------------------------------------------------------------------------------- */

static const char *check_branch(const struct stow_index *index, uint32_t id, struct stow_spot from,
				struct stow_spot to, uint32_t *ret_machines)
{
	const struct stow_index_node *node = node_of(index, id);

	if (id != index->root && node->n < LEAST)
		return "a node that is too empty";
	for (uint32_t d = 0; d < STOW_TRAITS; d++) {
		if (node->most[d] != largest(node->v[d]))
			return "a largest number that is none";
		for (uint32_t i = node->n; i < FAN; i++)
			if (node->v[d][i])
				return "numbers behind the last entry";
	}
	for (uint32_t i = 0; i < node->n; i++) {
		struct stow_spot here = spot_of(node, i), end = to;
		const struct stow_index_node *child;
		const char *what;

		if (stow_spot_before(here, from) || !stow_spot_before(here, to))
			return "an entry out of order";
		if (node->leaf) {
			if (index->leaf_of[here.m] != id || node->ref[i] != here.m)
				return "a machine that is elsewhere";
			++*ret_machines;
			continue;
		}
		child = node_of(index, node->ref[i]);
		if (child->parent != id)
			return "a node of another parent";
		for (uint32_t d = 0; d < STOW_TRAITS; d++)
			if (child->most[d] != node->v[d][i])
				return "a number that the node below has not";
		for (uint32_t k = 0; k < node->n; k++)
			if (stow_spot_before(here, spot_of(node, k)) &&
			    stow_spot_before(spot_of(node, k), end))
				end = spot_of(node, k);
		what = check_branch(index, node->ref[i], here, end, ret_machines);
		if (*what)
			return what;
	}
	return "";
}

/* Return "" when the index is as it must be, or what is wrong. */
static const char *check_index(const struct stow_index *index)
{
	struct stow_spot to = { UINT64_MAX, UINT32_MAX };
	uint32_t machines = 0, freed = 0;
	const char *what;

	for (uint32_t id = index->freed; id != NONE; id = node_of(index, id)->parent)
		freed++;
	if (index->used - freed > index->n / 3 + 16)
		return "more nodes than were reserved";
	if (index->root == NONE)
		return index->n ? "no root" : "";
	what = check_branch(index, index->root, (struct stow_spot){ 0, 0 }, to, &machines);
	return *what ? what : machines != index->n ? "a wrong number of machines" : "";
}

struct tree {
	struct stow_index index;
	bool in[PLACES];
	uint64_t key[PLACES];
	struct stow_traits row[PLACES];
	uint64_t refused; /* by accept(): places with that remainder; 8: none */
};

static bool accept(const void *ctx, uint32_t m)
{
	return m % 8 != ((const struct tree *)ctx)->refused;
}

static bool has_all(const struct tree *t, uint32_t m, const struct stow_query *q)
{
	const uint32_t *v = t->row[m].v;

	for (uint32_t w = 0; w < q->n; w++)
		if (v[q->wants[w].trait] < q->wants[w].least)
			return false;
	for (int k = 0; q->restricted && k < STOW_TRAIT_SETS; k++)
		if (~v[STOW_TRAIT_EMPTY_CPUS + k] >= q->cpus &&
		    ~v[STOW_TRAIT_EMPTY_MEMORY + k] >= q->memory &&
		    (v[STOW_TRAIT_MOST_CPUS + k] < q->cpus ||
		     v[STOW_TRAIT_MOST_MEMORY + k] < q->memory))
			return false;
	return !q->accept || q->accept(q->ctx, m);
}

static bool ask(const struct tree *t, bool last)
{
	struct stow_query q = { .accept = roll(2) ? accept : NULL, .ctx = t };
	struct stow_spot from = { roll(40), roll(PLACES) }, to = { roll(50), roll(PLACES) };
	struct stow_spot best = { 0 }, found;
	bool any = false, r;
	uint32_t w = 0;

	for (q.n = roll(4); w < q.n; w++) {
		q.wants[w].trait = (enum stow_trait)roll(STOW_TRAITS);
		q.wants[w].least = roll(roll(2) ? 60 : 110);
	}
	q.restricted = roll(3) == 0;
	q.cpus = roll(100), q.memory = roll(100);
	for (uint32_t m = 0; m < PLACES; m++) {
		struct stow_spot here = { t->key[m], m };

		if (!t->in[m] || stow_spot_before(here, from) || !stow_spot_before(here, to) ||
		    !has_all(t, m, &q))
			continue;
		if (!any || stow_spot_before(last ? best : here, last ? here : best))
			best = here;
		any = true;
	}
	r = stow_index_find(&t->index, &q, from, to, last, &found);
	assert_int_equal(r, any);
	if (any) {
		assert_int_equal(found.m, best.m);
		assert_int_equal(found.key, best.key);
	}
	return any;
}

#define WANT 90

static uint64_t bound(const void *ctx, uint32_t cpus, uint32_t memory)
{
	return (cpus < WANT ? WANT - cpus : 0) + (memory < WANT ? WANT - memory : 0);
}

static uint64_t exact(const void *ctx, uint32_t m)
{
	const struct tree *t = ctx;

	return bound(t, t->row[m].v[STOW_TRAIT_ALL_CPUS], t->row[m].v[STOW_TRAIT_ANY_MEMORY]);
}

static void ask_for_the_cheapest(const struct tree *t)
{
	const struct stow_cost cost = { STOW_TRAIT_ALL_CPUS, STOW_TRAIT_ANY_MEMORY, bound, exact,
					t };
	uint32_t best = STOW_INDEX_NONE;

	for (uint32_t m = 0; m < PLACES; m++)
		if (t->in[m] && (best == STOW_INDEX_NONE || exact(t, m) < exact(t, best)))
			best = m;
	assert_int_equal(stow_index_cheapest(&t->index, &cost), best);
}

/* Mostly the numbers differ a little from what they were, as in a fleet. */
static void change(struct tree *t, uint32_t m, uint32_t same)
{
	bool fresh = !t->in[m];

	if (fresh || roll(2))
		t->key[m] = roll(40);
	for (uint32_t d = 0; d < STOW_TRAITS; d++)
		if (fresh || roll(8) == 0)
			t->row[m].v[d] = roll(same) ? 50 : roll(100);
	t->row[m].v[STOW_TRAIT_FIRST] = ~m;
	for (int k = 0; k < 2 * STOW_TRAIT_SETS; k++)
		t->row[m].v[STOW_TRAIT_EMPTY_CPUS + k] = ~roll(100);
	t->in[m] = true;
	stow_index_set(&t->index, m, t->key[m], &t->row[m]);
}

TEST(a_tree_finds_what_a_look_at_all_finds)
{
	struct tree *t = calloc(1, sizeof(*t));
	int found = 0;

	assert_non_null(t);
	for (uint64_t game = 0; game < 6; game++) {
		uint32_t same;

		begin(game);
		same = 1 + roll(4);
		memset(t, 0, sizeof(*t));
		stow_index_init(&t->index);
		assert_int_equal(stow_index_reserve(&t->index, PLACES), 0);
		for (uint32_t i = 0; i < 2500; i++) {
			uint32_t m = roll(PLACES);

			/* It grows, changes, and shrinks to nothing. */
			if (i > 1700 || roll(i < 800 ? 8 : 3) == 0) {
				stow_index_drop(&t->index, m);
				t->in[m] = false;
			} else {
				change(t, m, same);
			}
			if (i % 10 == 0)
				assert_string_equal(check_index(&t->index), "");
			t->refused = roll(9);
			found += ask(t, roll(2));
			if (i % 8 == 0)
				ask_for_the_cheapest(t);
		}
		for (uint32_t m = 0; m < PLACES; m++)
			stow_index_drop(&t->index, m);
		assert_string_equal(check_index(&t->index), "");
		assert_int_equal(t->index.n, 0);
		stow_index_done(&t->index);
	}
	assert_in_range(found, 6 * 2500 / 5, 6 * 2500 * 4 / 5);
	free(t);
}

/* --- fleets that change ------------------------------------------------------------------------- */

struct game {
	struct stow_fleet *fleet;
	struct stow_reservation *made[MOST * 4];
	uint64_t n_made, next_id;
	uint32_t nodes; /* NUMA nodes of a machine, at most */
	bool alike;	/* the machines, when they come */
	PbPodRequest pod;
	PbHugepages pages[2], *list[2];
	struct stow_idset named;
	char text[64];
};

static const struct stow_now now = { 1000, 1000 };

static void random_numa(const struct game *g, struct report *r, uint32_t i)
{
	PbNumaNode *numa = &r->numa[i];
	uint64_t pools = 0;

	if (i && roll(10) == 0) { /* memory alone */
		numa->cpus = numa->cpus_shared = numa->cpus_takeable = (char *)"";
		numa->cpus_total = numa->cpus_free = 0;
	}
	if (!g->alike && roll(15) == 0) /* all CPUs are some container's own */
		numa->cpus_shared = numa->cpus_takeable = (char *)"";
	if (g->alike)
		return;
	numa->cpus_free = roll((uint32_t)numa->cpus_free + 1);
	for (int p = 0; p < 2; p++) {
		r->pools[i][p].total = roll(p ? 3 : 700);
		r->pools[i][p].allocatable = roll((uint32_t)r->pools[i][p].total + 1);
		pools += r->pools[i][p].total * r->pools[i][p].page_size;
	}
	numa->n_hugepages = roll(3);
	numa->memory_allocatable = roll((uint32_t)((numa->memory_total - pools) / MI) + 1) * MI;
	numa->memory_available = numa->memory_allocatable / (1 + roll(3));
	if (roll(20) == 0)
		numa->state = PB_NUMA_NODE_STATE_FENCED;
}

static void report_of(struct game *g, const char *name)
{
	uint32_t n = 1 + roll(g->nodes), cpus = g->alike ? 16 : 2 + 2 * roll(16);
	struct report r;

	if (g->alike)
		n = g->nodes;
	report_init(&r, name, n, cpus, (g->alike ? 16 : 4 + roll(12)) * GI);
	for (uint32_t i = 0; i < n; i++)
		random_numa(g, &r, i);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < i; j++)
			r.distances[i][j] = r.distances[j][i] = g->alike ? 21 : 12 + 10 * roll(3);
	if (roll(30) == 0)
		r.message.mode = PB_MODE_OBSERVE;
	report_apply(g->fleet, &r, now);
}

static void reserve(struct game *g, struct stow_machine *m)
{
	uint32_t cpus = roll(6);
	struct stow_reservation *made;

	if (!m->n_numa || g->n_made == MOST * 4)
		return;
	made = report_reserve(g->fleet, m, ++g->next_id, m->numa[roll(m->n_numa)].id, cpus,
			      roll(4000) * MI, cpus && roll(2), UINT64_MAX);
	g->made[g->n_made++] = made;
	if (roll(4) == 0) {
		made->counted = true;
		stow_fleet_refresh(g->fleet, m);
	}
}

static void end_one(struct game *g)
{
	uint64_t i = g->n_made ? roll((uint32_t)g->n_made) : 0;

	if (!g->n_made)
		return;
	stow_reservation_end(g->fleet, g->made[i], now);
	g->made[i] = g->made[--g->n_made];
}

static void leave(struct game *g, struct stow_machine *m)
{
	for (uint64_t i = g->n_made; i-- > 0;)
		if (g->made[i]->machine == m) {
			stow_reservation_end(g->fleet, g->made[i], now);
			g->made[i] = g->made[--g->n_made];
		}
	stow_fleet_forget(g->fleet, m);
}

static void something_happens(struct game *g)
{
	struct stow_fleet *fleet = g->fleet;
	struct stow_machine *m = fleet->machines[roll(fleet->n_machines)];
	struct stow_idset fence = { 0 };

	switch (roll(9)) {
	case 0:
	case 1:
	case 2:
		reserve(g, m);
		break;
	case 3:
		end_one(g);
		break;
	case 4:
		report_of(g, m->name);
		break;
	case 5:
		stow_fleet_stale(fleet, m);
		break;
	case 6:
		stow_fleet_seen(fleet, m, now);
		break;
	case 7:
		if (m->n_numa && roll(2))
			stow_idset_add(&fence, (int)roll(m->n_numa));
		assert_int_equal(stow_fleet_fence(fleet, m, &fence, NULL), 0);
		break;
	default:
		if (fleet->n_machines > 1 && roll(2))
			leave(g, m);
	}
}

static void random_pod(struct game *g)
{
	static const PbPolicy policies[] = { PB_POLICY_SINGLE_NUMA_NODE, PB_POLICY_RESTRICTED,
					     PB_POLICY_BEST_EFFORT, PB_POLICY_SPREAD };

	pb_pod_request__init(&g->pod);
	g->named = (struct stow_idset){ 0 };
	g->pod.name = (char *)"pod";
	g->pod.policy = policies[roll(4)];
	g->pod.cpus = roll(6) ? 1 + roll(roll(4) ? 16 : 90) : 0;
	g->pod.cpu_mode = g->pod.cpus && roll(2) ? PB_CPU_MODE_EXCLUSIVE : PB_CPU_MODE_SHARED;
	g->pod.memory = roll(3) || !g->pod.cpus ? (1 + roll(roll(4) ? 9000 : 60000)) * MI : 0;
	if (roll(5) == 0) {
		for (int i = 0; i < 4; i++)
			if (roll(2))
				stow_idset_add(&g->named, i);
		if (!stow_idset_empty(&g->named))
			g->pod.numa_nodes = (char *)(uintptr_t)stow_idset_format(&g->named, g->text,
										 sizeof(g->text));
	}
	g->pod.hugepages = g->list;
	for (int p = 0; p < 2; p++) {
		PbHugepages *want = &g->pages[g->pod.n_hugepages];

		if (roll(4))
			continue;
		pb_hugepages__init(want);
		want->page_size = p ? GI : 2 * MI;
		want->pages = 1 + roll(p ? 5 : 1500);
		g->list[g->pod.n_hugepages++] = want;
	}
}

/* --- a look at all machines --------------------------------------------------------------------- */

struct scan {
	struct stow_candidate list[MOST];
	uint32_t n, at;
};

static int by_key(const void *a, const void *b)
{
	const struct stow_candidate *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->m > y->m) - (x->m < y->m);
}

static bool next(void *ctx, struct stow_candidate *ret)
{
	struct scan *scan = ctx;

	if (scan->at == scan->n)
		return false;
	*ret = scan->list[scan->at++];
	return true;
}

static void scan_all(struct stow_fleet *fleet, const struct stow_want *want,
		     const struct stow_need *need, struct scan *scan)
{
	const struct stow_machine_columns *c = &fleet->of_machine;

	scan->n = scan->at = 0;
	for (uint32_t m = 0; m < fleet->n_machines; m++) {
		enum stow_fits fits = stow_search_fits(fleet, m, want, need);
		struct stow_found here = { 0 };

		/* What is passed over, the planner would refuse. */
		if (fits == STOW_FITS_NOT) {
			if (roll(32) == 0)
				assert_int_equal(stow_search_machine(fleet->machines[m], want,
								     &here, NULL),
						 -ENOSPC);
			continue;
		}
		scan->list[scan->n++] = (struct stow_candidate){
			stow_search_key(c, m, fits == STOW_FITS_ON_ONE, want->spread), m
		};
	}
	qsort(scan->list, scan->n, sizeof(*scan->list), by_key);
}

static const struct stow_machine *nearest(const struct stow_fleet *fleet,
					  const struct stow_want *want)
{
	const struct stow_machine *best = fleet->machines[0];

	for (uint32_t m = 1; m < fleet->n_machines; m++)
		if (stow_search_shortfall(fleet, fleet->machines[m], want) <
		    stow_search_shortfall(fleet, best, want))
			best = fleet->machines[m];
	return best;
}

static int compare(struct game *g)
{
	struct stow_found here = { 0 }, there = { 0 };
	struct stow_err err = { 0 }, why = { 0 };
	struct stow_want want;
	struct stow_need need;
	struct scan scan;
	int r;

	assert_int_equal(stow_want_parse(&g->pod, roll(2) ? PB_STRATEGY_SPREAD : PB_STRATEGY_TIGHT,
					 &want, &err),
			 0);
	need = stow_need_of(&want);
	scan_all(g->fleet, &want, &need, &scan);
	r = stow_search_try(g->fleet, &want, &need, (struct stow_candidates_from){ next, &scan },
			    &here);
	assert_int_equal(stow_search_fleet(g->fleet, &want, &there, &err), r);
	if (r == 0) {
		assert_string_equal(there.machine->name, here.machine->name);
		assert_string_equal(there.reason, here.reason);
		assert_int_equal(there.n_shares, here.n_shares);
		assert_memory_equal(there.shares, here.shares,
				    here.n_shares * sizeof(*here.shares));
	} else if (stow_search_machine(nearest(g->fleet, &want), &want, &here, &why) < 0) {
		assert_non_null(strstr(err.msg, why.msg));
	}
	free(here.shares);
	free(there.shares);
	return r;
}

/* The same machine, the same NUMA nodes, the same words, whatever has happened before. */
TEST(a_search_finds_what_a_look_at_all_finds)
{
	int placed = 0, refused = 0;
	struct game *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	for (uint64_t game = 0; game < FLEETS; game++) {
		char name[16];

		begin(game);
		memset(g, 0, sizeof(*g));
		g->nodes = 1 + roll(roll(2) ? 3 : REPORT_NUMA);
		g->alike = roll(4) == 0;
		assert_int_equal(stow_fleet_new(&g->fleet, NULL), 0);
		for (uint32_t n = 1 + roll(MOST - 1), m = 0; m < n; m++) {
			snprintf(name, sizeof(name), "m-%u", m);
			report_of(g, name);
		}
		for (int i = 0; i < STEPS; i++) {
			for (uint32_t k = roll(6); k > 0; k--)
				something_happens(g);
			if (i % 10 == 0)
				assert_string_equal(check_index(&g->fleet->index), "");
			random_pod(g);
			if (compare(g) == 0)
				placed++;
			else
				refused++;
		}
		stow_fleet_free(g->fleet);
	}
	free(g);
	/* The dice must not have left anything untried. */
	assert_true(placed > FLEETS * STEPS / 4 && refused > FLEETS * STEPS / 20);
}
