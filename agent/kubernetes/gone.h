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

/* Drop the lease of a claim that the ledger has with `share`, and that the API server no longer
 * has. A lease that may be in use is kept: kubelet has the claim, or one of its containers is
 * running. Both are logged. Return 1 when it was dropped, 0 when it was kept. Errors are those of
 * the API server. */
int agent_gone_drop(struct agent_gone *gone, const struct agent_claim_name *of, const char *share,
		    struct stow_err *err);
