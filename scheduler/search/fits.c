// SPDX-License-Identifier: Apache-2.0
/* Whether a request fits on a machine, computed from the columns; and how much the machine
 * lacks. */
#include "scheduler/search/search_internal.h"

#include "base/math.h"

#define EXACT_NUMA 12 /* up to that many NUMA nodes the planner tries all combinations */

struct stow_need stow_need_of(const struct stow_want *want)
{
	const struct stow_request *req = &want->request;
	struct stow_need need = { .cpus = req->cpus, .memory = req->memory };

	need.exclusive = req->cpu_mode == STOW_CPU_EXCLUSIVE;
	need.one = req->policy == STOW_POLICY_SINGLE_NUMA_NODE;
	return need;
}

/* --- CPUs, memory, hugepages ---------------------------------------------- */

struct supply {
	uint64_t cpus, memory;
	uint64_t free[STOW_POOLS_MAX], grow[STOW_POOLS_MAX]; /* pages; indices as in the request */
	bool runs;					     /* a container could run there */
};

/* Add what NUMA node i has. Its pages are in fleet->rooms. */
static void add(const struct stow_fleet *fleet, uint32_t m, uint32_t i,
		const struct stow_want *want, bool exclusive, struct supply *sum)
{
	const struct stow_numa_columns *n = &fleet->of_numa;
	uint32_t at = fleet->of_machine.first[m] + i;

	sum->cpus += exclusive ? n->takeable[at] : n->cpus[at];
	sum->memory += n->memory[at];
	sum->runs |= n->flags[at] & STOW_NUMA_OPEN;
	for (size_t p = 0; p < want->request.n_pages; p++) {
		const struct stow_numa *numa = &fleet->machines[m]->numa[i];

		for (size_t k = 0; k < numa->n_pools; k++)
			if (numa->pools[k].size == want->request.pages[p].size) {
				sum->free[p] += fleet->rooms[i].pages[k];
				sum->grow[p] += n->memory[at] / numa->pools[k].size;
			}
	}
}

/* Count as the planner does (lib/place/plan_supply.c): pages that a pool lacks are allocated
 * from memory, the largest first. */
static bool covers(const struct supply *sum, const struct stow_want *want,
		   const struct stow_need *need)
{
	uint64_t grown = 0;

	if (!sum->runs || sum->cpus < need->cpus || sum->memory < need->memory)
		return false;
	for (size_t p = want->request.n_pages; p-- > 0;) {
		const struct stow_page_request *pages = &want->request.pages[p];
		uint64_t missing = stow_saturating_sub(pages->count, sum->free[p]);
		uint64_t used = grown / pages->size;

		if (missing > stow_saturating_sub(sum->grow[p], used))
			return false;
		grown += missing * pages->size;
	}
	return grown <= sum->memory && sum->memory - grown >= need->memory;
}

static bool names(const struct stow_fleet *fleet, uint32_t m, uint32_t i,
		  const struct stow_want *want)
{
	return want->request.nodes_auto ||
	       stow_idset_has(&want->request.nodes, fleet->machines[m]->numa[i].id);
}

static bool one_holds(const struct stow_fleet *fleet, uint32_t m, uint32_t i,
		      const struct stow_want *want, const struct stow_need *need)
{
	const struct stow_numa_columns *n = &fleet->of_numa;
	uint32_t at = fleet->of_machine.first[m] + i;
	struct supply here = { 0 };

	if (!(n->flags[at] & STOW_NUMA_OPEN) || n->cpus[at] < need->cpus ||
	    n->memory[at] < need->memory || (need->exclusive && n->takeable[at] < need->cpus) ||
	    !names(fleet, m, i, want))
		return false;
	if (!want->request.n_pages)
		return true;
	add(fleet, m, i, want, need->exclusive, &here);
	return covers(&here, want, need);
}

