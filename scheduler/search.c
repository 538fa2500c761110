// SPDX-License-Identifier: Apache-2.0
#include "scheduler/search.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "place/capacity.h"

#define BEST	   16 /* machines looked at more closely in the first round */
#define EXACT_NUMA 12 /* NUMA nodes of a machine whose sets the planner tries all */

/* --- requests ----------------------------------------------------------------------------------- */

static int parse_pages(const PbPodRequest *pod, struct stow_request *req, struct stow_err *err)
{
	if (pod->n_hugepages > STOW_POOLS_MAX)
		return stow_err_set(err, EINVAL, "hugepages: %zu sizes; at most %d",
				    pod->n_hugepages, STOW_POOLS_MAX);
	for (size_t i = 0; i < pod->n_hugepages; i++) {
		if (!pod->hugepages[i]->pages)
			continue;
		req->pages[req->n_pages].size = pod->hugepages[i]->page_size;
		req->pages[req->n_pages++].count = pod->hugepages[i]->pages;
	}
	return stow_request_check_amounts(req, err);
}

int stow_want_parse(const PbPodRequest *pod, PbStrategy strategy, struct stow_want *ret,
		    struct stow_err *err)
{
	struct stow_request *req = &ret->request;

	*ret = (struct stow_want){ .machine = pod->node, .spread = strategy == PB_STRATEGY_SPREAD };
	req->cpus = pod->cpus;
	req->memory = pod->memory;
	req->nodes_auto = pod->numa_nodes[0] == '\0';
	req->cpu_mode =
		pod->cpu_mode == PB_CPU_MODE_EXCLUSIVE ? STOW_CPU_EXCLUSIVE : STOW_CPU_SHARED;
	if (pod->policy > PB_POLICY_UNSPECIFIED && pod->policy <= PB_POLICY_SPREAD)
		req->policy = (enum stow_policy)(pod->policy - PB_POLICY_SINGLE_NUMA_NODE);
	if (req->cpu_mode == STOW_CPU_EXCLUSIVE && !pod->cpus)
		return stow_err_set(err, EINVAL,
				    "cpus: missing; cpu_mode exclusive wants a number");
	if (pod->node[0] && stow_machine_name_check(pod->node, err) < 0)
		return stow_err_wrap(err, -EINVAL, "node");
	if (!req->nodes_auto) {
		int r = stow_idset_parse(pod->numa_nodes, &req->nodes, err);

		if (r < 0)
			return stow_err_wrap(err, r, "numa_nodes");
	}
	if (parse_pages(pod, req, err) < 0)
		return -EINVAL;
	if (!pod->cpus && !pod->memory && !req->n_pages)
		return stow_err_set(
			err, EINVAL,
			"pod \"%.64s\" asks for nothing: want cpus, memory or hugepages",
			pod->name);
	return 0;
}

/* --- one machine -------------------------------------------------------------------------------- */

/* The machine as the planner wants it. CPUs are made up: which ones is the machine's business,
 * their number is not. */
struct model {
	struct stow_topology topology;
	struct stow_capacity capacity;
};

static void model_done(struct model *model)
{
	free(model->topology.nodes);
	free(model->topology.distance);
	free(model->topology.cpus);
	free(model->capacity.nodes);
}

static void add_range(struct stow_idset *set, int first, int n)
{
	for (int i = 0; i < n; i++)
		stow_idset_add(set, first + i);
}

static void model_node(const struct stow_machine *m, uint32_t i, const struct stow_room *room,
		       int first, struct model *model)
{
	const struct stow_numa *numa = &m->numa[i];
	struct stow_node_capacity *cap = &model->capacity.nodes[i];
	struct stow_node *node = &model->topology.nodes[i];

	node->id = cap->id = numa->id;
	node->mem_total = numa->memory_total;
	node->mem_free = node->mem_available = numa->memory_real;
	add_range(&node->cpus, first, numa->online);
	add_range(&cap->cpus, first, numa->shared);
	add_range(&cap->takeable, first, room->takeable);
	cap->cpus_total = numa->total;
	cap->cpus_free = room->cpus;
	cap->mem_total = numa->memory_total;
	cap->mem_unpromised = cap->mem_real = cap->mem_free = room->memory;
	cap->fenced = !room->gives;
	cap->allowed = true;
	cap->n_pools = node->n_pools = numa->n_pools;
	for (size_t p = 0; p < numa->n_pools; p++) {
		node->pools[p].size = cap->pools[p].size = numa->pools[p].size;
		node->pools[p].total = cap->pools[p].total = numa->pools[p].total;
		node->pools[p].free = cap->pools[p].free = room->pages[p];
	}
}

