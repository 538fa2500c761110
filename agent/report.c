/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "grant/cpuview.h"
#include "grant/partition.h"
#include "grant/reconcile.h"
#include "ledger/drains.h"
#include "node/cgroup.h"
#include "node/hugepage.h"
#include "node/leave.h"
#include "node/memblock.h"
#include "node/memory.h"
#include "node/topology.h"
#include "place/capacity.h"
#include "rpc/rpc.h"

/* What a container was seen to use. */
struct usage {
	int64_t key; /* of its record */
	size_t n;
	struct part {
		int node;
		uint64_t memory, hugepages;	/* bytes */
		uint64_t pages[STOW_POOLS_MAX]; /* by the node's pools */
	} parts[];
};

struct agent_source {
	const struct stow_grant_context *context;
	struct stow_topology *topology;
	struct stow_memblocks blocks;
	struct stow_usage *given; /* by the ledger */
	struct stow_record **records;
	size_t n_records;
	struct stow_ledger_pool *pools;
	size_t n_pools;
	struct usage **usages; /* as long as the records at the last look */
	size_t n_usages;
	const struct stow_reconcile *reconcile; /* may be NULL */
	struct stow_idset draining;
	struct stow_cpu_view view; /* of the last report */
};

static void *out_of_memory(struct stow_err *err)
{
	stow_err_set(err, ENOMEM, "out of memory");
	return NULL;
}

static char *set_text(const struct stow_idset *set)
{
	char buf[STOW_IDSET_MAX * 5];

	return strdup(stow_idset_format(set, buf, sizeof(buf)));
}

/* --- looking ------------------------------------------------------------------------------------ */

static int look_at_topology(struct agent_source *source, struct stow_err *err)
{
	struct stow_topology *topology;
	struct stow_memblocks blocks = { 0 };
	int r;

	r = stow_topology_read(source->context->root, STOW_TOPOLOGY_AVAILABLE | STOW_TOPOLOGY_POOLS,
			       &topology, err);
	if (r < 0)
		return r;
	/* A machine without memory hotplug has none, and that is fine. */
	if (stow_memblocks_read(source->context->root, STOW_MEMBLOCK_ZONES, &blocks, NULL) < 0)
		blocks = (struct stow_memblocks){ 0 };
	stow_topology_free(source->topology);
	stow_memblocks_done(&source->blocks);
	source->topology = topology;
	source->blocks = blocks;
	return 0;
}

/* Free and available memory, and the pools. The sum over the nodes' zones is what a node's meminfo
 * would say, in one file. */
static int look_at_memory(struct agent_source *source, struct stow_err *err)
{
	struct stow_root *root = source->context->root;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stow_zoneinfo zones;
	bool have = stow_zoneinfo_read(root, &zones, NULL) == 0;

	for (size_t i = 0; i < source->topology->n_nodes; i++) {
		struct stow_node *node = &source->topology->nodes[i];
		const struct stow_zone_sums *sums =
			have ? stow_zoneinfo_node(&zones, node->id) : NULL;

		if (sums) {
			node->mem_free = sums->free * page;
			node->mem_available = stow_zone_available(sums) * page;
		}
		for (size_t p = 0; p < node->n_pools; p++) {
			struct stow_pool pool;
			int r = stow_pool_read(root, node->id, node->pools[p].size, &pool, err);

			if (r == -ENOENT)
				continue; /* a topology event is on its way */
			if (r < 0) {
				if (have)
					stow_zoneinfo_done(&zones);
				return r;
			}
			node->pools[p] = pool;
		}
	}
	if (have)
		stow_zoneinfo_done(&zones);
	return 0;
}

