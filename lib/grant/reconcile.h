/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reconciliation of the CPU and memory sets of containers with a grant. A set that another tool
 * changes on purpose (a runtime's `update`) is adopted when it fits, restored once when it does
 * not, and after that left alone and reported: numastow does not fight another tool. When CPUs came
 * online or went offline, all sets are applied first, because that is no tool's change.
 *
 * A round without changes reads two files for each container; the ledger is read again only after a
 * commit.
 */

#include "base/err.h"
#include "grant/apply.h"
#include "grant/context.h"

enum stow_drift {
	STOW_DRIFT_NONE,
	STOW_DRIFT_ADOPTED,  /* the record has the sets of the other tool */
	STOW_DRIFT_RESTORED, /* the record's sets were written again */
	STOW_DRIFT_REFUSED,  /* left alone: they were changed again after they had been restored */
};

struct stow_reconcile;

struct stow_reconcile_result { /* of one round */
	uint64_t adopted, restored, refused;
	uint64_t foreign;		   /* containers that kubelet's static managers own now */
	uint64_t ended;			   /* containers whose cgroup is gone, for gc to collect */
	struct stow_apply_result problems; /* free with stow_apply_result_done() */
};

int stow_reconcile_new(struct stow_reconcile **ret, struct stow_err *err);
void stow_reconcile_free(struct stow_reconcile *reconcile);

/* Run one round. With `observe`, change nothing and count each change that would be made once.
 * Continue after a failure and return the first. */
int stow_reconcile_run(struct stow_reconcile *reconcile, const struct stow_grant_context *context,
		       bool observe, struct stow_reconcile_result *ret, struct stow_err *err);

/* Return what was done with the container of the record `key`. */
enum stow_drift stow_reconcile_drift(const struct stow_reconcile *reconcile, int64_t key);
/* Return whether kubelet owns the container. */
bool stow_reconcile_is_foreign(const struct stow_reconcile *reconcile, int64_t key);
/* Return the container's cgroup, or NULL when it is not known. It belongs to the reconciler and is
 * valid until the next stow_reconcile_run(). */
const struct stow_cgroup *stow_reconcile_cgroup(const struct stow_reconcile *reconcile,
						int64_t key);
