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
#include "ledger/paths.h"

struct stow_applied {
	bool known;		  /* the applier has run since boot */
	bool busy;		  /* the run has not finished */
	struct stow_idset online; /* CPUs at that time */
	uint64_t came;		  /* stow_cpus_came() at that time */
	struct stow_idset exclusive;
	char reserved[STOW_DIGEST_LEN + 1]; /* digest of the CPUs that were reserved */
	struct stow_idset explained; /* CPUs that a set may lack because of this or an earlier run */
};

/* Read the file. When it is missing, `known` is false. When it is damaged or no regular file, only
 * `busy` is true: any set may have been written by that run. */
int stow_applied_read(struct stow_root *root, struct stow_applied *ret, struct stow_err *err);

/* Read the exclusive CPUs that the applier has published; empty for none. If that file is damaged
 * or no regular file, return those of the applier's last run, or else those of the ledger. */
int stow_applied_exclusive(struct stow_root *root, struct stow_idset *ret, struct stow_err *err);

/* Return whether the last run finished and was for the view's online, exclusive and reserved CPUs,
 * with no CPU that came online since. */
bool stow_applied_is(const struct stow_applied *applied, const struct stow_cpu_view *view);

/* Record that a run for this view begins, before it changes anything. Write nothing when the last
 * run was for the same CPUs. */
int stow_applied_begin(struct stow_root *root, const struct stow_applied *before,
		       const struct stow_cpu_view *view, struct stow_err *err);
/* Record that the run has finished. `explained`: CPUs, besides exclusive and offline ones, that a
 * set may lack. Write nothing when the file has this already. */
int stow_applied_end(struct stow_root *root, const struct stow_applied *before,
		     const struct stow_cpu_view *view, const struct stow_idset *explained,
		     struct stow_err *err);
