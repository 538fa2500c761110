/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the kernel's and the ledger's state. */
#include "agent/source.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/source_internal.h"
#include "base/cleanup.h"
#include "cgroup/cgroup.h"
#include "cgroup/limits.h"
#include "grant/reconcile.h"
#include "ledger/drains.h"
#include "node/zones.h"
#include "rpc/rpc.h"

/* --- reading -------------------------------------------------------------- */

static int look_at_topology(struct agent_source *source, struct stow_err *err)
{
	struct stow_topology *topology;
	struct stow_memblocks blocks = { 0 };
	int r;

	r = stow_topology_read(source->context->root, STOW_TOPOLOGY_AVAILABLE | STOW_TOPOLOGY_POOLS,
			       &topology, err);
	if (r < 0)
		return r;
	/* A machine without memory hotplug has none; this is not an error. */
	if (stow_memblocks_read(source->context->root, STOW_MEMBLOCK_ZONES, &blocks, NULL) < 0)
		blocks = (struct stow_memblocks){ 0 };
	stow_topology_free(source->topology);
	stow_memblocks_done(&source->blocks);
	source->topology = topology;
	source->blocks = blocks;
	return 0;
}

/* Read free and available memory, and the pools. The sums over each node's zones equal the
 * node's meminfo, but come from one file. */
static int look_at_memory(struct agent_source *source, struct stow_err *err)
{
	struct stow_root *root = source->context->root;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stow_zones zones = { 0 };
	int r = 0;

	(void)stow_zones_read(root, false, &zones, NULL);
	for (size_t i = 0; r == 0 && i < source->topology->n_nodes; i++) {
		struct stow_node *node = &source->topology->nodes[i];
		struct stow_zone_sums sums;

		if (stow_zones_sum(&zones, node->id, &sums)) {
			node->mem_free = sums.free * page;
			node->mem_available = stow_zone_available(&sums) * page;
		}
		for (size_t p = 0; r == 0 && p < node->n_pools; p++) {
			struct stow_pool pool;

			r = stow_pool_read(root, node->id, node->pools[p].size, &pool, err);
			if (r == 0)
				node->pools[p] = pool;
			else if (r == -ENOENT)
				r = 0; /* a uevent will follow */
		}
	}
	stow_zones_done(&zones);
	return r;
}

/* Read which NUMA nodes have a running drain. */
static int look_at_drains(struct agent_source *source, struct stow_err *err)
{
	struct stow_drain_row *rows = NULL;
	size_t n = 0;
	int r;

	r = stow_drain_rows(source->context->ledger, &rows, &n, err);
	if (r < 0)
		return r;
	source->draining = source->no_execute = (struct stow_idset){ 0 };
	for (size_t i = 0; i < n; i++) {
		if (rows[i].step >= STOW_DRAIN_STEP_FENCED && !stow_drain_step_is_end(rows[i].step))
			stow_idset_add(&source->draining, rows[i].node);
		/* Not before its final plan, nor while it is being undone. */
		if (rows[i].force_taint && rows[i].step >= STOW_DRAIN_STEP_MOVING &&
		    rows[i].step < STOW_DRAIN_STEP_UNDOING)
			stow_idset_add(&source->no_execute, rows[i].node);
	}
	stow_drain_rows_free(rows, n);
	return 0;
}

static int look_at_ledger(struct agent_source *source, struct stow_err *err)
{
	struct stow_ledger *ledger = source->context->ledger;
	struct stow_usage *given = NULL;
	struct stow_record **records = NULL;
	struct stow_ledger_pool *pools = NULL;
	size_t n = 0, n_pools = 0;
	int r = 0;

	if (ledger)
		r = stow_ledger_usage(ledger, &given, err);
	if (ledger && r == 0)
		r = stow_ledger_pools(ledger, &pools, &n_pools, err);
	if (ledger && r == 0)
		r = stow_ledger_records(ledger, NULL, &records, &n, err);
	if (ledger && r == 0)
		r = look_at_drains(source, err);
	if (r < 0) {
		stow_usage_free(given);
		stow_records_free(records, n);
		free(pools);
		return r;
	}
	stow_usage_free(source->given);
	stow_records_free(source->records, source->n_records);
	free(source->pools);
	source->given = given;
	source->records = records;
	source->n_records = n;
	source->pools = pools;
	source->n_pools = n_pools;
	return 0;
}

