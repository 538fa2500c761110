/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The agent as kubelet's plugin. It has two sockets: one with the DRAPlugin and DRAResourceHealth
 * services, and one in kubelet's registry, which gives kubelet the path of the first. A thread
 * makes both, and makes them again when one was removed. It waits for what is missing (kubelet, its
 * folders).
 *
 * The caller holds the agent's lock, so other agents have ended, and their sockets are removed.
 */

#include <stdbool.h>
#include <stdio.h>

#include "agent/kubernetes/monitor.h"
#include "agent/kubernetes/prepare.h"
#include "agent/kubernetes/upkeep.h"
#include "base/err.h"
#include "rpc/rpc.h"

struct agent_plugin_parts {
	struct stow_root *root;
	struct stow_rpc_loop *rpc;
	struct agent_prepare *prepare;
	struct agent_upkeep *upkeep;
	struct agent_monitor *monitor;
	const char *kubelet;  /* its folder; texts are copied */
	const char *instance; /* part of the sockets' names: the pod's UID; NULL: none */
};

struct agent_plugin;

int agent_plugin_new(const struct agent_plugin_parts *parts, struct agent_plugin **ret,
		     struct stow_err *err);
/* Close the registry's socket first, then let calls under way end, and free. */
void agent_plugin_free(struct agent_plugin *plugin);

/* Write metrics for Prometheus; zeros when `plugin` is NULL. Any thread. */
void agent_plugin_render(struct agent_plugin *plugin, FILE *out);
