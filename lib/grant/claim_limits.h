/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "grant/context.h"

/* Raise the hugepage limits of the pod of the record's container to the sum of the pod's claims. */
int stow_claim_raise_pod(const struct stow_grant_context *context, const struct stow_record *record,
			 const struct stow_cgroup *cgroup, struct stow_err *err);

/* Set the hugepage limits of all containers of claims, and of their pods, where another program has
 * changed them: kubelet sets a pod's to 0 at each resize. Continue after a failure and return the
 * first. */
int stow_claim_keep_limits(const struct stow_grant_context *context, struct stow_err *err);

/* List the cgroups whose limits stow_claim_keep_limits() keeps, as paths in the root, without
 * order; one can come twice. Free with stow_claim_paths_free(). */
int stow_claim_limit_paths(const struct stow_grant_context *context, char ***ret, size_t *ret_n,
			   struct stow_err *err);
void stow_claim_paths_free(char **paths, size_t n);