static int model_make(const struct stow_machine *m, struct model *model, struct stow_err *err)
{
	struct stow_topology *t = &model->topology;
	_cleanup_free_ struct stow_room *rooms = calloc(m->n_numa, sizeof(*rooms));
	size_t cpus = 0;
	int first = 0;

	for (uint32_t i = 0; i < m->n_numa; i++)
		cpus += m->numa[i].online;
	t->nodes = calloc(m->n_numa, sizeof(*t->nodes));
	t->distance = calloc((size_t)m->n_numa * m->n_numa, sizeof(*t->distance));
	t->cpus = calloc(cpus + 1, sizeof(*t->cpus));
	model->capacity.nodes = calloc(m->n_numa, sizeof(*model->capacity.nodes));
	if (!t->nodes || !t->distance || !t->cpus || !model->capacity.nodes || !rooms)
		return stow_err_set(err, ENOMEM, "out of memory");
	stow_machine_rooms(m, rooms);
	t->n_nodes = model->capacity.n_nodes = m->n_numa;
	t->numa = true;
	model->capacity.topology = t;
	for (size_t i = 0; i < (size_t)m->n_numa * m->n_numa; i++)
		t->distance[i] = m->distance[i];
	for (uint32_t i = 0; i < m->n_numa; i++) {
		model_node(m, i, &rooms[i], first, model);
		for (int c = 0; c < m->numa[i].online; c++)
			t->cpus[t->n_cpus++] =
				(struct stow_cpu){ first + c, m->numa[i].id, first + c, (int)i, 0 };
		first += m->numa[i].online;
	}
	add_range(&t->online, 0, first);
	add_range(&model->capacity.unowned, 0, (int)stow_machine_unowned(m));
	return 0;
}

static bool silent(const struct stow_machine *m, struct stow_err *err)
{
	if (m->n_numa == 0)
		stow_err_set(err, ENOSPC, "node %s has not reported yet", m->name);
	else if (m->stale)
		stow_err_set(err, ENOSPC, "node %s is stale: its agent is silent", m->name);
	else if (stow_machine_full(m))
		stow_err_set(err, ENOSPC, "node %s has %zu reservations, as many as it can have",
			     m->name, m->n_reservations);
	else if (!m->enforces)
		stow_err_set(err, ENOSPC, "node %s only observes, or is switched off", m->name);
	else
		return false;
	return true;
}

int stow_search_machine(const struct stow_machine *machine, const struct stow_want *want,
			struct stow_found *ret, struct stow_err *err)
{
	_cleanup_(model_done) struct model model = { 0 };
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	struct stow_err why = { 0 };
	int r;

	if (silent(machine, &why))
		return stow_err_set(err, ENOSPC, "%s", why.msg);
	r = model_make(machine, &model, err);
	if (r < 0)
		return r;
	r = stow_plan_make(&model.capacity, &want->request, -1, &plan, NULL, &why);
	/* A NUMA node or page size that this machine has not: others may. */
	if (r == -EINVAL)
		r = -ENOSPC;
	if (r < 0)
		return stow_err_set(err, -r, "node %s: %s", machine->name, why.msg);
	ret->machine = (struct stow_machine *)(uintptr_t)machine;
	ret->shares = STOW_TAKE_PTR(plan->shares);
	ret->n_shares = plan->n_shares;
	plan->n_shares = 0;
	snprintf(ret->reason, sizeof(ret->reason), "%s", plan->reason);
	return 0;
}

/* --- all machines ------------------------------------------------------------------------------- */

/* What is looked for, in the columns' terms. */
struct need {
	uint64_t cpus, memory;
	bool exclusive, one; /* one NUMA node */
};

static struct need need_of(const struct stow_want *want)
{
	const struct stow_request *req = &want->request;
	struct need need = { .cpus = req->cpus, .memory = req->memory };

	need.exclusive = req->cpu_mode == STOW_CPU_EXCLUSIVE;
	need.one = req->policy == STOW_POLICY_SINGLE_NUMA_NODE;
	return need;
}

static inline bool may_fit_on_one(const struct stow_machine_columns *c, uint32_t m,
				  const struct need *need)
{
	return c->open[m] && c->most_cpus[m] >= need->cpus && c->most_memory[m] >= need->memory &&
	       (!need->exclusive || c->most_takeable[m] >= need->cpus);
}

