/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Keeping pods without a claim off exclusive CPUs (lib/grant/pods.h): turns that on, and runs the
 * applier when inotify reports a new cgroup of kubelet or of a pod with exclusive CPUs, when the
 * ledger changes, and when notifications were lost. It has one thread, with a ledger handle of its
 * own.
 */

#include "agent/policy.h"
#include "base/err.h"
#include "base/root.h"

struct agent_pods;

/* Start. Root and policy must outlive it. */
int agent_pods_new(struct stow_root *root, struct agent_policy *policy, struct agent_pods **ret,
		   struct stow_err *err);
/* Stop, and leave the cgroups as they are. */
void agent_pods_free(struct agent_pods *pods);
