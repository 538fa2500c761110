/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Publish NUMA nodes to Kubernetes (docs/kubernetes.md). Whenever a report is published, a thread
 * of its own updates this machine's ResourceSlices at the API server. An unreachable API server
 * delays this thread only.
 */

#include <stdbool.h>
#include <stdio.h>

#include "agent/config.h"
#include "agent/policy.h"
#include "agent/publisher.h"
#include "base/root.h"

struct agent_kubernetes;

/* Start the thread, which connects later. `config` is copied; the others must outlive the thread.
 * Errors name the setting. */
int agent_kubernetes_new(struct stow_root *root, struct agent_policy *policy,
			 struct agent_publisher *publisher, const struct agent_config *config,
			 struct agent_kubernetes **ret, struct stow_err *err);
/* End the thread. The slices stay: another agent may be about to take over. */
void agent_kubernetes_free(struct agent_kubernetes *kubernetes);

/* Set whether devices have binding conditions (binding.h): at first, when the settings say so. Any
 * thread. */
void agent_kubernetes_set_binding(struct agent_kubernetes *kubernetes, bool binding);

/* Write the metrics; zeros when `kubernetes` is NULL. Any thread. */
void agent_kubernetes_render(const struct agent_kubernetes *kubernetes, FILE *out);