static inline bool may_fit(const struct stow_machine_columns *c, uint32_t m,
			   const struct need *need)
{
	return c->open[m] && c->cpus[m] >= need->cpus && c->memory[m] >= need->memory &&
	       (!need->exclusive || (c->takeable[m] >= need->cpus && c->unowned[m] > need->cpus));
}

/* Smaller is better. The number of NUMA nodes and their distance come first, and only where more
 * than one is needed; then how full the machine is, then memory: its rank, which with all of its
 * CPUs' bits turned over sorts the emptiest first. */
#define FAR_SHIFT 48
#define SPREAD	  ((UINT64_C(1) << FAR_SHIFT) - (UINT64_C(1) << STOW_RANK_CPUS_SHIFT))

static inline uint64_t key_of(const struct stow_machine_columns *c, uint32_t m, bool one,
			      bool spread)
{
	uint64_t far = one ? 0 : (1 + (uint64_t)c->near[m]) << FAR_SHIFT;

	return far | (c->rank[m] ^ (spread ? SPREAD : 0));
}

struct candidate {
	uint64_t key;
	uint32_t m;
};

struct best {
	struct candidate list[BEST];
	size_t n;
	bool more; /* that did not get into the list */
};

static void consider(struct best *best, uint64_t key, uint32_t m)
{
	size_t i = best->n;

	if (best->n == BEST) {
		best->more = true;
		i = BEST - 1;
	} else {
		best->n++;
	}
	for (; i > 0 && best->list[i - 1].key > key; i--)
		best->list[i] = best->list[i - 1];
	best->list[i] = (struct candidate){ key, m };
}

/* At least how many NUMA nodes it takes now, whichever they are: the CPUs of those that have most,
 * and the memory of those that have most of that. */
static uint32_t fewest_now(const struct stow_fleet *fleet, uint32_t m, const struct need *need)
{
	const struct stow_numa_columns *n = &fleet->of_numa;
	uint32_t first = fleet->of_machine.first[m], many = fleet->of_machine.n[m], k;
	uint64_t used_cpus = 0, used_memory = 0, cpus = 0, memory = 0;

	for (k = 0; k < many && (cpus < need->cpus || memory < need->memory); k++) {
		uint32_t most_cpus = UINT32_MAX, most_memory = UINT32_MAX;

		for (uint32_t i = 0; i < many; i++) {
			if (!(used_cpus >> i & 1) &&
			    (most_cpus == UINT32_MAX ||
			     n->cpus[first + i] > n->cpus[first + most_cpus]))
				most_cpus = i;
			if (!(used_memory >> i & 1) &&
			    (most_memory == UINT32_MAX ||
			     n->memory[first + i] > n->memory[first + most_memory]))
				most_memory = i;
		}
		used_cpus |= UINT64_C(1) << most_cpus;
		used_memory |= UINT64_C(1) << most_memory;
		cpus += n->cpus[first + most_cpus];
		memory += n->memory[first + most_memory];
	}
	return k;
}

/* At most how many NUMA nodes it would take if the machine were empty: those with most CPUs. What
 * the planner would not give to an empty machine's first pod is not counted. */
static uint32_t fewest_empty(const struct stow_machine *machine, const struct stow_want *want,
			     const struct need *need)
{
	uint64_t used = 0, cpus = 0, memory = 0;
	uint32_t k;

	for (k = 0; k < machine->n_numa && (cpus < need->cpus || memory < need->memory); k++) {
		uint32_t most = UINT32_MAX;
		uint64_t pools = 0;

		for (uint32_t i = 0; i < machine->n_numa; i++)
			if (!(used >> i & 1) && machine->numa[i].online &&
			    (want->request.nodes_auto ||
			     stow_idset_has(&want->request.nodes, machine->numa[i].id)) &&
			    (most == UINT32_MAX ||
			     machine->numa[i].total > machine->numa[most].total))
				most = i;
		if (most == UINT32_MAX)
			return machine->n_numa;
		used |= UINT64_C(1) << most;
		cpus += machine->numa[most].total;
		for (size_t p = 0; p < machine->numa[most].n_pools; p++)
			pools += machine->numa[most].pools[p].total *
				 machine->numa[most].pools[p].size;
		if (machine->numa[most].memory_total > pools)
			memory += machine->numa[most].memory_total - pools;
	}
	return k;
}

/* Whether the planner need not even be asked: `restricted` wants as few NUMA nodes as the empty
 * machine would give. Of pages nothing is known here, and of machines so large that the planner
 * does not look at all sets of NUMA nodes it is not known what it would find. */
