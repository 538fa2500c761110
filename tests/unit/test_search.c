// SPDX-License-Identifier: Apache-2.0
/* Random fleets and requests against a search that looks at every machine and every set of its NUMA
 * nodes. NUMASTOW_TEST_SEED=N plays another game. */
#include "unit.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "report.h"
#include "scheduler/search/search.h"

#define MI (UINT64_C(1) << 20)
#define GI (UINT64_C(1) << 30)
#ifdef __SANITIZE_ADDRESS__ /* five times as slow */
#define ROUNDS 600
#else
#define ROUNDS 3000
#endif
#define MANY 40

static uint64_t seed;

/* xorshift64*: the same everywhere, unlike rand(3). */
static uint32_t roll(uint32_t n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (uint32_t)((seed * UINT64_C(2685821657736338717)) >> 32) % n;
}

/* What the oracle knows: what was reported less what was reserved, written down while the dice were
 * thrown, not read from the table. */
struct node {
	uint32_t online, total, free, takeable, exclusive;
	uint64_t memory_total, memory, real, pages[2], all_pages[2], in_pools;
	bool gives, runs;
};

struct box {
	struct node node[4];
	uint32_t n;
	uint32_t near;
	bool alive;
};

struct game {
	struct stow_fleet *fleet;
	struct box box[MANY];
	uint32_t n;
	PbPodRequest pod;
	PbHugepages pages[2], *list[2];
	struct stow_idset named;
	bool spread;
};

static void random_box(struct game *g, uint32_t m)
{
	static const struct stow_now now = { 1000, 1000 };
	uint32_t n = 1 + roll(4), cpus = 2 + 2 * roll(4);
	struct box *box = &g->box[m];
	struct stow_machine *machine;
	struct report r;
	char name[16];

	snprintf(name, sizeof(name), "m-%u", m);
	report_init(&r, name, n, cpus, (4 + roll(12)) * GI);
	*box = (struct box){ .n = n, .near = 255, .alive = true };
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < i; j++) {
			r.distances[i][j] = r.distances[j][i] = 12 + 10 * roll(3);
			if (r.distances[i][j] < box->near)
				box->near = r.distances[i][j];
		}
	for (uint32_t i = 0; i < n; i++) {
		struct node *node = &box->node[i];
		PbNumaNode *numa = &r.numa[i];
		uint32_t most;

		if (i && roll(8) == 0) {
			numa->cpus = numa->cpus_shared = numa->cpus_takeable = (char *)"";
			numa->cpus_total = 0;
		}
		*node = (struct node){ .online = numa->cpus[0] ? cpus : 0, .gives = true };
		node->runs = node->online > 0;
		node->total = node->online;
		node->exclusive = numa->cpus_exclusive = node->online && roll(3) == 0;
		node->free = node->online - node->exclusive;
		node->free = numa->cpus_free = node->free ? roll(node->free + 1) : 0;
		node->takeable = node->online < node->free ? node->online : node->free;
		if (roll(2)) {
			r.pools[i][0].total = roll(1000);
			r.pools[i][0].allocatable = roll((uint32_t)r.pools[i][0].total + 1);
			r.pools[i][1].total = r.pools[i][1].allocatable = roll(3);
		}
		for (int p = 0; p < 2; p++) {
			node->pages[p] = r.pools[i][p].allocatable;
			node->all_pages[p] = r.pools[i][p].total;
			node->in_pools += r.pools[i][p].total * r.pools[i][p].page_size;
		}
		node->memory_total = numa->memory_total;
		/* Memory in hugepage pools is not available. */
		most = (uint32_t)((node->memory_total - node->in_pools) / MI);
		node->memory = numa->memory_allocatable = roll(most + 1) * MI;
		node->real = numa->memory_available = roll(most + 1) * MI;
		if (roll(12) == 0) {
			numa->state = PB_NUMA_NODE_STATE_FENCED;
			node->gives = false;
		}
	}
	if (roll(15) == 0) {
		r.message.mode = roll(2) ? PB_MODE_OBSERVE : PB_MODE_DISABLED;
		box->alive = false;
	}
	machine = report_apply(g->fleet, &r, now);
	if (roll(15) == 0) {
		stow_fleet_stale(g->fleet, machine);
		box->alive = false;
	}
	if (roll(10) == 0) {
		struct stow_idset fence = { 0 };
		uint32_t i = roll(n);

		stow_idset_add(&fence, (int)i);
		assert_int_equal(stow_fleet_fence(g->fleet, machine, &fence, NULL), 0);
		box->node[i].gives = false;
	}
	for (uint32_t k = roll(3); k > 0; k--) {
		uint32_t i = roll(n), c = roll(3);
		struct node *node = &box->node[i];
		uint64_t memory = roll(3000) * MI;
		bool own = c && roll(2);
		struct stow_reservation *made = report_reserve(g->fleet, machine, 1 + m * 8 + k, i,
							       c, memory, own, UINT64_MAX);

		if (roll(3) == 0) { /* the report's numbers have it */
			made->counted = true;
			stow_fleet_refresh(g->fleet, machine);
			continue;
		}
		node->free -= c < node->free ? c : node->free;
		node->memory -= memory < node->memory ? memory : node->memory;
		if (own) {
			node->takeable -= c < node->takeable ? c : node->takeable;
			node->exclusive += c;
		}
		if (node->takeable > node->free)
			node->takeable = node->free;
	}
}

