/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Makes reports of the machine: what the kernel has, what the ledger has granted, and what is left,
 * computed as for the hook's planning (place/capacity.h).
 *
 * A report is made every second, so data that rarely changes is cached: the topology until a CPU or
 * memory block appears or disappears, the ledger's records until the next commit, containers' usage
 * for seconds. On an idle machine a report reads /proc/zoneinfo and the pools' files only.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/root.h"
#include "grant/grant.h"
#include "numastow/v1/node.pb-c.h"

struct agent_source;

/* What to read again for a report. */
enum agent_look {
	AGENT_LOOK_TOPOLOGY = 1 << 0, /* CPUs, nodes, memory blocks */
	AGENT_LOOK_LEDGER = 1 << 1,
	AGENT_LOOK_USAGE = 1 << 2,  /* usage of containers */
	AGENT_LOOK_MEMORY = 1 << 3, /* free memory and pools */
	AGENT_LOOK_ALL = (1 << 4) - 1,
};

/* Create a source. `context` must outlive it; its ledger may be NULL, and be set later. */
int agent_source_new(const struct stow_grant_context *context, struct agent_source **ret,
		     struct stow_err *err);
void agent_source_free(struct agent_source *source);

/*
 * Make a full report without name, sequence, time, version, mode and counters, which the publisher
 * adds. Freed with stow_rpc_message_free(). Reads again what `look` names; the rest is cached.
 * `previous` (may be NULL) is the last report: free memory that differs from it by less than `step`
 * bytes counts as unchanged, so that small fluctuations cause no reports.
 */
int agent_source_report(struct agent_source *source, unsigned int look,
			const PbNodeReport *previous, uint64_t step, PbNodeReport **ret,
			struct stow_err *err);

/* Set the reconciler that knows the containers' drift and owner, and has their cgroups open; or
 * NULL. It must outlive the next report. */
struct stow_reconcile;
void agent_source_follow(struct agent_source *source, const struct stow_reconcile *reconcile);