/* NUMA nodes that a drain is at work on. */
static int look_at_drains(struct agent_source *source, struct stow_err *err)
{
	struct stow_drain_row *rows = NULL;
	size_t n = 0;
	int r;

	r = stow_drain_rows(source->context->ledger, &rows, &n, err);
	if (r < 0)
		return r;
	source->draining = (struct stow_idset){ 0 };
	for (size_t i = 0; i < n; i++)
		if (rows[i].step >= STOW_DRAIN_FENCED && !stow_drain_step_is_end(rows[i].step))
			stow_idset_add(&source->draining, rows[i].node);
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

static struct usage *measure(const struct agent_source *source, const struct stow_record *record)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *own = NULL;
	const struct stow_cgroup *cgroup =
		source->reconcile ? stow_reconcile_cgroup(source->reconcile, record->key) : NULL;
	const struct stow_topology *topology = source->topology;
	struct usage *usage;

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
		struct part *part = &usage->parts[usage->n];
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

static const struct usage *usage_of(const struct agent_source *source, int64_t key)
{
	for (size_t i = 0; i < source->n_usages; i++)
		if (source->usages[i]->key == key)
			return source->usages[i];
	return NULL;
}

/* Takes what a container has used of its share off what the node still owes it. */
static void note_used(const struct agent_source *source, struct stow_node_usage *owed,
		      const struct stow_record *record, const struct stow_share *share,
		      const struct part *part)
{
	const struct stow_node *node = stow_topology_node(source->topology, owed->id);

	stow_usage_note_memory(owed, part->memory, share->memory);
	for (size_t i = 0; node && i < node->n_pools; i++)
		for (size_t p = 0; p < record->n_pages; p++)
			if (record->pages[p].size == node->pools[i].size)
				stow_usage_note_pages(owed, record->pages[p].size, part->pages[i],
						      share->pages[p]);
}

/* What was promised and not yet used is still to be taken from what is free; what was used is
 * not free any more, and must not count twice. */
static void refine(struct agent_source *source)
{
	struct stow_usage *given = source->given;

	for (size_t i = 0; given && i < given->n_nodes; i++) {
		struct stow_node_usage *owed = &given->nodes[i];

		owed->memory_outstanding = owed->memory;
		for (size_t q = 0; q < owed->n_pools; q++)
			owed->pools[q].outstanding = owed->pools[q].promised;
		for (size_t j = 0; j < source->n_records; j++) {
			const struct stow_record *record = source->records[j];
			const struct usage *usage = usage_of(source, record->key);

			for (size_t k = 0; usage && k < usage->n; k++)
				for (size_t s = 0; s < record->n_shares; s++)
					if (usage->parts[k].node == owed->id &&
					    record->shares[s].node == owed->id)
						note_used(source, owed, record, &record->shares[s],
							  &usage->parts[k]);
		}
	}
}

/* --- a NUMA node -------------------------------------------------------------------------------- */

static const struct stow_node_usage *given_on(const struct agent_source *source, int node)
{
	for (size_t i = 0; source->given && i < source->given->n_nodes; i++)
		if (source->given->nodes[i].id == node)
			return &source->given->nodes[i];
	return NULL;
}

static uint64_t added_to(const struct agent_source *source, int node, uint64_t size)
{
	for (size_t i = 0; i < source->n_pools; i++)
		if (source->pools[i].node == node && source->pools[i].size == size)
			return source->pools[i].added;
	return 0;
}

static PbHugepagePool *pool_message(const struct agent_source *source, const struct stow_node *node,
				    size_t p, const struct stow_node_capacity *cap,
				    const struct stow_node_usage *given)
{
	PbHugepagePool *out = malloc(sizeof(*out));

	if (!out)
		return NULL;
	pb_hugepage_pool__init(out);
	out->page_size = node->pools[p].size;
	out->total = node->pools[p].total;
	out->free = node->pools[p].free;
	out->surplus = node->pools[p].surplus;
	out->added = added_to(source, node->id, out->page_size);
	out->allocatable = cap->pools[p].free;
	for (size_t i = 0; given && i < given->n_pools; i++)
		if (given->pools[i].size == out->page_size)
			out->promised = given->pools[i].promised;
	return out;
}

static int add_pools(const struct agent_source *source, const struct stow_node *node,
		     const struct stow_node_capacity *cap, const struct stow_node_usage *given,
		     PbNumaNode *out)
{
	out->hugepages = calloc(cap->n_pools + 1, sizeof(*out->hugepages));
	if (!out->hugepages)
		return -ENOMEM;
	for (; out->n_hugepages < cap->n_pools; out->n_hugepages++) {
		out->hugepages[out->n_hugepages] =
			pool_message(source, node, out->n_hugepages, cap, given);
		if (!out->hugepages[out->n_hugepages])
			return -ENOMEM;
	}
	return 0;
}

static int add_distances(const struct stow_topology *topology, size_t from, PbNumaNode *out)
{
	out->distances = calloc(topology->n_nodes, sizeof(*out->distances));
	if (!out->distances)
		return -ENOMEM;
	for (; out->n_distances < topology->n_nodes; out->n_distances++)
		out->distances[out->n_distances] =
			(uint32_t)topology->distance[from * topology->n_nodes + out->n_distances];
	return 0;
}

static int add_blocks(const struct stow_memblocks *blocks, int node, PbNumaNode *out)
{
	if (blocks->n_blocks == 0)
		return 0;
	out->blocks = malloc(sizeof(*out->blocks));
	if (!out->blocks)
		return -ENOMEM;
	pb_memory_blocks__init(out->blocks);
	out->blocks->block_size = blocks->block_size;
	for (size_t i = 0; i < blocks->n_blocks; i++) {
		const struct stow_memblock *block = &blocks->blocks[i];

		if (block->node != node)
			continue;
		out->blocks->present++;
		if (block->state != STOW_MEMBLOCK_ONLINE)
			continue;
		out->blocks->online++;
		if (stow_leave_judge(blocks, block, NULL).can == STOW_LEAVE_YES)
			out->blocks->removable++;
	}
	return 0;
}

static uint32_t exclusive_on(const struct agent_source *source, const struct stow_node *node)
{
	struct stow_idset set = node->cpus;

	if (!source->given)
		return 0;
	stow_idset_and(&set, &source->given->exclusive);
	return (uint32_t)stow_idset_count(&set);
}

static PbNumaNode *numa_message(const struct agent_source *source, size_t i,
				const struct stow_node_capacity *cap, struct stow_err *err)
{
	const struct stow_node *node = &source->topology->nodes[i];
	const struct stow_node_usage *given = given_on(source, node->id);
	PbNumaNode *out = malloc(sizeof(*out));

	if (!out)
		return out_of_memory(err);
	pb_numa_node__init(out);
	out->id = (uint32_t)node->id;
	out->state = !cap->fenced				   ? PB_NUMA_NODE_STATE_READY
		     : stow_idset_has(&source->draining, node->id) ? PB_NUMA_NODE_STATE_DRAINING
								   : PB_NUMA_NODE_STATE_FENCED;
	out->cpus = set_text(&node->cpus);
	out->cpus_shared = set_text(&cap->cpus);
	out->cpus_takeable = set_text(&cap->takeable);
	out->cpus_total = cap->cpus_total;
	out->cpus_free = cap->cpus_free;
	out->cpus_exclusive = exclusive_on(source, node);
	out->memory_total = node->mem_total;
	out->memory_free = node->mem_free;
	out->memory_available = node->mem_available;
	out->memory_promised = given ? given->memory : 0;
	out->memory_allocatable = cap->mem_free;
	if (!out->cpus || !out->cpus_shared || !out->cpus_takeable ||
	    add_pools(source, node, cap, given, out) < 0 ||
	    add_distances(source->topology, i, out) < 0 ||
	    add_blocks(&source->blocks, node->id, out) < 0) {
		stow_rpc_message_free(out);
		return out_of_memory(err);
	}
	return out;
}

static uint64_t apart(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* Memory that has moved by less than a step is where it was, unless something was promised. */
static void settle(PbNumaNode *now, const PbNodeReport *previous, uint64_t step)
{
	for (size_t i = 0; previous && i < previous->n_numa_nodes; i++) {
		const PbNumaNode *was = previous->numa_nodes[i];

		if (was->id != now->id || was->memory_promised != now->memory_promised ||
		    was->memory_total != now->memory_total ||
		    apart(was->memory_free, now->memory_free) >= step ||
		    apart(was->memory_available, now->memory_available) >= step ||
		    apart(was->memory_allocatable, now->memory_allocatable) >= step)
			continue;
		now->memory_free = was->memory_free;
		now->memory_available = was->memory_available;
		now->memory_allocatable = was->memory_allocatable;
	}
}

static int add_numa_nodes(struct agent_source *source, const PbNodeReport *previous, uint64_t step,
			  PbNodeReport *out, struct stow_err *err)
{
	_cleanup_(stow_capacity_free_ptr) struct stow_capacity *capacity = NULL;
	int r;

	r = stow_capacity_build(source->topology, source->context->config, source->given, NULL,
				NULL, &capacity, err);
	if (r < 0)
		return r;
	out->numa_nodes = calloc(capacity->n_nodes + 1, sizeof(*out->numa_nodes));
	if (!out->numa_nodes)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (; out->n_numa_nodes < capacity->n_nodes; out->n_numa_nodes++) {
		PbNumaNode *node = numa_message(source, out->n_numa_nodes,
						&capacity->nodes[out->n_numa_nodes], err);

		if (!node)
			return -ENOMEM;
		settle(node, previous, step);
		out->numa_nodes[out->n_numa_nodes] = node;
	}
	return 0;
}

/* --- a container -------------------------------------------------------------------------------- */

static PbContainerPart *part_on(PbContainer *out, int node)
{
	PbContainerPart *part;

	for (size_t i = 0; i < out->n_parts; i++)
		if (out->parts[i]->numa_node == (uint32_t)node)
			return out->parts[i];
	part = malloc(sizeof(*part));
	if (!part)
		return NULL;
	pb_container_part__init(part);
	part->numa_node = (uint32_t)node;
	out->parts[out->n_parts++] = part;
	return part;
}

static int add_promised(const struct stow_record *record, const struct stow_share *share,
			PbContainer *out)
{
	PbContainerPart *part = part_on(out, share->node);

	if (!part)
		return -ENOMEM;
	part->cpus = share->cpus;
	part->memory_promised = share->memory;
	part->hugepages = calloc(record->n_pages + 1, sizeof(*part->hugepages));
	if (!part->hugepages)
		return -ENOMEM;
	for (size_t p = 0; p < record->n_pages; p++) {
		PbHugepages *pages;

		if (!share->pages[p])
			continue;
		pages = malloc(sizeof(*pages));
		if (!pages)
			return -ENOMEM;
		pb_hugepages__init(pages);
		pages->page_size = record->pages[p].size;
		pages->pages = share->pages[p];
		part->hugepages[part->n_hugepages++] = pages;
	}
	return 0;
}

static int by_node(const void *a, const void *b)
{
	const PbContainerPart *const *x = a, *const *y = b;

	return (int)(*x)->numa_node - (int)(*y)->numa_node;
}

static int add_parts(const struct agent_source *source, const struct stow_record *record,
		     PbContainer *out)
{
	const struct usage *usage = usage_of(source, record->key);
	size_t most = record->n_shares + (usage ? usage->n : 0);

	out->parts = calloc(most + 1, sizeof(*out->parts));
	if (!out->parts)
		return -ENOMEM;
	for (size_t i = 0; i < record->n_shares; i++)
		if (add_promised(record, &record->shares[i], out) < 0)
			return -ENOMEM;
	for (size_t i = 0; usage && i < usage->n; i++) {
		PbContainerPart *part = part_on(out, usage->parts[i].node);

		if (!part)
			return -ENOMEM;
		part->memory_actual = usage->parts[i].memory;
		part->hugepages_actual = usage->parts[i].hugepages;
	}
	qsort(out->parts, out->n_parts, sizeof(*out->parts), by_node);
	return 0;
}

static const PbDrift drifts[] = {
	[STOW_DRIFT_NONE] = PB_DRIFT_NONE,
	[STOW_DRIFT_ADOPTED] = PB_DRIFT_ADOPTED,
	[STOW_DRIFT_RESTORED] = PB_DRIFT_RESTORED,
	[STOW_DRIFT_REFUSED] = PB_DRIFT_REFUSED,
};

static void report_partition(const struct agent_source *source, const struct stow_record *record,
			     PbContainer *out)
{
	static const PbPartitionState states[] = {
		[STOW_PARTITION_NONE] = PB_PARTITION_STATE_UNSPECIFIED,
		[STOW_PARTITION_VALID] = PB_PARTITION_STATE_VALID,
		[STOW_PARTITION_INVALID] = PB_PARTITION_STATE_INVALID,
	};
	char why[STOW_PARTITION_WHY];

	out->partition = states[stow_partition_look(source->context, record, why)];
	out->partition_reason = strdup(why);
}

static PbContainer *container_message(struct agent_source *source, const struct stow_record *record,
				      struct stow_err *err)
{
	static const PbContainerState states[] = {
		[STOW_STATE_LEASE] = PB_CONTAINER_STATE_LEASE,
		[STOW_STATE_PENDING] = PB_CONTAINER_STATE_PENDING,
		[STOW_STATE_ACTIVE] = PB_CONTAINER_STATE_ACTIVE,
	};
	PbContainer *out = malloc(sizeof(*out));
	char label[STOW_RECORD_LABEL_MAX];
	struct stow_idset cpus;

	if (!out)
		return out_of_memory(err);
	pb_container__init(out);
	out->id = strdup(stow_record_label(record, label));
	out->pod = strdup(record->pod);
	out->namespace_ = strdup(record->ns);
	out->name = strdup(record->name);
	out->state = record->state <= STOW_STATE_ACTIVE ? states[record->state]
							: PB_CONTAINER_STATE_UNSPECIFIED;
	out->owner = PB_CONTAINER_OWNER_NUMASTOW;
	out->drift = PB_DRIFT_NONE;
	if (source->reconcile) {
		if (stow_reconcile_is_foreign(source->reconcile, record->key))
			out->owner = PB_CONTAINER_OWNER_KUBELET;
		out->drift = drifts[stow_reconcile_drift(source->reconcile, record->key)];
	}
	out->exclusive = record->exclusive;
	stow_cpu_view_of(&source->view, record, &cpus);
	out->cpus = set_text(&cpus);
	out->numa_nodes = set_text(&record->nodes);
	out->created = record->created;
	out->expires = stow_clock_boot_to_wall(record->expires);
	out->reservation = strdup(record->reservation);
	out->reason = strdup(record->reason);
	out->pid = record->init.pid;
	report_partition(source, record, out);
	if (!out->partition_reason || !out->id || !out->pod || !out->namespace_ || !out->name ||
	    !out->cpus || !out->numa_nodes || !out->reservation || !out->reason ||
	    add_parts(source, record, out) < 0) {
		stow_rpc_message_free(out);
		return out_of_memory(err);
	}
	return out;
}

/* Whether a later record has the same id: a container that was started again, whose first life
 * nobody has given back yet. Readers know containers by their ids. */
static bool is_outlived(const struct agent_source *source, size_t i)
{
	for (size_t j = i + 1; source->records[i]->id[0] && j < source->n_records; j++)
		if (strcmp(source->records[j]->id, source->records[i]->id) == 0)
			return true;
	return false;
}

static int add_containers(struct agent_source *source, PbNodeReport *out, struct stow_err *err)
{
	out->containers = calloc(source->n_records + 1, sizeof(*out->containers));
	out->reservations = calloc(source->n_records + 1, sizeof(*out->reservations));
	if (!out->containers || !out->reservations)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < source->n_records; i++) {
		char *reservation;

		if (!is_outlived(source, i)) {
			PbContainer *container = container_message(source, source->records[i], err);

			if (!container)
				return -ENOMEM;
			out->containers[out->n_containers++] = container;
		}
		if (!source->records[i]->reservation[0])
			continue;
		reservation = strdup(source->records[i]->reservation);
		if (!reservation)
			return stow_err_set(err, ENOMEM, "out of memory");
		out->reservations[out->n_reservations++] = reservation;
	}
	return 0;
}

/* --- the whole ---------------------------------------------------------------------------------- */

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
	r = add_numa_nodes(source, previous, step, out, err);
	if (r == 0)
		r = add_containers(source, out, err);
	if (r < 0) {
		stow_rpc_message_free(out);
		return r;
	}
	*ret = out;
	return 0;
}
