// SPDX-License-Identifier: Apache-2.0
/* Random machines and requests: each plan is checked by what it must hold, each refusal and each
 * number of nodes against a search through all sets of nodes. */
#include "unit.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "machine.h"
#include "place/plan.h"
#include "place/plan_internal.h"

#define MI     (UINT64_C(1) << 20)
#define GI     (UINT64_C(1) << 30)
#define ROUNDS 4000

static uint64_t seed;

/* xorshift64*: the same everywhere, unlike rand(3). */
static uint32_t roll(uint32_t n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (uint32_t)((seed * UINT64_C(2685821657736338717)) >> 32) % n;
}

struct scene {
	struct stow_topology *topology;
	struct stow_usage usage;
	struct stow_node_usage nodes[64];
	struct stow_capacity *capacity;
	struct stow_request request;
	int near;
};

static void random_machine(struct scene *s, int max_nodes)
{
	int n = 1 + (int)roll((uint32_t)max_nodes), cores = 1 + (int)roll(4);
	struct stow_topology *t =
		machine_new(n, cores, 1 + (int)roll(2), (int)roll(3), (1 + roll(8)) * GI);

	for (int a = 0; a < n; a++)
		for (int b = 0; b < n; b++)
			if (a != b)
				t->distance[a * n + b] = 11 + (int)roll(4) * 10;
	for (int i = 0; i < n; i++) {
		if (n > 1 && i > 0 && roll(8) == 0)
			machine_without_cpus(t, i);
		else if (n > 1 && roll(8) == 0)
			machine_without_memory(t, i);
		if (t->nodes[i].mem_total) {
			t->nodes[i].mem_available -= roll(1000) * MI;
			t->nodes[i].pools[0].total = roll(100);
			t->nodes[i].pools[0].free = roll((uint32_t)t->nodes[i].pools[0].total + 1);
			t->nodes[i].pools[1].total = t->nodes[i].pools[1].free = roll(2);
		}
	}
	s->topology = t;
}

static void random_usage(struct scene *s)
{
	const struct stow_topology *t = s->topology;
	bool isolates = roll(2);

	memset(&s->usage, 0, sizeof(s->usage));
	s->usage.nodes = s->nodes;
	s->usage.n_nodes = t->n_nodes;
	for (size_t i = 0; i < t->n_nodes; i++) {
		s->nodes[i] = (struct stow_node_usage){ .id = t->nodes[i].id,
							.shared_cpus = roll(3),
							.memory = roll(3000) * MI };
		s->nodes[i].memory_outstanding = roll(2) ? s->nodes[i].memory : 0;
		if (roll(10) == 0)
			stow_idset_add(&s->usage.fenced, t->nodes[i].id);
	}
	for (size_t i = 0; i < t->n_cpus; i++) {
		if (roll(5) == 0)
			stow_idset_add(&s->usage.exclusive, t->cpus[i].id);
		else if (roll(10) == 0)
			stow_idset_add(&s->usage.pinned, t->cpus[i].id);
		if (isolates && roll(3) == 0)
			stow_idset_add(&s->topology->isolated, t->cpus[i].id);
	}
}

static void random_request(struct scene *s)
{
	const struct stow_topology *t = s->topology;
	struct stow_request *r = &s->request;

	memset(r, 0, sizeof(*r));
	r->nodes_auto = roll(4) != 0;
	for (size_t i = 0; !r->nodes_auto && i < t->n_nodes; i++)
		if (roll(3) || i == 0)
			stow_idset_add(&r->nodes, t->nodes[i].id);
	r->policy = (enum stow_policy)roll(4);
	r->cpus = roll(5) ? 1 + roll((uint32_t)t->n_cpus + 1) / (1 + roll(3)) : 0;
	r->cpu_mode = r->cpus ? (enum stow_cpu_mode)roll(3) : STOW_CPU_SHARED;
	r->memory = roll(3) ? (roll(5000) + 1) * MI * (1 + roll(3)) + roll(4096) : 0;
	if (roll(3) == 0)
		r->pages[r->n_pages++] = (struct stow_page_request){ 2 * MI, 1 + roll(500) };
	if (roll(3) == 0)
		r->pages[r->n_pages++] = (struct stow_page_request){ GI, 1 + roll(12) };
	s->near = roll(5) ? -1 : (int)roll((uint32_t)t->n_nodes);
}