static void random_pod(struct game *g, bool pages)
{
	static const PbPolicy policies[] = { PB_POLICY_SINGLE_NUMA_NODE, PB_POLICY_RESTRICTED,
					     PB_POLICY_BEST_EFFORT };
	static char text[64];

	pb_pod_request__init(&g->pod);
	g->named = (struct stow_idset){ 0 };
	g->spread = roll(2);
	g->pod.name = (char *)"pod";
	g->pod.policy = policies[roll(3)];
	g->pod.cpus = roll(6) ? 1 + roll(8) : 0;
	g->pod.cpu_mode = g->pod.cpus && roll(2) ? PB_CPU_MODE_EXCLUSIVE : PB_CPU_MODE_SHARED;
	g->pod.memory = roll(4) || !g->pod.cpus ? (1 + roll(12000)) * MI : 0;
	if (roll(5) == 0) {
		for (int i = 0; i < 4; i++)
			if (roll(2))
				stow_idset_add(&g->named, i);
		g->pod.numa_nodes =
			stow_idset_empty(&g->named)
				? (char *)""
				: (char *)stow_idset_format(&g->named, text, sizeof(text));
	}
	g->pod.hugepages = g->list;
	for (int p = 0; pages && p < 2; p++) {
		PbHugepages *want = &g->pages[g->pod.n_hugepages];

		if (p == 0 && roll(3) == 0)
			continue;
		pb_hugepages__init(want);
		want->page_size = p ? GI : 2 * MI;
		want->pages = 1 + roll(p ? 4 : 1500);
		g->list[g->pod.n_hugepages++] = want;
	}
}

/* --- the oracle --------------------------------------------------------------------------------- */

static bool may_use(const struct game *g, const struct box *box, uint32_t i, bool empty)
{
	const struct node *node = &box->node[i];

	if (!stow_idset_empty(&g->named))
		return stow_idset_has(&g->named, (int)i) && (empty || node->gives);
	return node->online > 0 && (empty || node->gives);
}

/* Whether the set holds the request: sums decide, for every page size is a multiple of the smaller
 * ones; of large pages those that a pool lacks are cut from each NUMA node's memory. */
