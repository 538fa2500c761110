/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Publish NUMA nodes as a NodeResourceTopology object (docs/kubernetes.md), for clusters without
 * Dynamic Resource Allocation. A thread of its own does this, independently of kubernetes.h.
 */

#include <stdio.h>

#include "agent/config.h"
#include "agent/policy.h"
#include "agent/publisher.h"
#include "base/root.h"

struct agent_topology;

/* Start the thread, which connects later. `config` is copied; the others must outlive the thread.
 * Errors name the setting. */
int agent_topology_new(struct stow_root *root, struct agent_policy *policy,
		       struct agent_publisher *publisher, const struct agent_config *config,
		       struct agent_topology **ret, struct stow_err *err);
/* End the thread. The object stays: another agent may be about to take over. */
void agent_topology_free(struct agent_topology *topology);

/* Write the metrics; zeros when `topology` is NULL. Any thread. */
void agent_topology_render(const struct agent_topology *topology, FILE *out);