static void scene_done(struct scene *s)
{
	stow_capacity_free(s->capacity);
	stow_topology_free(s->topology);
}

/* --- what a plan must hold ---------------------------------------------------------------------- */

/* Under single-numa-node: the device's node, or for one without CPUs the nearest that has some. */
static int node_of_device(const struct scene *s)
{
	const struct stow_topology *t = s->topology;
	int best = -1, least = 0;

	if (s->near < 0 || !stow_idset_empty(&t->nodes[s->near].cpus))
		return s->near;
	for (size_t i = 0; i < t->n_nodes; i++) {
		int there = stow_topology_distance(t, s->near, t->nodes[i].id),
		    back = stow_topology_distance(t, t->nodes[i].id, s->near);

		if (stow_idset_empty(&t->nodes[i].cpus) ||
		    (!s->request.nodes_auto && !stow_idset_has(&s->request.nodes, t->nodes[i].id)))
			continue;
		if (best < 0 || there + back < least) {
			best = t->nodes[i].id;
			least = there + back;
		}
	}
	return best;
}

static bool eligible(const struct scene *s, size_t i, bool empty)
{
	const struct stow_node_capacity *node = &s->capacity->nodes[i];
	bool cpuless = stow_idset_empty(&s->topology->nodes[i].cpus);

	if (!s->request.nodes_auto && !stow_idset_has(&s->request.nodes, node->id))
		return false;
	if (s->request.nodes_auto && cpuless)
		return false;
	if (s->request.policy == STOW_POLICY_SINGLE_NUMA_NODE && s->near >= 0 &&
	    node->id != node_of_device(s))
		return false;
	return empty || !node->fenced;
}

static bool full_cores(const struct scene *s)
{
	return s->capacity->full_cores && s->request.cpu_mode != STOW_CPU_SHARED;
}

/* Threads of a core; all have as many on these machines. */
static uint32_t threads(const struct scene *s)
{
	uint32_t n = 0;

	for (size_t i = 0; i < s->topology->n_cpus; i++)
		n += s->topology->cpus[i].core == s->topology->cpus[0].core;
	return n ? n : 1;
}

/* How many CPUs of the set are there with their whole core. */
static uint64_t in_whole_cores(const struct scene *s, const struct stow_idset *set)
{
	uint64_t n = 0;

	STOW_IDSET_FOR(id, set) {
		const struct stow_cpu *cpus = s->topology->cpus;
		bool whole = true;

		for (size_t i = 0; i < s->topology->n_cpus; i++)
			for (size_t j = 0; cpus[i].id == id && j < s->topology->n_cpus; j++)
				whole &= cpus[j].core != cpus[i].core ||
					 stow_idset_has(set, cpus[j].id);
		n += whole;
	}
	return n;
}

static uint64_t cpus_of(const struct scene *s, size_t i)
{
	const struct stow_node_capacity *node = &s->capacity->nodes[i];
	uint64_t takeable = stow_idset_count(&node->takeable);

	if (full_cores(s)) {
		bool isolated = s->request.cpu_mode == STOW_CPU_ISOLATED;
		uint64_t n = in_whole_cores(s, isolated ? &node->isolated : &node->takeable);

		n = isolated || n < node->cpus_free ? n : node->cpus_free;
		return n - n % threads(s);
	}
	if (s->request.cpu_mode == STOW_CPU_ISOLATED)
		return stow_idset_count(&node->isolated);
	if (s->request.cpu_mode == STOW_CPU_EXCLUSIVE && takeable < node->cpus_free)
		return takeable;
	return node->cpus_free;
}

