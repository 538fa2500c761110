// SPDX-License-Identifier: Apache-2.0
/* Choosing the CPUs of an exclusive container. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "place/plan_internal.h"

struct core {
	uint32_t llc;  /* index in `caches` */
	uint16_t all;  /* online threads */
	uint16_t left; /* takeable threads that are not taken yet */
	bool whole;    /* all of them were takeable at the start */
};

struct cache {
	uint32_t whole;	 /* threads left in whole cores */
	uint32_t broken; /* threads left in other cores */
};

/* One node's takeable CPUs, grouped. Cores and caches are indices in the topology. */
struct chooser {
	const struct stow_topology *topology;
	struct stow_idset left;
	struct core *cores;
	struct cache *caches;
	uint32_t n_cores, n_caches;
	int first_core, first_llc; /* where the node's indices start */
	int *cpus; /* indices in topology->cpus of this node's CPUs, by ascending id */
	size_t n_cpus;
	struct stow_idset *chosen;
	uint32_t need;
};

static void chooser_done(struct chooser *ch)
{
	free(ch->cores);
	free(ch->caches);
	free(ch->cpus);
}

/* Return the index of a CPU in the topology; the first guess is right where numbers have no
 * holes. */
static int64_t find_cpu(const struct stow_topology *topology, int id)
{
	size_t low = 0, high = topology->n_cpus;

	if ((size_t)id < high && topology->cpus[id].id == id)
		return id;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (topology->cpus[middle].id == id)
			return (int64_t)middle;
		if (topology->cpus[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return -1;
}

/* List the node's CPUs and count its cores and caches. */
static int list_cpus(struct chooser *ch, const struct stow_idset *cpus, struct stow_err *err)
{
	int last_core = -1, last_llc = -1;

	ch->first_core = ch->first_llc = INT_MAX;
	STOW_IDSET_FOR(id, cpus) {
		int64_t at = find_cpu(ch->topology, id);
		const struct stow_cpu *cpu = &ch->topology->cpus[at < 0 ? 0 : at];

		if (at < 0 || cpu->core < 0 || cpu->core >= STOW_IDSET_MAX || cpu->llc < 0 ||
		    cpu->llc >= STOW_IDSET_MAX)
			return stow_err_set(err, EINVAL, "CPU %d has no core or cache", id);
		ch->cpus[ch->n_cpus++] = (int)at;
		ch->first_core = STOW_MIN(cpu->core, ch->first_core);
		ch->first_llc = STOW_MIN(cpu->llc, ch->first_llc);
		last_core = STOW_MAX(cpu->core, last_core);
		last_llc = STOW_MAX(cpu->llc, last_llc);
	}
	if (ch->n_cpus) {
		ch->n_cores = (uint32_t)(last_core - ch->first_core + 1);
		ch->n_caches = (uint32_t)(last_llc - ch->first_llc + 1);
	}
	return 0;
}

static struct core *core_of(const struct chooser *ch, const struct stow_cpu *cpu)
{
	return &ch->cores[cpu->core - ch->first_core];
}

static int chooser_init(struct chooser *ch, const struct stow_topology *topology, int node,
			const struct stow_idset *takeable, struct stow_err *err)
{
	const struct stow_node *n = stow_topology_node(topology, node);
	int r;

	if (!topology->cpus || !n)
		return stow_err_set(err, EINVAL, "the topology was read without its CPUs");
	ch->topology = topology;
	ch->left = *takeable;
	ch->cpus = calloc(stow_idset_count(&n->cpus) + 1, sizeof(*ch->cpus));
	if (!ch->cpus)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = list_cpus(ch, &n->cpus, err);
	if (r < 0)
		return r;
	ch->cores = calloc(ch->n_cores + 1, sizeof(*ch->cores));
	ch->caches = calloc(ch->n_caches + 1, sizeof(*ch->caches));
	if (!ch->cores || !ch->caches)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < ch->n_cpus; i++) {
		const struct stow_cpu *cpu = &topology->cpus[ch->cpus[i]];
		struct core *core = core_of(ch, cpu);

		core->llc = (uint32_t)(cpu->llc - ch->first_llc);
		core->all++;
		core->left += stow_idset_has(takeable, cpu->id);
	}
	for (uint32_t i = 0; i < ch->n_cores; i++) {
		struct core *core = &ch->cores[i];

		core->whole = core->all && core->left == core->all;
		if (core->whole)
			ch->caches[core->llc].whole += core->left;
		else
			ch->caches[core->llc].broken += core->left;
	}
	return 0;
}

static void take(struct chooser *ch, const struct stow_cpu *cpu)
{
	struct core *core = core_of(ch, cpu);
	struct cache *cache = &ch->caches[core->llc];

	if (core->whole)
		cache->whole--;
	else
		cache->broken--;
	core->left--;
	stow_idset_del(&ch->left, cpu->id);
	stow_idset_add(ch->chosen, cpu->id);
	ch->need--;
}

/* Take whole cores with `threads` threads of one cache, as long as a core is not more than needed.
 * The numbers of a core's threads may be far apart: threads that are still to be visited count as
 * taken. */
static void take_cores(struct chooser *ch, uint32_t llc, uint32_t threads)
{
	uint32_t spoken_for = 0;

	for (size_t i = 0; i < ch->n_cpus; i++) {
		const struct stow_cpu *cpu = &ch->topology->cpus[ch->cpus[i]];
		struct core *core = core_of(ch, cpu);

		if (core->llc != llc || !core->whole || core->all != threads ||
		    !stow_idset_has(&ch->left, cpu->id))
			continue;
		if (core->left == core->all) {
			if (core->all > ch->need - spoken_for)
				continue;
			spoken_for += core->all;
		}
		take(ch, cpu);
		spoken_for--;
	}
}

/* The largest cores first: small ones fill the rest. */
static void take_whole(struct chooser *ch, uint32_t llc, uint32_t most_threads)
{
	for (uint32_t threads = most_threads; threads > 0 && ch->need; threads--)
		take_cores(ch, llc, threads);
}

/* Take single threads: from broken cores, or with `of_whole` by breaking one. `llc` < 0: of any
 * cache. */
static void take_threads(struct chooser *ch, int64_t llc, bool of_whole)
{
	for (size_t i = 0; i < ch->n_cpus && ch->need; i++) {
		const struct stow_cpu *cpu = &ch->topology->cpus[ch->cpus[i]];

		if ((llc < 0 || core_of(ch, cpu)->llc == llc) &&
		    core_of(ch, cpu)->whole == of_whole && stow_idset_has(&ch->left, cpu->id))
			take(ch, cpu);
	}
}

/* Return how well a cache fits the need: 0 not at all; 1 if a core must be broken for the odd
 * threads; 2 without that. */
static int suits(const struct cache *cache, uint32_t need, uint32_t odd)
{
	if (cache->whole < need - odd || cache->whole + cache->broken < need)
		return 0;
	return cache->broken >= odd ? 2 : 1;
}

/*
 * Choose the cache to take from: of the caches that hold the whole need as whole cores (except the
 * odd threads), the one with the least room; otherwise the one that gives most, so that few are
 * used. -1: nothing is left.
 */
static int64_t choose_cache(const struct chooser *ch, uint32_t odd)
{
	int64_t best = -1;
	int best_suits = 0;

	for (uint32_t i = 0; i < ch->n_caches; i++) {
		const struct cache *cache = &ch->caches[i];
		int s = suits(cache, ch->need, odd);
		bool better;

		if (!(cache->whole + cache->broken))
			continue;
		if (best < 0 || s != best_suits)
			better = best < 0 || s > best_suits;
		else if (s)
			better = cache->whole + cache->broken <
				 ch->caches[best].whole + ch->caches[best].broken;
		else
			better = cache->whole > ch->caches[best].whole ||
				 (cache->whole == ch->caches[best].whole &&
				  cache->broken > ch->caches[best].broken);
		if (better) {
			best = i;
			best_suits = s;
		}
	}
	return best;
}

static uint32_t threads_per_core(const struct chooser *ch)
{
	uint32_t most = 1;

	for (uint32_t i = 0; i < ch->n_cores; i++)
		if (ch->cores[i].all > most)
			most = ch->cores[i].all;
	return most;
}

int stow_plan_cpus(const struct stow_topology *topology, int node,
		   const struct stow_idset *takeable, uint32_t count, struct stow_idset *ret,
		   struct stow_err *err)
{
	_cleanup_(chooser_done) struct chooser ch = { .chosen = ret, .need = count };
	uint32_t threads;
	int64_t llc = -1;
	int r;

	r = chooser_init(&ch, topology, node, takeable, err);
	if (r < 0)
		return r;
	threads = threads_per_core(&ch);
	while (ch.need) {
		uint32_t before = ch.need;

		llc = choose_cache(&ch, ch.need % threads);
		if (llc < 0 || !ch.caches[llc].whole)
			break;
		take_whole(&ch, (uint32_t)llc, threads);
		if (ch.need == before)
			break;
		/* Less than a core is still needed, or this cache has no whole core any more. */
		if (ch.need < threads)
			break;
	}
	if (llc >= 0)
		take_threads(&ch, llc, false);
	take_threads(&ch, -1, false);
	if (llc >= 0)
		take_threads(&ch, llc, true);
	take_threads(&ch, -1, true);
	if (ch.need)
		return stow_err_set(err, ENOSPC, "node %d does not have %u CPUs left", node, count);
	return 0;
}

const struct stow_idset *stow_own_cpus(const struct stow_node_capacity *node,
				       enum stow_cpu_mode mode)
{
	return mode == STOW_CPU_ISOLATED ? &node->isolated : &node->takeable;
}

int stow_whole_cores(const struct stow_capacity *capacity, enum stow_cpu_mode mode,
		     uint64_t *ret_whole, int *ret_threads, bool *ret_even)
{
	const struct stow_topology *topology = capacity->topology;
	_cleanup_free_ uint16_t *all = calloc(STOW_IDSET_MAX, sizeof(*all));
	_cleanup_free_ uint16_t *free_ = calloc(STOW_IDSET_MAX, sizeof(*free_));
	_cleanup_free_ size_t *home = calloc(STOW_IDSET_MAX, sizeof(*home));
	size_t at = 0;

	*ret_threads = 1;
	*ret_even = true;
	if (!all || !free_ || !home)
		return -ENOMEM;
	for (size_t i = 0; topology->cpus && i < topology->n_cpus; i++) {
		const struct stow_cpu *cpu = &topology->cpus[i];

		if (cpu->core < 0 || cpu->core >= STOW_IDSET_MAX)
			continue;
		/* CPUs come in runs of one node, so the search for the node is short. */
		for (size_t tried = 0;
		     tried < capacity->n_nodes && capacity->nodes[at].id != cpu->node; tried++)
			at = at + 1 < capacity->n_nodes ? at + 1 : 0;
		if (capacity->nodes[at].id != cpu->node)
			continue;
		home[cpu->core] = at;
		free_[cpu->core] +=
			stow_idset_has(stow_own_cpus(&capacity->nodes[at], mode), cpu->id);
		if (++all[cpu->core] > *ret_threads)
			*ret_threads = all[cpu->core];
	}
	for (int core = 0; core < STOW_IDSET_MAX; core++) {
		if (all[core] && free_[core] == all[core])
			ret_whole[home[core]] += all[core];
		*ret_even &= !all[core] || all[core] == *ret_threads;
	}
	return 0;
}

bool stow_wants_full_cores(const struct stow_capacity *capacity, const struct stow_request *request)
{
	return capacity->full_cores && stow_cpu_mode_owns(request->cpu_mode);
}

int stow_full_cores(const struct stow_topology *topology, const struct stow_idset *cpus)
{
	/* For each core, the threads that are not in the set, and whether any is in it. */
	_cleanup_free_ uint8_t *out = calloc(STOW_IDSET_MAX, sizeof(*out));
	_cleanup_free_ uint8_t *in = calloc(STOW_IDSET_MAX, sizeof(*in));

	if (!out || !in)
		return -ENOMEM;
	for (size_t i = 0; topology->cpus && i < topology->n_cpus; i++) {
		const struct stow_cpu *cpu = &topology->cpus[i];

		if (cpu->core < 0 || cpu->core >= STOW_IDSET_MAX)
			continue;
		if (stow_idset_has(cpus, cpu->id))
			in[cpu->core] = 1;
		else
			out[cpu->core] = 1;
	}
	for (int core = 0; core < STOW_IDSET_MAX; core++)
		if (in[core] && out[core])
			return 0;
	return 1;
}
