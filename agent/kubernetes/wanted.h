/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The conditions that the claims of this machine should have, by the ledger, by the last report and
 * by drains. */

#include "agent/drain.h"
#include "agent/kubernetes/conditions.h"
#include "agent/policy.h"
#include "agent/publisher.h"
#include "grant/claim.h"

struct agent_wanted_claim {
	char *uid, *ns, *name;
	struct agent_conditions_share shares[STOW_CLAIM_SHARES_MAX]; /* own their texts */
	size_t n;
	bool evict; /* one of the shares is to be evicted */
};

struct agent_wanted {
	struct agent_wanted_claim *list;
	size_t n;
};

/* Read what is wanted of all claims in the ledger. Free *ret with agent_wanted_done(). */
int agent_wanted_read(struct agent_policy *policy, struct agent_publisher *publisher,
		      struct agent_drain_table *drains, struct agent_wanted *ret,
		      struct stow_err *err);
void agent_wanted_done(struct agent_wanted *wanted);

/* Return a number that changes with what is wanted of a claim; never 0. `claim` may be NULL: it is
 * not in the ledger. */
uint64_t agent_wanted_digest(const struct agent_wanted_claim *claim, const char *refusal);
