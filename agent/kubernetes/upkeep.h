/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the agent does for claims beside preparing them: it writes the conditions of their shares
 * (conditions.h), and drops the leases of claims that are gone from the API server, or are no
 * longer allocated here, and that kubelet has forgotten.
 *
 * A thread of its own compares what is wanted, by the ledger, by the last report and by drains,
 * with what the API server has: when it changes, and every ten minutes.
 */

#include <stdio.h>

#include "agent/drain.h"
#include "agent/kubernetes/clients.h"
#include "agent/kubernetes/prepare.h"
#include "agent/policy.h"
#include "agent/publisher.h"

struct agent_upkeep;

struct agent_upkeep_parts {
	struct stow_root *root;
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_drain_table *drains;
	struct agent_clients *clients;
	struct agent_prepare *prepare;
	const char *kubelet; /* its folder; copied */
};

/* Start the thread. The parts must outlive it. */
int agent_upkeep_new(const struct agent_upkeep_parts *parts, struct agent_upkeep **ret,
		     struct stow_err *err);
/* Remove the condition of drains that have ended, if the API server answers soon, and end. */
void agent_upkeep_free(struct agent_upkeep *upkeep);

/* Note that a claim was prepared, or why it was refused. Any thread. */
void agent_upkeep_note(struct agent_upkeep *upkeep, const struct agent_claim_name *of,
		       const char *refusal);

/* Look at a claim soon, and compare what the API server has with what is wanted: it may have lost
 * its conditions, or be gone. Any thread. */
void agent_upkeep_look(struct agent_upkeep *upkeep, const struct agent_claim_name *of);

/* Write metrics for Prometheus; zeros when `upkeep` is NULL. Any thread. */
void agent_upkeep_render(struct agent_upkeep *upkeep, FILE *out);
