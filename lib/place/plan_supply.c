// SPDX-License-Identifier: Apache-2.0
/* Which nodes are candidates, and what each can supply. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "place/plan_internal.h"

int stow_pair_distance(const struct stow_capacity *capacity, int a, int b)
{
	const struct stow_topology *topology = capacity->topology;
	size_t n = topology->n_nodes;

	if (!topology->distance || n != capacity->n_nodes)
		return a == b ? 20 : 40;
	return topology->distance[(size_t)a * n + (size_t)b] +
	       topology->distance[(size_t)b * n + (size_t)a];
}

enum stow_unfit stow_candidate_unfit(const struct stow_capacity *capacity,
				     const struct stow_request *request, int near_node,
				     size_t index)
{
	const struct stow_node_capacity *node = &capacity->nodes[index];
	bool cpuless = stow_idset_empty(&capacity->topology->nodes[index].cpus);

	if (!request->nodes_auto && !stow_idset_has(&request->nodes, node->id))
		return STOW_UNFIT_UNNAMED;
	if (!node->allowed)
		return STOW_UNFIT_FORBIDDEN;
	if (node->fenced)
		return STOW_UNFIT_FENCED;
	/* Memory without CPUs is slow or precious: use it only on request. */
	if (cpuless && request->nodes_auto)
		return STOW_UNFIT_CPULESS;
	if (near_node >= 0 && node->id != near_node &&
	    request->policy == STOW_POLICY_SINGLE_NUMA_NODE)
		return STOW_UNFIT_FAR;
	return STOW_UNFIT_NOT;
}

static void supply_cpus(const struct stow_node_capacity *node, enum stow_cpu_mode mode, bool empty,
			struct stow_supply *ret)
{
	uint64_t own = 0;

	if (stow_cpu_mode_owns(mode) && !empty)
		own = stow_idset_count(stow_own_cpus(node, mode));
	if (mode == STOW_CPU_ISOLATED) {
		ret->cpus = empty ? node->isolated_total : own;
		ret->runs_on = ret->cpus > 0;
		return;
	}
	ret->cpus = empty ? node->cpus_total : node->cpus_free;
	if (mode == STOW_CPU_EXCLUSIVE && !empty && own < ret->cpus)
		ret->cpus = own;
	ret->runs_on = empty ? node->cpus_total > 0 : !stow_idset_empty(&node->cpus);
}

void stow_supply_of(const struct stow_capacity *capacity, const struct stow_request *request,
		    size_t index, bool empty, struct stow_supply *ret)
{
	const struct stow_node_capacity *node = &capacity->nodes[index];

	memset(ret, 0, sizeof(*ret));
	supply_cpus(node, request->cpu_mode, empty, ret);
	ret->runs_on |= request->memory_only;
	ret->memory = node->mem_free;
	if (empty) {
		ret->memory = node->mem_total;
		for (size_t i = 0; i < node->n_pools; i++)
			ret->memory = stow_saturating_sub(ret->memory, node->pools[i].total *
									       node->pools[i].size);
	}
	for (size_t i = 0; i < request->n_pages; i++)
		for (size_t j = 0; j < node->n_pools; j++) {
			if (node->pools[j].size != request->pages[i].size)
				continue;
			ret->free[i] = empty ? node->pools[j].total : node->pools[j].free;
			ret->grow[i] = ret->memory / request->pages[i].size;
		}
	ret->with_memory = capacity->topology->nodes[index].mem_total > 0;
}

void stow_supply_add(struct stow_supply *sum, const struct stow_supply *more, size_t n)
{
	sum->cpus += more->cpus;
	sum->whole += more->whole;
	sum->memory += more->memory;
	for (size_t i = 0; i < n; i++) {
		sum->free[i] += more->free[i];
		sum->grow[i] += more->grow[i];
	}
	sum->runs_on += more->runs_on;
	sum->with_memory += more->with_memory;
}

/*
 * Page sizes are powers of two, so each is a multiple of the smaller ones, and larger pages take a
 * whole number of smaller ones from a node wherever they are: the sums over the nodes decide
 * exactly whether everything fits.
 */
bool stow_supply_covers(const struct stow_supply *sum, const struct stow_need *need,
			uint64_t *ret_grown)
{
	uint64_t grown = 0;

	*ret_grown = 0;
	if (sum->cpus < need->cpus || !sum->runs_on)
		return false;
	for (size_t i = need->n; i-- > 0;) {
		uint64_t missing = stow_saturating_sub(need->count[i], sum->free[i]);

		if (missing > stow_saturating_sub(sum->grow[i], grown / need->size[i]))
			return false;
		grown += missing * need->size[i];
	}
	*ret_grown = grown;
	return grown <= sum->memory && sum->memory - grown >= need->memory;
}

/* Count in whole cores, where only whole cores may be given. */
static void count_in_cores(struct stow_candidates *c, bool even)
{
	c->unit = even ? (uint32_t)c->threads : 1;
	c->never = c->need.cpus % c->unit != 0;
	c->need.cpus /= c->unit;
	if (even)
		c->threads = 1;
}

static void supply_of_candidate(struct stow_candidates *c, const struct stow_request *request,
				size_t index, uint64_t whole, bool empty)
{
	struct stow_supply *has = &c->nodes[c->n].has;

	stow_supply_of(c->capacity, request, index, empty, has);
	has->whole = STOW_MIN(whole, has->cpus);
	if (!stow_wants_full_cores(c->capacity, request))
		return;
	has->cpus = (empty ? has->cpus : has->whole) / c->unit;
	has->whole = has->whole / c->unit;
}

int stow_candidates_init(struct stow_candidates *c, const struct stow_capacity *capacity,
			 const struct stow_request *request, int near_node, bool empty,
			 struct stow_err *err)
{
	_cleanup_free_ uint64_t *whole = NULL;
	bool even = true;

	memset(c, 0, sizeof(*c));
	c->capacity = capacity;
	c->near = c->near_index = -1;
	c->threads = 1;
	c->unit = 1;
	c->mode = request->cpu_mode;
	c->exclusive = stow_cpu_mode_owns(request->cpu_mode);
	c->need.cpus = request->cpus;
	c->need.memory = request->memory;
	c->need.n = request->n_pages;
	for (size_t i = 0; i < request->n_pages; i++) {
		c->need.size[i] = request->pages[i].size;
		c->need.count[i] = request->pages[i].count;
	}
	c->nodes = calloc(capacity->n_nodes + 1, sizeof(*c->nodes));
	whole = calloc(capacity->n_nodes + 1, sizeof(*whole));
	if (!c->nodes || !whole ||
	    (c->exclusive && stow_whole_cores(capacity, c->mode, whole, &c->threads, &even)))
		return stow_err_set(err, ENOMEM, "out of memory");
	if (stow_wants_full_cores(capacity, request))
		count_in_cores(c, even);
	for (size_t i = 0; i < capacity->n_nodes; i++) {
		enum stow_unfit unfit = stow_candidate_unfit(capacity, request, near_node, i);

		if (capacity->nodes[i].id == near_node)
			c->near_index = (int)i;
		if (unfit != STOW_UNFIT_NOT && !(empty && unfit == STOW_UNFIT_FENCED))
			continue;
		if (capacity->nodes[i].id == near_node)
			c->near = c->n;
		c->nodes[c->n].index = (int)i;
		supply_of_candidate(c, request, i, whole[i], empty);
		c->n++;
	}
	return 0;
}

void stow_candidates_done(struct stow_candidates *c)
{
	free(c->nodes);
	c->nodes = NULL;
}
