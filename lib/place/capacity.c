// SPDX-License-Identifier: Apache-2.0
#include "place/capacity.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/math.h"

static const struct stow_node_usage *usage_of(const struct stow_usage *usage, int node)
{
	for (size_t i = 0; usage && i < usage->n_nodes; i++)
		if (usage->nodes[i].id == node)
			return &usage->nodes[i];
	return NULL;
}

/* Remove the administrator's reserved CPUs from `cpus`, which has the node's online ones. */
static void take_reserved(const struct stow_config_node *reserved, struct stow_idset *cpus)
{
	uint32_t left = reserved->cpus;

	if (!stow_idset_empty(&reserved->cpu_set)) {
		stow_idset_minus(cpus, &reserved->cpu_set);
		return;
	}
	STOW_IDSET_FOR(cpu, cpus) {
		if (left-- == 0)
			break;
		stow_idset_del(cpus, cpu);
	}
}

/* Reduce `cpus` to those that may become exclusive. */
static void take_unavailable(const struct stow_usage *usage, const struct stow_idset *allowed_cpus,
			     struct stow_idset *cpus)
{
	if (usage)
		stow_idset_minus(cpus, &usage->exclusive);
	if (usage)
		stow_idset_minus(cpus, &usage->pinned);
	if (allowed_cpus)
		stow_idset_and(cpus, allowed_cpus);
}

static void fill_cpus(struct stow_node_capacity *cap, const struct stow_node *node,
		      const struct stow_idset *isolated, const struct stow_config_node *reserved,
		      const struct stow_usage *usage, const struct stow_node_usage *used,
		      const struct stow_idset *allowed_cpus)
{
	uint64_t taken = used ? used->shared_cpus : 0, usable;

	cap->cpus = node->cpus;
	if (reserved)
		take_reserved(reserved, &cap->cpus);
	cap->isolated = cap->cpus;
	stow_idset_and(&cap->isolated, isolated);
	cap->isolated_total = (uint32_t)stow_idset_count(&cap->isolated);
	take_unavailable(usage, allowed_cpus, &cap->isolated);
	stow_idset_minus(&cap->cpus, isolated);
	cap->cpus_total = (uint32_t)stow_idset_count(&cap->cpus);
	if (usage)
		stow_idset_minus(&cap->cpus, &usage->exclusive);
	usable = stow_idset_count(&cap->cpus);
	if (allowed_cpus)
		stow_idset_and(&cap->cpus, allowed_cpus);
	cap->cpus_free = (uint32_t)STOW_MIN(stow_saturating_sub(usable, taken),
					    stow_idset_count(&cap->cpus));
	cap->takeable = cap->cpus;
	take_unavailable(usage, NULL, &cap->takeable);
}

/* Fill in the pools. Return the bytes that promised pages will still take from the node's memory:
 * the pool grows by what is outstanding and not free in it. *ret_held: the bytes that the pools
 * hold now, which are not available as memory. */
static uint64_t fill_pools(struct stow_node_capacity *cap, const struct stow_node *node,
			   const struct stow_node_usage *used, uint64_t *ret_held)
{
	uint64_t coming = 0;

	*ret_held = 0;
	cap->n_pools = STOW_MIN(node->n_pools, (size_t)STOW_POOLS_MAX);
	for (size_t i = 0; i < cap->n_pools; i++) {
		const struct stow_pool *pool = &node->pools[i];
		uint64_t outstanding = 0;

		for (size_t j = 0; used && j < used->n_pools; j++)
			if (used->pools[j].size == pool->size)
				outstanding = used->pools[j].outstanding;
		cap->pools[i].size = pool->size;
		cap->pools[i].total = pool->total;
		cap->pools[i].free = stow_saturating_sub(pool->free, outstanding);
		coming += stow_saturating_sub(outstanding, pool->free) * pool->size;
		*ret_held += pool->total * pool->size;
	}
	return coming;
}

static void fill_memory(struct stow_node_capacity *cap, const struct stow_node *node,
			const struct stow_config_node *reserved, const struct stow_node_usage *used)
{
	uint64_t held, coming = fill_pools(cap, node, used, &held);

	cap->mem_total = stow_saturating_sub(node->mem_total, reserved ? reserved->memory : 0);
	cap->mem_unpromised =
		stow_saturating_sub(stow_saturating_sub(cap->mem_total, held), coming);
	cap->mem_unpromised = stow_saturating_sub(cap->mem_unpromised, used ? used->memory : 0);
	cap->mem_real = stow_saturating_sub(node->mem_available, coming);
	cap->mem_real = stow_saturating_sub(cap->mem_real, used ? used->memory_outstanding : 0);
	cap->mem_free = STOW_MIN(cap->mem_unpromised, cap->mem_real);
}

int stow_capacity_build(const struct stow_topology *topology, const struct stow_config *config,
			const struct stow_usage *usage, const struct stow_idset *allowed_cpus,
			const struct stow_idset *allowed_mems, struct stow_capacity **ret_capacity,
			struct stow_err *err)
{
	_cleanup_(stow_capacity_free_ptr) struct stow_capacity *capacity = NULL;

	capacity = calloc(1, sizeof(*capacity));
	if (!capacity)
		return stow_err_set(err, ENOMEM, "out of memory");
	capacity->nodes =
		calloc(topology->n_nodes ? topology->n_nodes : 1, sizeof(*capacity->nodes));
	if (!capacity->nodes)
		return stow_err_set(err, ENOMEM, "out of memory");
	capacity->topology = topology;
	capacity->full_cores = config && config->full_cores;
	capacity->partitions =
		config && config->partitions && stow_idset_empty(&topology->isolated);
	capacity->n_nodes = topology->n_nodes;
	capacity->nonexclusive = topology->online;
	stow_idset_minus(&capacity->nonexclusive, &topology->isolated);
	if (usage)
		stow_idset_minus(&capacity->nonexclusive, &usage->exclusive);
	for (size_t i = 0; i < topology->n_nodes; i++) {
		const struct stow_node *node = &topology->nodes[i];
		const struct stow_config_node *reserved = stow_config_reserved(config, node->id);
		const struct stow_node_usage *used = usage_of(usage, node->id);
		struct stow_node_capacity *cap = &capacity->nodes[i];

		cap->id = node->id;
		cap->fenced = usage && stow_idset_has(&usage->fenced, node->id);
		cap->allowed = !allowed_mems || stow_idset_has(allowed_mems, node->id);
		fill_cpus(cap, node, &topology->isolated, reserved, usage, used, allowed_cpus);
		fill_memory(cap, node, reserved, used);
	}
	*ret_capacity = STOW_TAKE_PTR(capacity);
	return 0;
}

void stow_capacity_free(struct stow_capacity *capacity)
{
	if (!capacity)
		return;
	free(capacity->nodes);
	free(capacity);
}
