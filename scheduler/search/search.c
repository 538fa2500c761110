// SPDX-License-Identifier: Apache-2.0
#include "scheduler/search/search.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "place/capacity.h"
#include "scheduler/search/search_internal.h"

/* --- requests ------------------------------------------------------------- */

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
				    "cpus: missing; cpu_mode exclusive requires a number");
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
			"pod \"%.64s\" requests nothing: cpus, memory or hugepages is required",
			pod->name);
	return 0;
}

/* --- one machine ---------------------------------------------------------- */

/* The machine in the planner's form. The CPU numbers are invented; only how many there are
 * matters, because the machine chooses its CPUs itself. */
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
	add_range(&model->capacity.nonexclusive, 0, (int)stow_machine_nonexclusive(m));
	return 0;
}

/* Return whether nothing can be placed on the machine now, with the reason. */
static bool is_unavailable(const struct stow_machine *m, struct stow_err *err)
{
	if (m->n_numa == 0)
		stow_err_set(err, ENOSPC, "node %s has not reported yet", m->name);
	else if (m->stale)
		stow_err_set(err, ENOSPC, "node %s is stale: its agent is silent", m->name);
	else if (stow_machine_full(m))
		stow_err_set(err, ENOSPC, "node %s has %zu reservations, as many as it can have",
			     m->name, m->n_reservations);
	else if (!m->enforces)
		stow_err_set(err, ENOSPC, "node %s is in mode observe or disabled", m->name);
	else
		return false;
	return true;
}

static int model_plan(const struct model *model, const char *name,
		      const struct stow_request *request, struct stow_plan **ret,
		      struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = stow_plan_make(&model->capacity, request, -1, ret, NULL, &why);

	/* The machine lacks the NUMA node or page size; other machines may have it. */
	if (r == -EINVAL)
		r = -ENOSPC;
	return r < 0 ? stow_err_set(err, -r, "node %s: %s", name, why.msg) : 0;
}

int stow_search_machine(const struct stow_machine *machine, const struct stow_want *want,
			struct stow_found *ret, struct stow_err *err)
{
	_cleanup_(model_done) struct model model = { 0 };
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	struct stow_err why = { 0 };
	int r;

	if (is_unavailable(machine, &why))
		return stow_err_move(err, -ENOSPC, &why);
	r = model_make(machine, &model, err);
	if (r == 0)
		r = model_plan(&model, machine->name, &want->request, &plan, err);
	if (r < 0)
		return r;
	ret->machine = (struct stow_machine *)(uintptr_t)machine;
	ret->shares = STOW_TAKE_PTR(plan->shares);
	ret->n_shares = plan->n_shares;
	plan->n_shares = 0;
	snprintf(ret->reason, sizeof(ret->reason), "%s", plan->reason);
	return 0;
}

uint64_t stow_search_order(const struct stow_fleet *fleet, const struct stow_machine *machine,
			   bool one, bool spread)
{
	return stow_search_key(&fleet->of_machine, machine->index, one, spread);
}

/* --- several requests ----------------------------------------------------- */

struct stow_trial {
	struct model model;
	char *name;
};

int stow_trial_new(const struct stow_machine *machine, struct stow_trial **ret,
		   struct stow_err *err)
{
	_cleanup_(stow_trial_free_ptr) struct stow_trial *trial = NULL;
	struct stow_err why = { 0 };
	int r;

	if (is_unavailable(machine, &why))
		return stow_err_move(err, -ENOSPC, &why);
	trial = calloc(1, sizeof(*trial));
	if (trial)
		trial->name = strdup(machine->name);
	if (!trial || !trial->name)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = model_make(machine, &trial->model, err);
	if (r == 0)
		*ret = STOW_TAKE_PTR(trial);
	return r;
}

void stow_trial_free(struct stow_trial *trial)
{
	if (!trial)
		return;
	model_done(&trial->model);
	free(trial->name);
	free(trial);
}

/* Take pages of a node: the free ones of its pool first; for the rest the pool grows. */
static void take_pages(struct stow_node_capacity *cap, uint64_t size, uint64_t count)
{
	uint64_t grown = count;

	for (size_t p = 0; p < cap->n_pools; p++) {
		if (cap->pools[p].size != size)
			continue;
		grown = stow_saturating_sub(count, cap->pools[p].free);
		cap->pools[p].free = stow_saturating_sub(cap->pools[p].free, count);
	}
	cap->mem_free = grown > cap->mem_free / size ? 0 : cap->mem_free - grown * size;
}

static void take_share(struct model *model, const struct stow_request *request,
		       const struct stow_plan *plan, const struct stow_share *share)
{
	for (size_t i = 0; i < model->capacity.n_nodes; i++) {
		struct stow_node_capacity *cap = &model->capacity.nodes[i];

		if (cap->id != share->node)
			continue;
		cap->cpus_free = (uint32_t)stow_saturating_sub(cap->cpus_free, share->cpus);
		cap->mem_free = stow_saturating_sub(cap->mem_free, share->memory);
		for (size_t p = 0; p < request->n_pages; p++)
			take_pages(cap, request->pages[p].size, share->pages[p]);
		cap->mem_unpromised = cap->mem_real = cap->mem_free;
		if (plan->exclusive) {
			stow_idset_minus(&cap->cpus, &plan->cpus);
			stow_idset_minus(&cap->takeable, &plan->cpus);
		}
		/* Takeable CPUs are a subset of the free ones. */
		for (int cpu; stow_idset_count(&cap->takeable) > cap->cpus_free;) {
			cpu = stow_idset_next(&cap->takeable, 0);
			stow_idset_del(&cap->takeable, cpu);
		}
	}
}

static void take_plan(struct model *model, const struct stow_request *request,
		      const struct stow_plan *plan)
{
	struct stow_capacity *capacity = &model->capacity;
	size_t left = stow_idset_count(&capacity->nonexclusive);

	for (size_t i = 0; i < plan->n_shares; i++)
		take_share(model, request, plan, &plan->shares[i]);
	if (!plan->exclusive)
		return;
	/* The numbers of the CPUs are invented: only how many there are matters. */
	left = stow_saturating_sub(left, stow_idset_count(&plan->cpus));
	capacity->nonexclusive = (struct stow_idset){ 0 };
	add_range(&capacity->nonexclusive, 0, (int)left);
}

int stow_trial_plan(struct stow_trial *trial, const struct stow_request *request, bool take,
		    size_t *ret_n, struct stow_err *err)
{
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	int r = model_plan(&trial->model, trial->name, request, &plan, err);

	if (r < 0)
		return r;
	if (take)
		take_plan(&trial->model, request, plan);
	*ret_n = plan->n_shares;
	return 0;
}
