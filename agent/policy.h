/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What may be done on this machine: config.yaml as it was read last, and the limits of agent.yaml.
 * A reload changes both. It has a lock of its own, and every function may be called from any
 * thread; what it returns is a copy, or stays until agent_policy_free().
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/config.h"
#include "grant/grant.h"
#include "place/changes.h"

struct agent_policy;

/* Of struct agent_config, where they are described. */
struct agent_policy_limits {
	uint64_t repin_batch, repin_pause;
	uint64_t max_drain, drain_rate;
	uint64_t drain_block_timeout, drain_timeout, removal_timeout;
};

/* Reads config.yaml; one that is broken makes the agent observe, until it is reloaded. The root
 * must outlive it. */
int agent_policy_new(struct stow_root *root, const struct agent_config *config,
		     struct agent_policy **ret, struct stow_err *err);
void agent_policy_free(struct agent_policy *policy);

/* Takes over a config.yaml, which it owns from now on, and the limits. The one before stays: a
 * repin or an Explain may still read it. */
void agent_policy_replace(struct agent_policy *policy, struct stow_config *placing,
			  const struct agent_config *config);
/* config.yaml is broken, or a reload did not take over what it found. */
void agent_policy_set_broken(struct agent_policy *policy, bool broken);
bool agent_policy_is_broken(const struct agent_policy *policy);

/* What this machine is called; the same until the end. */
const char *agent_policy_node(const struct agent_policy *policy);
/* A context without a ledger: each thread brings its own. */
struct stow_grant_context agent_policy_context(struct agent_policy *policy);
struct agent_policy_limits agent_policy_limits(struct agent_policy *policy);

/* Whether anything may be changed here, by the machine's configuration and by the agent's, at this
 * moment. */
enum stow_changes agent_policy_changes(struct agent_policy *policy);
/* 0, or -EACCES and why not. */
int agent_policy_check_changes(struct agent_policy *policy, struct stow_err *err);