static bool set_holds(const struct game *g, const struct box *box, uint32_t set, bool empty)
{
	uint64_t cpus = 0, memory = 0, left[4];
	bool runs = false;

	for (uint32_t i = 0; i < box->n; i++) {
		const struct node *node = &box->node[i];

		left[i] = node->memory;
		if (empty)
			left[i] = node->memory_total > node->in_pools
					  ? node->memory_total - node->in_pools
					  : 0;
		if (!(set >> i & 1))
			continue;
		if (!may_use(g, box, i, empty))
			return false;
		runs |= node->runs;
		cpus += empty					   ? node->total
			: g->pod.cpu_mode == PB_CPU_MODE_EXCLUSIVE ? node->takeable
								   : node->free;
	}
	for (size_t p = g->pod.n_hugepages; p-- > 0;) {
		const PbHugepages *want = g->list[p];
		uint64_t missing = want->pages;

		for (uint32_t i = 0; i < box->n; i++) {
			const struct node *node = &box->node[i];
			uint64_t has =
				(empty ? node->all_pages : node->pages)[want->page_size == GI];

			if (set >> i & 1)
				missing -= has < missing ? has : missing;
		}
		for (uint32_t i = 0; i < box->n; i++)
			while (set >> i & 1 && missing && left[i] >= want->page_size) {
				left[i] -= want->page_size;
				missing--;
			}
		if (missing)
			return false;
	}
	for (uint32_t i = 0; i < box->n; i++)
		memory += set >> i & 1 ? left[i] : 0;
	return runs && cpus >= g->pod.cpus && memory >= g->pod.memory;
}

static int fewest(const struct game *g, const struct box *box, bool empty)
{
	int least = 0;

	for (uint32_t set = 1; set < 1U << box->n; set++) {
		int n = __builtin_popcount(set);

		if ((!least || n < least) && set_holds(g, box, set, empty))
			least = n;
	}
	return least;
}

/* The number of NUMA nodes that it takes, or 0: it does not fit. */
static int takes(const struct game *g, const struct box *box)
{
	uint64_t online = 0, owned = 0;
	bool runs = stow_idset_empty(&g->named);
	int n;

	if (!box->alive)
		return 0;
	for (uint32_t i = 0; i < box->n; i++) {
		online += box->node[i].online;
		owned += box->node[i].exclusive;
		runs |= box->node[i].online && stow_idset_has(&g->named, (int)i);
	}
	if (!runs || (!stow_idset_empty(&g->named) && stow_idset_next(&g->named, (int)box->n) >= 0))
		return 0;
	/* One CPU must stay for containers without exclusive CPUs. */
	if (g->pod.cpu_mode == PB_CPU_MODE_EXCLUSIVE && online < owned + g->pod.cpus + 1)
		return 0;
	n = fewest(g, box, false);
	if (g->pod.policy == PB_POLICY_SINGLE_NUMA_NODE)
		return n == 1;
	if (g->pod.policy == PB_POLICY_RESTRICTED)
		return n <= fewest(g, box, true) ? n : 0;
	return n;
}

/* As docs/scheduler.md says it. Whether a comes before b. */
static int order(const struct game *g, const struct box *a, int a_takes, const struct box *b,
		 int b_takes)
{
	uint64_t cpus[2] = { 0 }, real[2] = { 0 };
	const struct box *both[] = { a, b };

	if ((a_takes > 1) != (b_takes > 1))
		return a_takes > 1 ? 1 : -1;
	if (a_takes > 1 && a->near != b->near)
		return a->near < b->near ? -1 : 1;
	for (int k = 0; k < 2; k++)
		for (uint32_t i = 0; i < both[k]->n; i++) {
			cpus[k] += both[k]->node[i].gives ? both[k]->node[i].free : 0;
			real[k] += both[k]->node[i].gives ? both[k]->node[i].real : 0;
		}
	if (cpus[0] != cpus[1])
		return (cpus[0] < cpus[1]) == g->spread ? 1 : -1;
	return real[0] / GI == real[1] / GI ? 0 : real[0] / GI > real[1] / GI ? -1 : 1;
}

/* --- play --------------------------------------------------------------------------------------- */

static void check_found(const struct game *g, const struct stow_found *found)
{
	const struct box *box = &g->box[found->machine->index];
	uint64_t cpus = 0, memory = 0;
	uint32_t set = 0;

	for (size_t i = 0; i < found->n_shares; i++) {
		assert_in_range(found->shares[i].node, 0, box->n - 1);
		assert_false(set >> found->shares[i].node & 1);
		set |= 1U << found->shares[i].node;
		cpus += found->shares[i].cpus;
		memory += found->shares[i].memory;
		assert_true(found->shares[i].cpus <= box->node[found->shares[i].node].free);
		assert_true(found->shares[i].memory <= box->node[found->shares[i].node].memory);
	}
	assert_true(set_holds(g, box, set, false));
	assert_int_equal(cpus, g->pod.cpus);
	assert_int_equal(memory, g->pod.memory);
	assert_int_equal(found->n_shares, takes(g, box));
	assert_true(strlen(found->reason) > 10);
}

