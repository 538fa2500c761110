/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The machine as a report says it: what the kernel has, what the ledger has given, and what is left
 * by the same computation that the hook plans with (place/capacity.h).
 *
 * A report is made every second, so what seldom changes is kept: the topology until a CPU or memory
 * block comes or goes, the ledger's records until somebody commits, containers' usage for seconds.
 * A look at a machine at rest reads /proc/zoneinfo and the pools' files.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/root.h"
#include "grant/grant.h"
#include "numastow/v1/node.pb-c.h"

struct agent_source;

enum agent_look {
	AGENT_LOOK_TOPOLOGY = 1 << 0, /* CPUs, nodes, memory blocks */
	AGENT_LOOK_LEDGER = 1 << 1,
	AGENT_LOOK_USAGE = 1 << 2,  /* what containers use */
	AGENT_LOOK_MEMORY = 1 << 3, /* free memory and pools */
	AGENT_LOOK_ALL = (1 << 4) - 1,
};

/* `context` is kept. Its ledger may be NULL and come later. */
int agent_source_new(const struct stow_grant_context *context, struct agent_source **ret,
		     struct stow_err *err);
void agent_source_free(struct agent_source *source);

/*
 * A full report without name, sequence, time, version, mode and counters, which are the sender's;
 * to be freed with stow_rpc_message_free(). Reads again what `look` says; the rest is as it was.
 * `previous` (may be NULL) is the report before: free memory that differs from it by less than
 * `step` bytes counts as unchanged, so that a breathing machine is not news.
 */
int agent_source_report(struct agent_source *source, unsigned int look,
			const PbNodeReport *previous, uint64_t step, PbNodeReport **ret,
			struct stow_err *err);

/* From whom to hear of a container's drift and owner, and where its cgroup is open already. NULL:
 * from nobody. It must outlive the next report. */
struct stow_reconcile;
void agent_source_follow(struct agent_source *source, const struct stow_reconcile *reconcile);
