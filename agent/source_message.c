/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion of the state to the messages of a report. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/source_internal.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "grant/partition.h"
#include "grant/reconcile.h"
#include "pages/leave.h"
#include "place/capacity.h"
#include "rpc/rpc.h"

static char *set_text(const struct stow_idset *set)
{
	char buf[STOW_IDSET_MAX * 5];

	return strdup(stow_idset_format(set, buf, sizeof(buf)));
}

/* --- a NUMA node ---------------------------------------------------------- */

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
		if (stow_leave_check(blocks, block, NULL).can == STOW_LEAVE_YES)
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
				const struct stow_node_capacity *cap)
{
	const struct stow_node *node = &source->topology->nodes[i];
	const struct stow_node_usage *given = given_on(source, node->id);
	PbNumaNode *out = malloc(sizeof(*out));

	if (!out)
		return NULL;
	pb_numa_node__init(out);
	out->id = (uint32_t)node->id;
	out->state = !cap->fenced				   ? PB_NUMA_NODE_STATE_READY
		     : stow_idset_has(&source->draining, node->id) ? PB_NUMA_NODE_STATE_DRAINING
								   : PB_NUMA_NODE_STATE_FENCED;
	out->no_execute = stow_idset_has(&source->no_execute, node->id);
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
		return NULL;
	}
	return out;
}

static uint64_t apart(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* Keep the previous value of free memory if it changed by less than a step, unless promises have
 * changed. */
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

int agent_source_add_numa_nodes(struct agent_source *source, const PbNodeReport *previous,
				uint64_t step, PbNodeReport *out, struct stow_err *err)
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
						&capacity->nodes[out->n_numa_nodes]);

		if (!node)
			return stow_err_set(err, ENOMEM, "out of memory");
		settle(node, previous, step);
		out->numa_nodes[out->n_numa_nodes] = node;
	}
	return 0;
}

/* --- a container ---------------------------------------------------------- */

const struct agent_source_usage *agent_source_usage_of(const struct agent_source *source,
						       int64_t key)
{
	for (size_t i = 0; i < source->n_usages; i++)
		if (source->usages[i]->key == key)
			return source->usages[i];
	return NULL;
}

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
	const struct agent_source_usage *usage = agent_source_usage_of(source, record->key);
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

/* Round up: what differs by the ns between two readings of a clock would be sent as news at each
 * look. */
static uint64_t whole_seconds(uint64_t ns)
{
	return stow_saturating_add(ns, STOW_SECOND - 1) / STOW_SECOND * STOW_SECOND;
}

static PbContainer *container_message(struct agent_source *source, const struct stow_record *record)
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
		return NULL;
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
	out->claim = stow_record_is_share(record);
	stow_cpu_view_of(&source->view, record, &cpus);
	out->cpus = set_text(&cpus);
	out->numa_nodes = set_text(&record->nodes);
	out->created = record->created;
	out->expires = whole_seconds(stow_clock_boot_to_wall(record->expires));
	out->reservation = strdup(record->reservation);
	out->reason = strdup(record->reason);
	out->pid = record->init.pid;
	report_partition(source, record, out);
	if (!out->partition_reason || !out->id || !out->pod || !out->namespace_ || !out->name ||
	    !out->cpus || !out->numa_nodes || !out->reservation || !out->reason ||
	    add_parts(source, record, out) < 0) {
		stow_rpc_message_free(out);
		return NULL;
	}
	return out;
}

/* Return whether a later record has the same id: the container was restarted before its old
 * grant was released. Only the later record is reported, because ids in a report are unique. */
static bool is_outlived(const struct agent_source *source, size_t i)
{
	for (size_t j = i + 1; source->records[i]->id[0] && j < source->n_records; j++)
		if (strcmp(source->records[j]->id, source->records[i]->id) == 0)
			return true;
	return false;
}

int agent_source_add_containers(struct agent_source *source, PbNodeReport *out,
				struct stow_err *err)
{
	bool done;

	out->containers = calloc(source->n_records + 1, sizeof(*out->containers));
	out->reservations = calloc(source->n_records + 1, sizeof(*out->reservations));
	done = out->containers && out->reservations;
	for (size_t i = 0; i < source->n_records && done; i++) {
		const struct stow_record *record = source->records[i];

		if (!is_outlived(source, i)) {
			PbContainer *container = container_message(source, record);

			done = container;
			if (container)
				out->containers[out->n_containers++] = container;
		}
		if (record->reservation[0] && done) {
			char *reservation = strdup(record->reservation);

			done = reservation;
			if (reservation)
				out->reservations[out->n_reservations++] = reservation;
		}
	}
	return done ? 0 : stow_err_set(err, ENOMEM, "out of memory");
}
