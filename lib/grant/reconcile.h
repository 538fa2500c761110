/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Keeping what was given true, for containers with a grant. A set that another tool changes on
 * purpose (a runtime's `update`) is adopted when it fits, put back once when it does not, and left
 * and reported after that: numastow does not fight. CPUs that came or went are no tool's change:
 * then all sets are applied first.
 *
 * A round at rest reads two files for each container; the ledger is read again only after a commit.
 */

#include "base/err.h"
#include "grant/apply.h"
#include "grant/grant.h"

enum stow_drift {
	STOW_DRIFT_NONE,
	STOW_DRIFT_ADOPTED,
	STOW_DRIFT_RESTORED,
	STOW_DRIFT_REFUSED,
};

struct stow_reconcile;

struct stow_reconcile_result { /* of one round */
	uint64_t adopted, restored, refused;
	uint64_t foreign;		   /* containers that kubelet's static managers own, now */
	uint64_t ended;			   /* containers whose cgroup is gone: gc has work */
	struct stow_apply_result problems; /* to be freed with stow_apply_result_done() */
};

int stow_reconcile_new(struct stow_reconcile **ret, struct stow_err *err);
void stow_reconcile_free(struct stow_reconcile *reconcile);

/* Does one round. With `observe` nothing is changed; each change that would be made is counted
 * once. Goes on after a failure and returns the first. */
int stow_reconcile_run(struct stow_reconcile *reconcile, const struct stow_grant_context *context,
		       bool observe, struct stow_reconcile_result *ret, struct stow_err *err);

/* Returns what became of the container with that record's key. */
enum stow_drift stow_reconcile_drift(const struct stow_reconcile *reconcile, int64_t key);
/* Says whether kubelet owns it. */
bool stow_reconcile_is_foreign(const struct stow_reconcile *reconcile, int64_t key);
/* Returns its cgroup, which belongs to the reconciler and is valid until the next
 * stow_reconcile_run(); NULL: not known. */
const struct stow_cgroup *stow_reconcile_cgroup(const struct stow_reconcile *reconcile,
						int64_t key);
