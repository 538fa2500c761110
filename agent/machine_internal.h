/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the files of the machine. */

#include <stdbool.h>

#include "agent/machine.h"
#include "agent/watch.h"
#include "grant/adopt.h"
#include "grant/reconcile.h"

struct agent_machine {
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	const struct agent_config *config;
	const struct agent_machine_ops *ops;
	void *ctx; /* of ops */

	struct stow_grant_context context; /* with the ledger, which it owns */
	struct agent_source *source;
	struct agent_watch watch;
	struct stow_reconcile *reconcile;
	const PbNodeReport *report; /* owned by the publisher, until the next one is published */

	/* What to read again, and when (monotonic, ns; 0: not due). */
	unsigned int look;
	size_t new_leases; /* since the ledger was last read */
	uint64_t due, next_poll, next_usage, next_reconcile, next_gc, next_delegation;

	struct stow_adoption found; /* containers that never met the hook, at the last collection */
	int64_t event;		    /* the last counted event of the ledger */
	bool undelegated;	    /* the lack of nsdelegate was logged */
	/* Until when each reconciliation looks for threads outside of their cpuset (monotonic, ns):
	 * a container that had some makes more. */
	uint64_t confine_until;
};

/* Open the new ledger after the present one was set aside (`numastow gc --rebuild`), and forget
 * the containers of the old one. */
int agent_machine_reopen(struct agent_machine *machine, struct stow_err *err);

/* Compare containers' sets with their grants, and handle differences. */
void agent_machine_reconcile(struct agent_machine *machine);
/* Reclaim grants of containers that have ended. */
void agent_machine_collect(struct agent_machine *machine);
/* Count new events of the ledger. */
void agent_machine_count_events(struct agent_machine *machine);
/* Log when cgroup2 loses the mount option nsdelegate, and when it has it again. */
void agent_machine_check_delegation(struct agent_machine *machine);
