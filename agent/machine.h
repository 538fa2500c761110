/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The machine: its ledger, looking at it, keeping what was given true, collecting, reporting. All
 * of it belongs to the main thread; other threads read what it publishes, and ask agent/policy.h
 * what may be done.
 */

#include <stddef.h>

#include "agent/config.h"
#include "agent/loop.h"
#include "agent/policy.h"
#include "agent/publisher.h"
#include "agent/source.h"
#include "grant/grant.h"

struct agent_machine;

/* What others have a part in. */
struct agent_machine_ops {
	/* Adds to a report what they know; -ENOMEM. */
	int (*report)(void *ctx, PbNodeReport *report);
	/* The machine was collected, and may be changed: have they something to collect, too? */
	void (*collected)(void *ctx);
};

/* Opens the ledger, and watches it. All that is given must outlive it; `config` may change
 * meanwhile, with agent_machine_reloaded(). */
int agent_machine_new(struct agent_policy *policy, struct agent_publisher *publisher,
		      const struct agent_config *config, struct agent_machine **ret,
		      struct stow_err *err);
/* When the loop runs no more. */
void agent_machine_free(struct agent_machine *machine);

/* Publishes the first report; the rest is done by the loop. `ops` is kept. */
int agent_machine_start(struct agent_machine *machine, struct agent_loop *loop,
			const struct agent_machine_ops *ops, void *ctx, struct stow_err *err);

/* Looks again (enum agent_look), within the time in which changes are gathered. */
void agent_machine_look(struct agent_machine *machine, unsigned int look);
/* Looks now at what is due, and publishes it. A failure is published, too. */
int agent_machine_publish(struct agent_machine *machine);
/* The policy and the settings have changed. */
void agent_machine_reloaded(struct agent_machine *machine);

/* With the ledger, which may be another one after each round of the loop. */
const struct stow_grant_context *agent_machine_context(const struct agent_machine *machine);
/* The last report, as published; until the next one. NULL before the start. */
const PbNodeReport *agent_machine_report(const struct agent_machine *machine);

/* How many leases of a scheduler's there are: as the last report has them, and those that were
 * taken since, for many may come before the next. */
size_t agent_machine_leases(const struct agent_machine *machine);
void agent_machine_took_lease(struct agent_machine *machine);