static bool is_hopeless(const struct stow_fleet *fleet, uint32_t m, const struct stow_want *want,
			const struct need *need)
{
	return want->request.policy == STOW_POLICY_RESTRICTED && !want->request.n_pages &&
	       fleet->of_machine.n[m] <= EXACT_NUMA &&
	       fewest_now(fleet, m, need) > fewest_empty(fleet->machines[m], want, need);
}

/* The tightest NUMA node that holds all of it, pages excepted, or -1. */
static int64_t one_of(const struct stow_fleet *fleet, uint32_t m, const struct stow_want *want,
		      const struct need *need)
{
	const struct stow_numa_columns *n = &fleet->of_numa;
	uint32_t first = fleet->of_machine.first[m], best = UINT32_MAX;
	uint32_t flag = want->request.nodes_auto ? STOW_NUMA_OPEN : STOW_NUMA_GIVES;

	if (need->exclusive && fleet->of_machine.unowned[m] <= need->cpus)
		return -1;
	for (uint32_t i = 0; i < fleet->of_machine.n[m]; i++) {
		uint32_t at = first + i;

		if (!(n->flags[at] & flag) || n->cpus[at] < need->cpus ||
		    n->memory[at] < need->memory ||
		    (need->exclusive && n->takeable[at] < need->cpus) ||
		    (!want->request.nodes_auto &&
		     !stow_idset_has(&want->request.nodes, fleet->machines[m]->numa[i].id)))
			continue;
		if (best == UINT32_MAX || n->cpus[at] < n->cpus[first + best] ||
		    (n->cpus[at] == n->cpus[first + best] &&
		     n->memory[at] < n->memory[first + best]))
			best = i;
	}
	return best == UINT32_MAX ? -1 : (int64_t)best;
}

/* The machine's key, or UINT64_MAX when it cannot be. What is asked first tells most of them apart;
 * the closer looks, which cost more, are for those whose key is below `worst`. Whether the others
 * would fit is not known. */
static inline uint64_t key_if(const struct stow_fleet *fleet, uint32_t m,
			      const struct stow_want *want, const struct need *need, uint64_t worst)
{
	const struct stow_machine_columns *c = &fleet->of_machine;
	uint64_t key = key_of(c, m, true, want->spread); /* if all goes on one NUMA node */
	bool one;

	if (key >= worst)
		return key;
	one = may_fit_on_one(c, m, need);
	if (!one)
		key = key_of(c, m, false, want->spread);
	if (key >= worst)
		return key;
	if (need->one ? !one : !may_fit(c, m, need))
		return UINT64_MAX;
	/* CPUs on the one NUMA node, memory on the other. */
	if (one && one_of(fleet, m, want, need) < 0) {
		if (need->one)
			return UINT64_MAX;
		key = key_of(c, m, false, want->spread);
	}
	return is_hopeless(fleet, m, want, need) ? UINT64_MAX : key;
}

/* `more` may count some that would not fit: it is of use only when none of the list does. */
static void scan(const struct stow_fleet *fleet, const struct stow_want *want,
		 const struct need *need, struct best *best)
{
	uint64_t worst = UINT64_MAX; /* that is still of interest */

	for (uint32_t m = 0; m < fleet->n_machines; m++) {
		uint64_t key = key_if(fleet, m, want, need, worst);

		if (key >= worst) {
			best->more |= best->n == BEST;
			continue;
		}
		consider(best, key, m);
		if (best->n == BEST)
			worst = best->list[BEST - 1].key;
	}
}

/* One NUMA node, which the machine chooses, and no hugepages: the columns know it all. */
static bool on_one(const struct stow_fleet *fleet, uint32_t m, const struct stow_want *want,
		   const struct need *need, struct stow_found *ret)
{
	char free[32];
	const struct stow_numa_columns *n = &fleet->of_numa;
	struct stow_machine *machine = fleet->machines[m];
	int64_t best = one_of(fleet, m, want, need);
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
			const struct need *need, struct stow_found *ret)
{
	/* Who names NUMA nodes wants a machine that has them all: the planner looks. */
	if (want->request.nodes_auto && !want->request.n_pages &&
	    want->request.policy != STOW_POLICY_SPREAD && on_one(fleet, m, want, need, ret))
		return true;
	return stow_search_machine(fleet->machines[m], want, ret, NULL) == 0;
}

