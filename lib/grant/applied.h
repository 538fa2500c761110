/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the applier's last run was for (/run/numastow/applied). Read and written under the lock of
 * the CPU sets; see lib/grant/apply.h.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "grant/cpuview.h"

struct stow_applied {
	bool known;		  /* there was a run since boot */
	bool busy;		  /* it has not come to its end */
	struct stow_idset online; /* CPUs at that time */
	uint64_t came;		  /* stow_cpus_came() at that time */
	struct stow_idset exclusive;
	char reserved[STOW_DIGEST_LEN + 1]; /* digest of the CPUs that were reserved */
	struct stow_idset
		explained; /* CPUs that a set may lack because of this run or earlier ones */
};

/* Reads the file. Without one, no run is known. A damaged one says only that there was a run, so
 * that every set may have been left by it. */
int stow_applied_read(struct stow_root *root, struct stow_applied *ret, struct stow_err *err);

/* Says whether the last run was for the view's online, exclusive and reserved CPUs, with none that
 * came since, and came to its end. */
bool stow_applied_is(const struct stow_applied *applied, const struct stow_cpu_view *view);

/* Writes down that a run for this view begins, before it changes anything. Writes nothing when the
 * last run was for the same. */
int stow_applied_begin(struct stow_root *root, const struct stow_applied *before,
		       const struct stow_cpu_view *view, struct stow_err *err);
/* Writes down that it has ended. `explained`: CPUs, besides exclusive and offline ones, that a set
 * may lack. Writes nothing when the file says so already. */
int stow_applied_end(struct stow_root *root, const struct stow_applied *before,
		     const struct stow_cpu_view *view, const struct stow_idset *explained,
		     struct stow_err *err);
