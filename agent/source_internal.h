/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the files of the source. */

#include "agent/source.h"
#include "grant/cpuview.h"
#include "node/hugepage.h"
#include "node/memblock.h"
#include "node/topology.h"

/* The measured usage of a container. */
struct agent_source_usage {
	int64_t key; /* of its record */
	size_t n;
	struct agent_source_part {
		int node;
		uint64_t memory, hugepages;	/* bytes */
		uint64_t pages[STOW_POOLS_MAX]; /* by the node's pools */
	} parts[];
};

struct agent_source {
	const struct stow_grant_context *context;
	struct stow_topology *topology;
	struct stow_memblocks blocks;
	struct stow_usage *given; /* granted by the ledger */
	struct stow_record **records;
	size_t n_records;
	struct stow_ledger_pool *pools;
	size_t n_pools;
	struct agent_source_usage **usages; /* one per record, as of the last look */
	size_t n_usages;
	const struct stow_reconcile *reconcile; /* may be NULL */
	struct stow_idset draining, no_execute;
	struct stow_cpu_view view; /* of the last report */
};

/* Return the usage of the container with that record; NULL: not measured. */
const struct agent_source_usage *agent_source_usage_of(const struct agent_source *source,
						       int64_t key);

/* Add NUMA nodes, and containers, to a report. After an error the caller frees the report. */
int agent_source_add_numa_nodes(struct agent_source *source, const PbNodeReport *previous,
				uint64_t step, PbNodeReport *out, struct stow_err *err);
int agent_source_add_containers(struct agent_source *source, PbNodeReport *out,
				struct stow_err *err);
