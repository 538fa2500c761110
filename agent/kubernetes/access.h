/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A client of the API server; and what the modules that publish have in common: reasons not to
 * publish, and kinds of failures. */

#include "agent/config.h"
#include "agent/policy.h"
#include "base/root.h"
#include "kube/kube.h"

#define AGENT_LISTS_MAX ((size_t)8 << 20) /* bytes of an answer that is a list */

/* Make a client. `kubeconfig`: a file; NULL: the pod's service account. Its calls are repeated for
 * five seconds: then the thread repeats what it does. */
int agent_access_client(struct stow_root *root, const char *kubeconfig, size_t answer_max,
			struct stow_kube **ret, struct stow_err *err);

/* Check the files that the settings name, for --check-config. */
int agent_access_check(const char *sysroot, const struct agent_config *config,
		       struct stow_err *err);

/* Return why nothing may be published, a constant text; NULL: no reason. */
const char *agent_access_reason(struct stow_root *root, struct agent_policy *policy);

/* Return one code for all failures without an answer: they alternate, and each change is logged. */
int agent_access_kind(int r);
