/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The machine: its ledger, its state, reconciling, garbage collection, and reports. It belongs to
 * the main thread. Other threads read what it publishes, and ask agent/policy.h what is allowed.
 */

#include <stddef.h>

#include "agent/config.h"
#include "agent/loop.h"
#include "agent/policy.h"
#include "agent/publisher.h"
#include "agent/source.h"
#include "grant/grant.h"

struct agent_machine;

/* Callbacks for other modules. */
struct agent_machine_ops {
	/* Add the other modules' part to a report; -ENOMEM. */
	int (*report)(void *ctx, PbNodeReport *report);
	/* Called after a garbage collection, when changes are allowed. */
	void (*collected)(void *ctx);
};

/* Open the ledger, and watch it. All arguments must outlive the machine. After changes of
 * `config` call agent_machine_reloaded(). */
int agent_machine_new(struct agent_policy *policy, struct agent_publisher *publisher,
		      const struct agent_config *config, struct agent_machine **ret,
		      struct stow_err *err);
/* Free the machine. The loop must have ended. */
void agent_machine_free(struct agent_machine *machine);

/* Publish the first report; the loop does the rest. `ops` must outlive the machine. */
int agent_machine_start(struct agent_machine *machine, struct agent_loop *loop,
			const struct agent_machine_ops *ops, void *ctx, struct stow_err *err);

/* Schedule another look (enum agent_look), within the time in which changes are gathered. */
void agent_machine_look(struct agent_machine *machine, unsigned int look);
/* Look now at what is due, and publish the result, or the failure. */
int agent_machine_publish(struct agent_machine *machine);
/* Handle changed policy and settings. */
void agent_machine_reloaded(struct agent_machine *machine);

/* Return the context with the ledger. The ledger may be replaced in each round of the loop. */
const struct stow_grant_context *agent_machine_context(const struct agent_machine *machine);
/* Return the last published report, which is valid until the next one. NULL before the start. */
const PbNodeReport *agent_machine_report(const struct agent_machine *machine);

/* Return the number of leases of a scheduler: those of the last report, and those that were
 * added since. */
size_t agent_machine_leases(const struct agent_machine *machine);
/* Count a lease that was added. */
void agent_machine_took_lease(struct agent_machine *machine);
