/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the modules that publish have in common: a client of the API server, reasons not to publish,
 * and kinds of failures. */

#include "agent/config.h"
#include "agent/policy.h"
#include "base/root.h"
#include "kube/kube.h"

/* Make a client from the settings. `patience` is that of struct stow_kube_options. */
int agent_access_client(struct stow_root *root, const struct agent_config *config,
			uint64_t patience, struct stow_kube **ret, struct stow_err *err);

/* Check the files that the settings name, for --check-config. */
int agent_access_check(const char *sysroot, const struct agent_config *config,
		       struct stow_err *err);

/* Return why nothing may be published, a constant text; NULL: no reason. */
const char *agent_access_reason(struct stow_root *root, struct agent_policy *policy);

/* Return one code for all failures without an answer: they alternate, and each change is logged. */
int agent_access_kind(int r);
