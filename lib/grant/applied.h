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

struct stow_applied {
	bool known;		  /* there was a run since boot */
	bool busy;		  /* it has not come to its end */
	struct stow_idset online; /* CPUs */
	struct stow_idset exclusive;
	struct stow_idset explained; /* CPUs that a set may lack because of it or of earlier runs */
};

/* A file that is missing is a run that is not known; of a damaged one nothing is known but that
 * there was one, so that every set may be what a run has left. */
int stow_applied_read(struct stow_root *root, struct stow_applied *ret, struct stow_err *err);

/* Whether the last run was for these, and came to its end. */
bool stow_applied_is(const struct stow_applied *applied, const struct stow_idset *exclusive,
		     const struct stow_idset *online);

/* Writes down that a run begins, before it changes anything; nothing when the last one was for the
 * same. */
int stow_applied_begin(struct stow_root *root, const struct stow_applied *before,
		       const struct stow_idset *exclusive, const struct stow_idset *online,
		       struct stow_err *err);
/* And that it has ended. `explained`: CPUs, besides exclusive and offline ones, that a set may
 * lack. Writes nothing when the file says so already. */
int stow_applied_end(struct stow_root *root, const struct stow_applied *before,
		     const struct stow_idset *exclusive, const struct stow_idset *online,
		     const struct stow_idset *explained, struct stow_err *err);
