/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Exec plugins of kubeconfigs: programs that print credentials (client.authentication.k8s.io/v1 and
 * v1beta1). They run as the caller, with its environment and standard error; their answer has at
 * most 1 MiB, and must come within a minute, or five when a user may be asked something.
 */

#include "base/err.h"
#include "kube/config.h"

/* Run the configuration's plugin, and replace the token or the certificate and key by what it
 * prints. Errors name the program. */
int stow_kube_exec_run(struct stow_kube_config *config, struct stow_err *err);
