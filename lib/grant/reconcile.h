/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Keeping what was given true. Each container has one owner of its cpuset. What another tool
 * changes on purpose (a runtime's `update`) is adopted when it fits, put back once when it does
 * not, and left and reported after that: never a fight.
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

/* One round. With `observe` nothing is changed: what would be is counted once. Goes on after a
 * failure and returns the first. */
int stow_reconcile_run(struct stow_reconcile *reconcile, const struct stow_grant_context *context,
		       bool observe, struct stow_reconcile_result *ret, struct stow_err *err);

/* What became of the container with that record's key. */
enum stow_drift stow_reconcile_drift(const struct stow_reconcile *reconcile, int64_t key);
/* Whether kubelet owns it. */
bool stow_reconcile_is_foreign(const struct stow_reconcile *reconcile, int64_t key);
/* Its cgroup, which stays the reconciler's, until the next stow_reconcile_run(); NULL: not known. */
const struct stow_cgroup *stow_reconcile_cgroup(const struct stow_reconcile *reconcile,
						int64_t key);
