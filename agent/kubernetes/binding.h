/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Prepare claims before their pods are bound (`binding-conditions: true`). Slices name conditions
 * of a claim (names.h), and kube-scheduler waits for them: a claim that was allocated here is
 * prepared, as kubelet will ask for it later, and its condition says so, or why not; then
 * kube-scheduler places the pod anew.
 *
 * A thread of its own watches the claims of all machines, because the API server cannot select
 * those of one.
 */

#include <stdio.h>

#include "agent/config.h"
#include "agent/kubernetes/prepare.h"
#include "agent/kubernetes/upkeep.h"
#include "base/root.h"

struct agent_binding;

struct agent_binding_parts {
	struct stow_root *root;
	const struct agent_config *config; /* used by agent_binding_new() only */
	struct agent_prepare *prepare;
	struct agent_upkeep *upkeep;
	/* Whether the agent sees claims. While it does not, slices must not name the conditions: no
	 * pod would be bound. Called in the thread when this changes. */
	void (*works)(void *ctx, bool works);
	void *ctx;
};

/* Start the thread. The parts must outlive it. */
int agent_binding_new(const struct agent_binding_parts *parts, struct agent_binding **ret,
		      struct stow_err *err);
/* End the thread. */
void agent_binding_free(struct agent_binding *binding);

/* Write metrics for Prometheus; zeros when `binding` is NULL. Any thread. */
void agent_binding_render(struct agent_binding *binding, FILE *out);