static void play_round(bool pages, int *ret_placed, int *ret_refused)
{
	struct stow_found found = { 0 };
	struct stow_err err = { 0 };
	struct stow_want want;
	struct game g = { 0 };
	int best = -1, r;

	assert_int_equal(stow_fleet_new(&g.fleet, NULL), 0);
	g.n = 1 + roll(MANY);
	for (uint32_t m = 0; m < g.n; m++)
		random_box(&g, m);
	random_pod(&g, pages);
	assert_int_equal(stow_want_parse(&g.pod, g.spread ? PB_STRATEGY_SPREAD : PB_STRATEGY_TIGHT,
					 &want, &err),
			 0);
	for (uint32_t m = 0; m < g.n; m++) {
		int n = takes(&g, &g.box[m]);
		struct stow_found here = { 0 };

		r = stow_search_machine(g.fleet->machines[m], &want, &here, NULL);
		assert_int_equal(r, n ? 0 : -ENOSPC);
		free(here.shares);
		if (n && (best < 0 ||
			  order(&g, &g.box[m], n, &g.box[best], takes(&g, &g.box[best])) < 0))
			best = (int)m;
	}
	r = stow_search_fleet(g.fleet, &want, &found, &err);
	assert_int_equal(r, best >= 0 ? 0 : -ENOSPC);
	if (r == 0) {
		uint32_t m = found.machine->index;

		check_found(&g, &found);
		if (order(&g, &g.box[best], takes(&g, &g.box[best]), &g.box[m],
			  takes(&g, &g.box[m])) < 0)
			fail_msg("%s was chosen over m-%d", found.machine->name, best);
	} else {
		assert_non_null(strstr(err.msg, "the nearest is"));
		assert_null(strchr(err.msg, '\n'));
	}
	*ret_placed += r == 0;
	*ret_refused += r != 0;
	free(found.shares);
	stow_fleet_free(g.fleet);
}

static void play(bool pages)
{
	const char *text = getenv("NUMASTOW_TEST_SEED");
	uint64_t base = text ? strtoull(text, NULL, 0) : 1;
	int placed = 0, refused = 0;

	print_message("NUMASTOW_TEST_SEED=%llu\n", (unsigned long long)base);
	for (int round = 0; round < ROUNDS; round++) {
		seed = UINT64_C(0x9e3779b97f4a7c15) * (base * ROUNDS + (uint64_t)round + 1);
		play_round(pages, &placed, &refused);
	}
	/* The dice must not have left anything untried. */
	assert_true(placed > ROUNDS / 4 && refused > ROUNDS / 20);
}

TEST(the_best_machine_is_chosen)
{
	play(false);
}

TEST(with_hugepages_too)
{
	play(true);
}

/* A machine that is full of small gaps must not hide the 17th that has the room. */
TEST(none_is_passed_over_behind_the_best)
{
	PbPodRequest pod = PB_POD_REQUEST__INIT;
	struct stow_found found = { 0 };
	struct stow_fleet *fleet;
	struct stow_want want;
	struct report r;
	char name[16];

	assert_int_equal(stow_fleet_new(&fleet, NULL), 0);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "m-%d", i);
		report_init(&r, name, 2, 8, 16 * GI);
		r.numa[0].memory_allocatable = i == 77 ? 16 * GI : 0;
		r.numa[1].cpus_free = i == 77 ? 8 : 0;
		report_apply(fleet, &r, (struct stow_now){ 1, 1 });
	}
	pod.cpus = 4;
	pod.memory = 4 * GI;
	pod.policy = PB_POLICY_SINGLE_NUMA_NODE;
	assert_int_equal(stow_want_parse(&pod, PB_STRATEGY_TIGHT, &want, NULL), 0);
	assert_int_equal(stow_search_fleet(fleet, &want, &found, NULL), 0);
	assert_string_equal(found.machine->name, "m-77");
	free(found.shares);
	stow_fleet_free(fleet);
}

