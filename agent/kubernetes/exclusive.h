/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether a claim may have exclusive CPUs here. */

#include <json-c/json.h>

#include "base/err.h"
#include "base/root.h"
#include "grant/claim.h"

/*
 * Check that pods without a claim can be kept off exclusive CPUs on this machine, and that one of
 * the pods for which the claim is reserved is Guaranteed: by its cgroup, which kubelet makes before
 * it calls. `object` is the ResourceClaim, which is not trusted; NULL: no pod has a cgroup yet, so
 * that pods are not checked. A claim without exclusive CPUs needs neither. -EOPNOTSUPP, -EPERM: one
 * line for the pod's events.
 */
int agent_exclusive_check(struct stow_root *root, struct json_object *object,
			  const struct stow_claim *claim, struct stow_err *err);