static uint64_t total_of(const struct scene *s, size_t i)
{
	const struct stow_node_capacity *node = &s->capacity->nodes[i];

	return s->request.cpu_mode == STOW_CPU_ISOLATED ? node->isolated_total : node->cpus_total;
}

static size_t index_of(const struct scene *s, int id)
{
	for (size_t i = 0; i < s->capacity->n_nodes; i++)
		if (s->capacity->nodes[i].id == id)
			return i;
	fail_msg("the plan names node %d, which does not exist", id);
	return 0;
}

/* One node carries its share. */
static void check_share(const struct scene *s, const struct stow_share *share)
{
	size_t i = index_of(s, share->node);
	const struct stow_node_capacity *node = &s->capacity->nodes[i];
	uint64_t memory = share->memory;

	assert_true(eligible(s, i, false));
	assert_true(share->cpus <= cpus_of(s, i));
	for (size_t p = 0; p < s->request.n_pages; p++) {
		uint64_t in_pool = 0, missing;
		bool has_pool = false;

		for (size_t j = 0; j < node->n_pools; j++)
			if (node->pools[j].size == s->request.pages[p].size) {
				in_pool = node->pools[j].free;
				has_pool = true;
			}
		missing = share->pages[p] > in_pool ? share->pages[p] - in_pool : 0;
		assert_true(has_pool || share->pages[p] == 0);
		memory += missing * s->request.pages[p].size;
	}
	assert_true(memory <= node->mem_free);
}

static void check_cpus(const struct scene *s, const struct stow_plan *plan)
{
	struct stow_idset all = { 0 }, rest = s->capacity->nonexclusive, here;

	for (size_t i = 0; i < plan->n_shares; i++) {
		const struct stow_node_capacity *node =
			&s->capacity->nodes[index_of(s, plan->shares[i].node)];

		stow_idset_or(&all, plan->isolated    ? &node->isolated
				    : plan->exclusive ? &node->takeable
						      : &node->cpus);
		here = plan->cpus;
		stow_idset_and(&here, &s->topology->nodes[index_of(s, plan->shares[i].node)].cpus);
		if (plan->exclusive)
			assert_int_equal(stow_idset_count(&here), plan->shares[i].cpus);
	}
	assert_false(stow_idset_empty(&plan->cpus));
	assert_int_equal(plan->isolated,
			 stow_idset_intersects(&plan->cpus, &s->topology->isolated));
	if (!plan->exclusive) {
		assert_true(stow_idset_equal(&plan->cpus, &all));
		return;
	}
	assert_true(stow_idset_subset(&plan->cpus, &all));
	assert_false(stow_idset_intersects(&plan->cpus, &s->usage.exclusive));
	assert_false(stow_idset_intersects(&plan->cpus, &s->usage.pinned));
	assert_int_equal(stow_idset_count(&plan->cpus), s->request.cpus);
	stow_idset_minus(&rest, &plan->cpus);
	/* A container without exclusive CPUs does not run on isolated ones. */
	assert_true(plan->isolated || !stow_idset_empty(&rest));
}

static void check_spread(const struct scene *s, const struct stow_plan *plan)
{
	uint64_t n = plan->n_shares;

	for (size_t i = 0; i < plan->n_shares; i++) {
		uint64_t even = s->request.cpus / n;

		/* In whole cores it is the cores that are divided evenly. */
		assert_true(plan->shares[i].cpus == even || plan->shares[i].cpus == even + 1 ||
			    (s->capacity->full_cores && plan->exclusive));
		even = s->request.memory / n;
		assert_true(plan->shares[i].memory >= even && plan->shares[i].memory < even + n);
		for (size_t p = 0; p < s->request.n_pages; p++) {
			even = s->request.pages[p].count / n;
			assert_true(plan->shares[i].pages[p] == even ||
				    plan->shares[i].pages[p] == even + 1);
		}
	}
}