static struct agent_source_usage *measure(const struct agent_source *source,
					  const struct stow_record *record)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *own = NULL;
	const struct stow_cgroup *cgroup =
		source->reconcile ? stow_reconcile_cgroup(source->reconcile, record->key) : NULL;
	const struct stow_topology *topology = source->topology;
	struct agent_source_usage *usage;

	usage = calloc(1, sizeof(*usage) + topology->n_nodes * sizeof(*usage->parts));
	if (!usage)
		return NULL;
	usage->key = record->key;
	if (record->state != STOW_STATE_ACTIVE)
		return usage;
	if (!cgroup && stow_cgroup_open(source->context->root, &record->cgroup, &own, NULL) == 0)
		cgroup = own;
	if (!cgroup)
		return usage;
	for (size_t i = 0; i < topology->n_nodes; i++) {
		struct agent_source_part *part = &usage->parts[usage->n];
		uint64_t pages;

		part->node = topology->nodes[i].id;
		if (stow_memory_used(cgroup, part->node, &part->memory, NULL) < 0)
			part->memory = 0;
		for (size_t p = 0; p < topology->nodes[i].n_pools; p++)
			if (stow_hugetlb_used(cgroup, topology->nodes[i].pools[p].size, part->node,
					      &pages, NULL) == 0) {
				part->pages[p] = pages;
				part->hugepages += pages * topology->nodes[i].pools[p].size;
			}
		if (part->memory || part->hugepages)
			usage->n++;
	}
	return usage;
}