static inline uint64_t lacks(const struct stow_machine_columns *c, uint32_t m,
			     const struct need *need)
{
	uint64_t cpus = need->one ? c->most_cpus[m] : c->cpus[m];
	uint64_t memory = need->one ? c->most_memory[m] : c->memory[m];
	double parts = 0;

	if (!c->open[m])
		return UINT64_MAX;
	if (cpus < need->cpus)
		parts += (double)(need->cpus - cpus) / (double)need->cpus;
	if (memory < need->memory)
		parts += (double)(need->memory - memory) / (double)need->memory;
	return (uint64_t)(parts * 1000);
}

uint64_t stow_search_lacks(const struct stow_fleet *fleet, const struct stow_machine *machine,
			   const struct stow_want *want)
{
	struct need need = need_of(want);

	return lacks(&fleet->of_machine, machine->index, &need);
}

/* The nearest miss, in the planner's words. */
static int no_room(struct stow_fleet *fleet, const struct stow_want *want, struct stow_err *err)
{
	struct need need = need_of(want);
	struct stow_machine *nearest = NULL;
	struct stow_found found = { 0 };
	uint64_t least = UINT64_MAX;
	struct stow_err why = { 0 };

	if (fleet->n_machines == 0)
		return stow_err_set(err, ENOSPC, "no node has reported yet");
	for (uint32_t m = 0; m < fleet->n_machines; m++) {
		uint64_t this = lacks(&fleet->of_machine, m, &need);

		if (!nearest || this < least) {
			nearest = fleet->machines[m];
			least = this;
		}
	}
	if (stow_search_machine(nearest, want, &found, &why) == 0) {
		free(found.shares);
		snprintf(why.msg, sizeof(why.msg), "it went to another pod meanwhile");
	}
	return stow_err_set(err, ENOSPC, "none of %u nodes has room; the nearest is %s",
			    fleet->n_machines, why.msg);
}

/* The first that is what its key promised. One that has to divide what seemed to go on one NUMA
 * node, for there pages are missing, waits until none is left that does not. */
static int try_best(struct stow_fleet *fleet, const struct stow_want *want, const struct need *need,
		    const struct best *best, struct stow_found *ret)
{
	struct stow_found divided = { 0 };
	uint64_t key = UINT64_MAX;

	for (size_t i = 0; i < best->n && best->list[i].key < key; i++) {
		const struct candidate *at = &best->list[i];
		struct stow_found found = { 0 };
		uint64_t its;

		if (!try_machine(fleet, at->m, want, need, &found))
			continue;
		its = key_of(&fleet->of_machine, at->m, found.n_shares == 1, want->spread);
		if (its < key) {
			free(divided.shares);
			divided = found;
			key = its;
		} else {
			free(found.shares);
		}
	}
	*ret = divided;
	return key == UINT64_MAX ? -ENOSPC : 0;
}

static int by_key(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->m > y->m) - (x->m < y->m);
}

/* None of the best had it after all: the others, in the same order. */
static int try_rest(struct stow_fleet *fleet, const struct stow_want *want, const struct need *need,
		    const struct best *best, struct stow_found *ret)
{
	const struct candidate *last = &best->list[BEST - 1];
	_cleanup_free_ struct candidate *list = calloc(fleet->n_machines, sizeof(*list));
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	for (uint32_t m = 0; m < fleet->n_machines; m++) {
		struct candidate c = { key_if(fleet, m, want, need, UINT64_MAX), m };

		if (c.key != UINT64_MAX && by_key(&c, last) > 0)
			list[n++] = c;
	}
	qsort(list, n, sizeof(*list), by_key);
	for (size_t i = 0; i < n; i++)
		if (try_machine(fleet, list[i].m, want, need, ret))
			return 0;
	return -ENOSPC;
}

int stow_fleet_search(struct stow_fleet *fleet, const struct stow_want *want,
		      struct stow_found *ret, struct stow_err *err)
{
	struct need need = need_of(want);
	struct best best = { .n = 0 };
	int r;

	*ret = (struct stow_found){ 0 };
	if (want->machine[0]) {
		struct stow_machine *m = stow_fleet_find(fleet, want->machine);

		if (!m)
			return stow_err_set(err, ENOENT, "there is no node \"%.64s\"",
					    want->machine);
		return stow_search_machine(m, want, ret, err);
	}
	scan(fleet, want, &need, &best);
	r = try_best(fleet, want, &need, &best, ret);
	if (r == -ENOSPC && best.more)
		r = try_rest(fleet, want, &need, &best, ret);
	if (r == -ENOMEM)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		return 0;
	return no_room(fleet, want, err);
}