static void check_plan(const struct scene *s, const struct stow_plan *plan)
{
	uint64_t cpus = 0, memory = 0, pages[STOW_POOLS_MAX] = { 0 };
	struct stow_idset nodes = { 0 };
	int last = -1;

	assert_true(plan->n_shares > 0);
	for (size_t i = 0; i < plan->n_shares; i++) {
		const struct stow_share *share = &plan->shares[i];
		size_t at = index_of(s, share->node);
		bool gives = share->cpus || share->memory;

		assert_true(share->node > last);
		last = share->node;
		stow_idset_add(&nodes, share->node);
		check_share(s, share);
		cpus += share->cpus;
		memory += share->memory;
		for (size_t p = 0; p < s->request.n_pages; p++) {
			pages[p] += share->pages[p];
			gives |= share->pages[p] > 0;
		}
		/* A request without CPUs may need a node only to run on. */
		assert_true(gives || plan->n_shares == 1 ||
			    (!s->request.cpus && !stow_idset_empty(&s->capacity->nodes[at].cpus)));
	}
	assert_int_equal(cpus, s->request.cpus);
	assert_int_equal(memory, s->request.memory);
	for (size_t p = 0; p < s->request.n_pages; p++)
		assert_int_equal(pages[p], s->request.pages[p].count);
	assert_true(stow_idset_equal(&nodes, &plan->nodes));
	assert_int_equal(plan->exclusive, s->request.cpu_mode != STOW_CPU_SHARED);
	assert_int_equal(plan->isolated, s->request.cpu_mode == STOW_CPU_ISOLATED);
	check_cpus(s, plan);
	if (s->request.policy == STOW_POLICY_SINGLE_NUMA_NODE)
		assert_int_equal(plan->n_shares, 1);
	if (s->request.policy == STOW_POLICY_SPREAD)
		check_spread(s, plan);
	if (s->capacity->full_cores && plan->exclusive)
		assert_int_equal(stow_full_cores(s->topology, &plan->cpus), 1);
	assert_true(strlen(plan->reason) > 10);
}

/* --- all sets of nodes -------------------------------------------------------------------------- */

/* Tries every way to lay the pages of size p and smaller onto the set, with what memory is left. */
static bool lay_pages(const struct scene *s, uint32_t set, size_t p, uint64_t *left, bool empty)
{
	const struct stow_request *req = &s->request;
	uint64_t sum = 0, in_pools = 0, missing;

	if (p-- == 0) {
		for (size_t i = 0; i < s->capacity->n_nodes; i++)
			sum += set >> i & 1 ? left[i] : 0;
		return sum >= req->memory;
	}
	for (size_t i = 0; i < s->capacity->n_nodes; i++)
		for (size_t j = 0; set >> i & 1 && j < s->capacity->nodes[i].n_pools; j++)
			if (s->capacity->nodes[i].pools[j].size == req->pages[p].size)
				in_pools += empty ? s->capacity->nodes[i].pools[j].total
						  : s->capacity->nodes[i].pools[j].free;
	missing = req->pages[p].count > in_pools ? req->pages[p].count - in_pools : 0;
	/* Page by page onto the node with most memory: with sizes that divide each other any
	 * order does, and this one is not the planner's. */
	while (missing--) {
		size_t most = s->capacity->n_nodes;

		for (size_t i = 0; i < s->capacity->n_nodes; i++)
			if (set >> i & 1 && s->capacity->nodes[i].n_pools &&
			    left[i] >= req->pages[p].size &&
			    (most == s->capacity->n_nodes || left[i] > left[most]))
				most = i;
		if (most == s->capacity->n_nodes)
			return false;
		left[most] -= req->pages[p].size;
	}
	return lay_pages(s, set, p, left, empty);
}

