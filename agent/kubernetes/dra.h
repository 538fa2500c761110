/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The agent as a driver of Dynamic Resource Allocation: its plugin for kubelet, which reads claims
 * from the API server. docs/kubernetes.md.
 */

#include <stdio.h>

#include "agent/config.h"
#include "agent/drain.h"
#include "agent/kubernetes/kubernetes.h"
#include "agent/policy.h"
#include "agent/publisher.h"
#include "base/root.h"
#include "rpc/rpc.h"

struct agent_dra;

struct agent_dra_parts {
	struct stow_root *root;
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_drain_table *drains;
	struct stow_rpc_loop *rpc;
	struct agent_kubernetes *kubernetes; /* publishing */
	const struct agent_config *config;   /* used by agent_dra_new() only */
};

/* Start, and wait for what is missing (kubelet, its folders). The parts must outlive it. */
int agent_dra_new(const struct agent_dra_parts *parts, struct agent_dra **ret,
		  struct stow_err *err);
/* Close kubelet's registration, and let calls under way end. No claims are prepared afterwards. */
void agent_dra_close(struct agent_dra *dra);
/* End what is running, and free. Drains should have been stopped: the conditions of those that were
 * undone are removed. */
void agent_dra_free(struct agent_dra *dra);

/* Write the metrics; zeros when `dra` is NULL. Any thread. */
void agent_dra_render(struct agent_dra *dra, FILE *out);
