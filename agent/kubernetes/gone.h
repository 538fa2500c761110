/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Drop the leases of claims that are gone from the API server, or no longer allocated here. */

#include "agent/kubernetes/prepare.h"
#include "base/root.h"
#include "kube/kube.h"

/* What agent_gone_drop() needs; for one thread. */
struct agent_gone {
	struct stow_root *root;
	const char *kubelet; /* its folder */
	struct agent_prepare *prepare;
	struct stow_kube *kube; /* of this step */
	int cluster; /* of this step: 1: the API server is this machine's; -1: not known yet */
};

/* Drop the lease of a claim of which the ledger has `share`, and the API server has not; unless it
 * may still be in use: kubelet has it, or one of its containers is running. Log either. Return 1
 * when it was dropped, 0 when not; a failure is one of the API server. */
int agent_gone_drop(struct agent_gone *gone, const struct agent_claim_name *of, const char *share,
		    struct stow_err *err);
