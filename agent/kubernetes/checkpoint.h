/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* kubelet's record of the claims that it has prepared: "dra_manager_state" in its folder
 * (pkg/kubelet/cm/dra/state of Kubernetes 1.34 to 1.37). */

#include "base/err.h"
#include "base/root.h"

/* Return 1 when kubelet has a claim with this UID, 0 when it has not. -EPROTO: it is in no format
 * that is known; or another error: it cannot be read. After an error nothing is known. */
int agent_checkpoint_has(struct stow_root *root, const char *kubelet, const char *uid,
			 struct stow_err *err);