TEST(the_machine_can_be_named)
{
	PbPodRequest pod = PB_POD_REQUEST__INIT;
	struct stow_found found = { 0 };
	struct stow_err err = { 0 };
	struct stow_fleet *fleet;
	struct stow_want want;
	struct report r;

	assert_int_equal(stow_fleet_new(&fleet, NULL), 0);
	pod.cpus = 2;
	assert_int_equal(stow_want_parse(&pod, PB_STRATEGY_TIGHT, &want, NULL), 0);
	assert_int_equal(stow_search_fleet(fleet, &want, &found, &err), -ENOSPC);
	assert_string_equal(err.msg, "no node has reported yet");
	report_init(&r, "small", 1, 1, GI);
	report_apply(fleet, &r, (struct stow_now){ 1, 1 });
	report_init(&r, "large", 1, 8, GI);
	report_apply(fleet, &r, (struct stow_now){ 1, 1 });
	pod.node = (char *)"small";
	assert_int_equal(stow_want_parse(&pod, PB_STRATEGY_TIGHT, &want, NULL), 0);
	assert_int_equal(stow_search_fleet(fleet, &want, &found, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "node small"));
	pod.node = (char *)"none";
	assert_int_equal(stow_want_parse(&pod, PB_STRATEGY_TIGHT, &want, NULL), 0);
	assert_int_equal(stow_search_fleet(fleet, &want, &found, &err), -ENOENT);
	pod.node = (char *)"large";
	assert_int_equal(stow_want_parse(&pod, PB_STRATEGY_TIGHT, &want, NULL), 0);
	assert_int_equal(stow_search_fleet(fleet, &want, &found, &err), 0);
	assert_string_equal(found.machine->name, "large");
	free(found.shares);
	stow_fleet_free(fleet);
}

TEST(nonsense_is_refused)
{
	PbHugepages large = PB_HUGEPAGES__INIT, small = PB_HUGEPAGES__INIT;
	PbHugepages *list[] = { &large, &small };
	struct {
		const char *names;
		PbPodRequest pod;
	} cases[] = {
		{ "requests nothing", PB_POD_REQUEST__INIT }, { "cpus", PB_POD_REQUEST__INIT },
		{ "memory", PB_POD_REQUEST__INIT },	      { "cpu_mode", PB_POD_REQUEST__INIT },
		{ "numa_nodes", PB_POD_REQUEST__INIT },	      { "node", PB_POD_REQUEST__INIT },
		{ "ascend", PB_POD_REQUEST__INIT },	      { "too many", PB_POD_REQUEST__INIT },
		{ "power of two", PB_POD_REQUEST__INIT },
	};
	PbHugepages huge = PB_HUGEPAGES__INIT, odd = PB_HUGEPAGES__INIT;
	PbHugepages *too_many[] = { &huge }, *no_power[] = { &odd };

	large.page_size = GI, large.pages = 1;
	small.page_size = 2 * MI, small.pages = 1;
	huge.page_size = GI, huge.pages = UINT64_MAX;
	odd.page_size = 3 * MI, odd.pages = 1;
	cases[1].pod.cpus = UINT32_MAX;
	cases[2].pod.memory = UINT64_MAX;
	cases[3].pod.cpu_mode = PB_CPU_MODE_EXCLUSIVE, cases[3].pod.memory = GI;
	cases[4].pod.cpus = 1, cases[4].pod.numa_nodes = (char *)"0-";
	cases[5].pod.cpus = 1, cases[5].pod.node = (char *)"Web_3";
	cases[6].pod.hugepages = list, cases[6].pod.n_hugepages = 2;
	cases[7].pod.hugepages = too_many, cases[7].pod.n_hugepages = 1;
	cases[8].pod.hugepages = no_power, cases[8].pod.n_hugepages = 1;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		struct stow_err err = { 0 };
		struct stow_want want;

		assert_true(stow_want_parse(&cases[i].pod, PB_STRATEGY_TIGHT, &want, &err) < 0);
		assert_non_null(strstr(err.msg, cases[i].names));
		assert_null(strchr(err.msg, '\n'));
	}
}
