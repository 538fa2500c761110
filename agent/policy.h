/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is allowed on this machine: config.yaml as last read, and the limits of agent.yaml. A reload
 * changes both. The policy has a lock of its own; every function may be called from any thread.
 * Results are copies, or stay valid until agent_policy_free().
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/config.h"
#include "grant/grant.h"
#include "place/changes.h"

struct agent_policy;

/* From struct agent_config, where they are described. */
struct agent_policy_limits {
	uint64_t repin_batch, repin_pause;
	uint64_t max_drain, drain_rate;
	uint64_t drain_block_timeout, drain_timeout, removal_timeout;
};

/* Read config.yaml. If it is broken, the agent is in mode observe until it is repaired. The root
 * must outlive the policy. */
int agent_policy_new(struct stow_root *root, const struct agent_config *config,
		     struct agent_policy **ret, struct stow_err *err);
void agent_policy_free(struct agent_policy *policy);

/* Replace configuration and limits (NULL: these stay). Takes ownership of `placing`. The old
 * configuration stays valid, because a repin or an Explain may still read it. */
void agent_policy_replace(struct agent_policy *policy, struct stow_config *placing,
			  const struct agent_config *config);
/* Read config.yaml again if it has changed, as hooks and commands do, which would otherwise have
 * another one in force. Return whether it was replaced; if it is broken, the last one stays. For
 * the main thread. */
bool agent_policy_follow(struct agent_policy *policy);
/* Set whether config.yaml is broken, or was rejected by a reload. */
void agent_policy_set_broken(struct agent_policy *policy, bool broken);
bool agent_policy_is_broken(const struct agent_policy *policy);

/* Return the machine's name; it never changes. */
const char *agent_policy_node(const struct agent_policy *policy);
/* Return a context without a ledger: each thread adds its own. */
struct stow_grant_context agent_policy_context(struct agent_policy *policy);
struct agent_policy_limits agent_policy_limits(struct agent_policy *policy);

/* Return whether changes are allowed now, by the machine's configuration and by the agent's
 * mode. */
enum stow_changes agent_policy_changes(struct agent_policy *policy);
/* The same as an error: 0, or -EACCES with the reason. */
int agent_policy_check_changes(struct agent_policy *policy, struct stow_err *err);