static bool set_fits(const struct scene *s, uint32_t set, bool empty)
{
	uint64_t cpus = 0, left[64];
	bool runs = false;

	for (size_t i = 0; i < s->capacity->n_nodes; i++) {
		const struct stow_node_capacity *node = &s->capacity->nodes[i];

		left[i] = empty ? node->mem_total : node->mem_free;
		for (size_t j = 0; empty && j < node->n_pools; j++) {
			uint64_t held = node->pools[j].total * node->pools[j].size;

			left[i] = left[i] > held ? left[i] - held : 0;
		}
		if (!(set >> i & 1))
			continue;
		if (!eligible(s, i, empty))
			return false;
		cpus += !empty		? cpus_of(s, i)
			: full_cores(s) ? total_of(s, i) - total_of(s, i) % threads(s)
					: total_of(s, i);
		runs |= empty ? total_of(s, i) > 0
			: s->request.cpu_mode == STOW_CPU_ISOLATED
				? !stow_idset_empty(&node->isolated)
				: !stow_idset_empty(&node->cpus);
	}
	return runs && cpus >= s->request.cpus &&
	       lay_pages(s, set, s->request.n_pages, left, empty);
}

/* The fewest nodes that do, or 0. */
static int fewest(const struct scene *s, bool empty)
{
	int best = 0;

	for (uint32_t set = 1; set < 1U << s->capacity->n_nodes; set++) {
		int n = __builtin_popcount(set);

		if ((!best || n < best) && set_fits(s, set, empty))
			best = n;
	}
	return best;
}

static bool exclusive_would_take_all(const struct scene *s)
{
	return s->request.cpu_mode == STOW_CPU_EXCLUSIVE &&
	       s->request.cpus >= stow_idset_count(&s->capacity->nonexclusive);
}

static void check_number(const struct scene *s, int r, const struct stow_plan *plan)
{
	int least = fewest(s, false), limit = 64;

	if (exclusive_would_take_all(s) || (full_cores(s) && s->request.cpus % threads(s))) {
		assert_int_equal(r, -ENOSPC);
		return;
	}
	if (s->request.policy == STOW_POLICY_SINGLE_NUMA_NODE)
		limit = 1;
	if (s->request.policy == STOW_POLICY_RESTRICTED)
		limit = fewest(s, true);
	if (s->request.policy == STOW_POLICY_SPREAD) {
		/* An even division needs at least what a plain one needs, and one node will do
		 * where it has memory at all. */
		if (r == 0)
			assert_true((int)plan->n_shares >= least && least > 0);
		else if (least == 1)
			for (size_t i = 0; i < s->capacity->n_nodes; i++)
				assert_false(s->topology->nodes[i].mem_total &&
					     set_fits(s, 1U << i, false));
		return;
	}
	assert_int_equal(r, least && least <= limit ? 0 : -ENOSPC);
	if (r == 0)
		assert_int_equal(plan->n_shares, least);
}

static void play(int max_nodes, bool exact)
{
	int placed = 0, refused = 0, nonsense = 0;

	for (int round = 0; round < ROUNDS; round++) {
		_cleanup_(scene_done) struct scene s = { 0 };
		_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
		_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
		struct stow_config config = { 0 };
		struct stow_err err = { 0 };
		int r;

		seed = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(round + 1) + (uint64_t)max_nodes;
		random_machine(&s, max_nodes);
		random_usage(&s);
		random_request(&s);
		config.full_cores = roll(3) == 0;
		assert_int_equal(stow_capacity_build(s.topology, &config, &s.usage, NULL, NULL,
						     &s.capacity, NULL),
				 0);
		r = stow_plan_make(s.capacity, &s.request, s.near, &plan, &refusal, &err);
		if (r == -EINVAL) {
			assert_non_null(strstr(err.msg, "numastow.io/"));
			nonsense++;
			continue;
		}
		assert_true(r == 0 || r == -ENOSPC);
		assert_true((r == 0) == (plan != NULL) && (r == 0) == (refusal == NULL));
		if (r == 0)
			check_plan(&s, plan);
		else
			assert_string_equal(refusal->text, err.msg);
		if (exact)
			check_number(&s, r, plan);
		placed += r == 0;
		refused += r != 0;
	}
	/* The random requests must have covered every case. */
	assert_true(placed > ROUNDS / 10 && refused > ROUNDS / 10 && nonsense < ROUNDS / 2);
}

TEST(small_machines_are_searched_exactly)
{
	play(6, true);
}

TEST(large_machines_keep_the_promises)
{
	play(40, false);
}