static int look_at_usage(struct agent_source *source, struct stow_err *err)
{
	for (size_t i = 0; i < source->n_usages; i++)
		free(source->usages[i]);
	free(source->usages);
	source->n_usages = 0;
	source->usages = calloc(source->n_records + 1, sizeof(*source->usages));
	if (!source->usages)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (; source->n_usages < source->n_records; source->n_usages++) {
		source->usages[source->n_usages] =
			measure(source, source->records[source->n_usages]);
		if (!source->usages[source->n_usages])
			return stow_err_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

/* Subtract what a container already uses from what its node still has to provide. */
static void note_used(const struct agent_source *source, struct stow_node_usage *promised,
		      const struct stow_record *record, const struct stow_share *share,
		      const struct agent_source_part *part)
{
	const struct stow_node *node = stow_topology_node(source->topology, promised->id);

	stow_usage_note_memory(promised, part->memory, share->memory);
	for (size_t i = 0; node && i < node->n_pools; i++)
		for (size_t p = 0; p < record->n_pages; p++)
			if (record->pages[p].size == node->pools[i].size)
				stow_usage_note_pages(promised, record->pages[p].size,
						      part->pages[i], share->pages[p]);
}

/* The same for a claim's share and what all of its containers use. */
static void note_claim(const struct agent_source *source, struct stow_node_usage *promised,
		       const struct stow_record *claim, const struct stow_share *share)
{
	struct agent_source_part sum = { .node = promised->id };

	for (size_t i = 0; i < source->n_records; i++) {
		const struct stow_record *record = source->records[i];
		const struct agent_source_usage *usage = NULL;

		if (stow_record_holds(record, claim->key))
			usage = agent_source_usage_of(source, record->key);
		for (size_t k = 0; usage && k < usage->n; k++) {
			const struct agent_source_part *part = &usage->parts[k];
			const struct stow_node *node =
				stow_topology_node(source->topology, promised->id);

			if (part->node != promised->id || !node)
				continue;
			sum.memory +=
				stow_held_used(record, claim->key, part->node, 0, part->memory);
			for (size_t p = 0; p < node->n_pools; p++)
				sum.pages[p] += stow_held_used(record, claim->key, part->node,
							       node->pools[p].size, part->pages[p]);
		}
	}
	note_used(source, promised, claim, share, &sum);
}

/* Promised memory that is not used yet has to be subtracted from free memory. Used memory is no
 * longer free, and must not be counted twice. */
static void refine(struct agent_source *source)
{
	struct stow_usage *given = source->given;

	for (size_t i = 0; given && i < given->n_nodes; i++) {
		struct stow_node_usage *promised = &given->nodes[i];

		promised->memory_outstanding = promised->memory;
		for (size_t q = 0; q < promised->n_pools; q++)
			promised->pools[q].outstanding = promised->pools[q].promised;
		for (size_t j = 0; j < source->n_records; j++) {
			const struct stow_record *record = source->records[j];
			const struct agent_source_usage *usage =
				agent_source_usage_of(source, record->key);

			for (size_t k = 0; usage && k < usage->n; k++)
				for (size_t s = 0; s < record->n_shares; s++)
					if (usage->parts[k].node == promised->id &&
					    record->shares[s].node == promised->id)
						note_used(source, promised, record,
							  &record->shares[s], &usage->parts[k]);
			for (size_t s = 0; stow_record_is_share(record) && s < record->n_shares;
			     s++)
				if (record->shares[s].node == promised->id)
					note_claim(source, promised, record, &record->shares[s]);
		}
	}
}

/* --- the report ----------------------------------------------------------- */

int agent_source_new(const struct stow_grant_context *context, struct agent_source **ret,
		     struct stow_err *err)
{
	struct agent_source *source = calloc(1, sizeof(*source));

	if (!source)
		return stow_err_set(err, ENOMEM, "out of memory");
	source->context = context;
	*ret = source;
	return 0;
}

void agent_source_free(struct agent_source *source)
{
	if (!source)
		return;
	stow_topology_free(source->topology);
	stow_memblocks_done(&source->blocks);
	stow_usage_free(source->given);
	stow_records_free(source->records, source->n_records);
	free(source->pools);
	for (size_t i = 0; i < source->n_usages; i++)
		free(source->usages[i]);
	free(source->usages);
	stow_cpu_view_done(&source->view);
	free(source);
}

void agent_source_follow(struct agent_source *source, const struct stow_reconcile *reconcile)
{
	source->reconcile = reconcile;
}

int agent_source_report(struct agent_source *source, unsigned int look,
			const PbNodeReport *previous, uint64_t step, PbNodeReport **ret,
			struct stow_err *err)
{
	PbNodeReport *out;
	int r = 0;

	if (look & AGENT_LOOK_TOPOLOGY || !source->topology)
		r = look_at_topology(source, err);
	else if (look & AGENT_LOOK_MEMORY)
		r = look_at_memory(source, err);
	if (r == 0 && look & AGENT_LOOK_LEDGER)
		r = look_at_ledger(source, err);
	if (r == 0 && look & (AGENT_LOOK_LEDGER | AGENT_LOOK_TOPOLOGY)) {
		stow_cpu_view_done(&source->view);
		r = stow_cpu_view_read(source->context->root, source->context->config,
				       source->context->ledger, &source->view, err);
	}
	if (r == 0 && look & AGENT_LOOK_USAGE)
		r = look_at_usage(source, err);
	if (r < 0)
		return r;
	if (look & (AGENT_LOOK_LEDGER | AGENT_LOOK_USAGE))
		refine(source);
	out = malloc(sizeof(*out));
	if (!out)
		return stow_err_set(err, ENOMEM, "out of memory");
	pb_node_report__init(out);
	r = agent_source_add_numa_nodes(source, previous, step, out, err);
	if (r == 0)
		r = agent_source_add_containers(source, out, err);
	if (r < 0) {
		stow_rpc_message_free(out);
		return r;
	}
	*ret = out;
	return 0;
}
