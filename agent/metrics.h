/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* /metrics, /healthz and /livez: the report's numbers and the agent's counters, for Prometheus.
 * Called on the metrics server's thread, with the parts as their context (rpc/metrics.h). */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "agent/drain.h"
#include "agent/kubernetes/dra.h"
#include "agent/kubernetes/kubernetes.h"
#include "agent/kubernetes/topology.h"
#include "agent/link.h"
#include "agent/local.h"
#include "agent/policy.h"
#include "agent/probe.h"
#include "agent/publisher.h"

struct agent_metrics_parts { /* all for any thread */
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_drain_table *drains;
	struct agent_local *local;
	const struct agent_link *link;
	const struct agent_kubernetes *kubernetes; /* NULL: nothing is published */
	struct agent_dra *dra;			   /* NULL: nothing is prepared */
	const struct agent_topology *topology;	   /* NULL: not published */
	const struct agent_probe_signs *signs;
};

void agent_metrics_render(FILE *out, void *ctx);
bool agent_metrics_is_healthy(void *ctx, char *why, size_t size);
bool agent_metrics_is_alive(void *ctx, char *why, size_t size);
