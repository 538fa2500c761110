/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Make a container hold the shares of its claims. Its hook does this once for each share. */

#include "grant/grant.h"

/*
 * Make a container's record hold the share with the id `share` of the claim with the UID `uid`, in
 * one transaction. The record, which the caller frees with stow_record_free(), is then pending, and
 * the caller goes on with stow_claim_enact(). If the container holds the share already, the record
 * is active, and nothing has changed. A grant that the container has by annotations is released.
 * `limit`: the container has no memory limit of its own, and gets the memory of its claims as its
 * limit.
 *
 *   -ENOENT  the claim was not prepared on this machine, or has no such share
 *   -EPERM   its cgroup may not use the CPUs or NUMA nodes of the share
 *   -EINVAL  an id is not valid; or one share has exclusive CPUs and another one shared CPUs
 */
int stow_claim_hold(const struct stow_grant_context *context, const struct stow_subject *subject,
		    const char *uid, const char *share, bool limit, struct stow_record **ret_record,
		    struct stow_err *err);

/* Enact a pending record of a claim's container, as stow_grant_enact() does, after raising the
 * pod's limits of hugepages where its claims need that. On failure the caller calls
 * stow_grant_undo(). */
int stow_claim_enact(const struct stow_grant_context *context, struct stow_record *record,
		     const struct stow_cgroup *cgroup, struct stow_apply_result *ret_problems,
		     struct stow_err *err);
