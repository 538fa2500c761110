/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Keep the hugetlb limits of containers of claims, and of their pods. kubelet sets a pod's to 0,
 * for the page sizes that its spec does not name, when it resizes one of its containers: the next
 * page that a program touches would be a SIGBUS. A thread waits for such writes (inotify), and sets
 * the limits again at once.
 */

#include "agent/policy.h"
#include "base/err.h"
#include "base/root.h"

struct agent_limits;

/* Start the thread. Root and policy must outlive what this returns. Free it with
 * agent_limits_free(), which ends the thread. */
int agent_limits_new(struct stow_root *root, struct agent_policy *policy, struct agent_limits **ret,
		     struct stow_err *err);
void agent_limits_free(struct agent_limits *limits);