static bool all_hold(const struct stow_fleet *fleet, uint32_t m, const struct stow_want *want,
		     const struct stow_need *need)
{
	const struct stow_numa_columns *n = &fleet->of_numa;
	const struct stow_machine_columns *c = &fleet->of_machine;
	struct supply all = { 0 };

	for (uint32_t i = 0; i < c->n[m]; i++) {
		uint8_t flags = n->flags[c->first[m] + i];

		/* NUMA nodes without CPUs are used only by requests that name them. */
		if ((flags & STOW_NUMA_OPEN || !want->request.nodes_auto ||
		     (flags & STOW_NUMA_GIVES && fleet->machines[m]->numa[i].online)) &&
		    names(fleet, m, i, want))
			add(fleet, m, i, want, need->exclusive, &all);
	}
	return covers(&all, want, need);
}

int64_t stow_search_one_of(const struct stow_fleet *fleet, uint32_t m, const struct stow_want *want,
			   const struct stow_need *need)
{
	const struct stow_numa_columns *n = &fleet->of_numa;
	uint32_t first = fleet->of_machine.first[m], best = UINT32_MAX;

	if (need->exclusive && fleet->of_machine.nonexclusive[m] <= need->cpus)
		return -1;
	for (uint32_t i = 0; i < fleet->of_machine.n[m]; i++) {
		uint32_t at = first + i;

		if (!one_holds(fleet, m, i, want, need))
			continue;
		if (best == UINT32_MAX || n->cpus[at] < n->cpus[first + best] ||
		    (n->cpus[at] == n->cpus[first + best] &&
		     n->memory[at] < n->memory[first + best]))
			best = i;
	}
	return best == UINT32_MAX ? -1 : (int64_t)best;
}

/* --- as few NUMA nodes as the empty machine would need -------------------- */

/* Return a lower bound on the number of NUMA nodes that are needed now: by the CPUs of those with
 * most CPUs, and by the memory of those with most memory. */
static uint32_t fewest_now(const struct stow_fleet *fleet, uint32_t m, const struct stow_need *need)
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

/* Return an upper bound of the NUMA nodes that would be needed on the empty machine: those with
 * most CPUs. Only counts what the planner would give to the first pod. */
static uint32_t fewest_empty(const struct stow_machine *machine, const struct stow_want *want,
			     const struct stow_need *need)
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

/* Return whether the planner would certainly refuse: policy `restricted` allows no more NUMA
 * nodes than the empty machine would need. False for requests with pages, and for machines with
 * more NUMA nodes than the planner tries in all combinations, because the result is not known
 * here. */
static bool is_refused(const struct stow_fleet *fleet, uint32_t m, const struct stow_want *want,
		       const struct stow_need *need)
{
	return want->request.policy == STOW_POLICY_RESTRICTED && !want->request.n_pages &&
	       fleet->of_machine.n[m] <= EXACT_NUMA &&
	       fewest_now(fleet, m, need) > fewest_empty(fleet->machines[m], want, need);
}

/* --- the verdict ---------------------------------------------------------- */

static bool has_all_named(const struct stow_machine *machine, const struct stow_want *want)
{
	uint32_t n = 0;

	if (want->request.nodes_auto)
		return true;
	for (uint32_t i = 0; i < machine->n_numa; i++)
		n += stow_idset_has(&want->request.nodes, machine->numa[i].id);
	return n == stow_idset_count(&want->request.nodes);
}

enum stow_fits stow_search_fits(const struct stow_fleet *fleet, uint32_t m,
				const struct stow_want *want, const struct stow_need *need)
{
	const struct stow_machine_columns *c = &fleet->of_machine;

	if (!c->open[m] || c->cpus[m] < need->cpus || c->memory[m] < need->memory ||
	    (need->exclusive && c->nonexclusive[m] <= need->cpus) ||
	    !has_all_named(fleet->machines[m], want))
		return STOW_FITS_NOT;
	if (want->request.n_pages)
		stow_machine_rooms(fleet->machines[m], fleet->rooms);
	for (uint32_t i = 0; i < c->n[m]; i++)
		if (one_holds(fleet, m, i, want, need))
			return STOW_FITS_ON_ONE;
	if (need->one || !all_hold(fleet, m, want, need) || is_refused(fleet, m, want, need))
		return STOW_FITS_NOT;
	return STOW_FITS_ON_MANY;
}
