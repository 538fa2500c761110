/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of the machine share. */

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
	const PbNodeReport *report; /* the publisher's, until the next is published */

	/* What to look at, and when (monotonic, ns; 0: not due). */
	unsigned int look;
	size_t new_leases; /* since the ledger was last looked at */
	uint64_t due, next_poll, next_usage, next_reconcile, next_gc, next_delegation;

	struct stow_adoption found; /* containers that never met the hook, at the last collection */
	int64_t event;		    /* the ledger's last that was counted */
	bool undelegated;	    /* it was said that cgroup2 has no nsdelegate */
};

/* The ledger that is open was set aside (`numastow gc --rebuild`): opens the new one, and forgets
 * what is known of the containers of the old one. */
int agent_machine_reopen(struct agent_machine *machine, struct stow_err *err);

/* Compares containers' sets with what was given, and acts on what differs. */
void agent_machine_reconcile(struct agent_machine *machine);
/* Reclaims what nobody gave back. */
void agent_machine_collect(struct agent_machine *machine);
/* Counts what the ledger says has happened since the last time. */
void agent_machine_count_events(struct agent_machine *machine);
/* Says when cgroup2 is mounted without nsdelegate, and when it is again with it. */
void agent_machine_check_delegation(struct agent_machine *machine);
