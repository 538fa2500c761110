/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The shared CPUs: everybody who has no CPUs of its own is kept off those that somebody else has.
 *
 * /run/numastow/exclusive   the exclusive CPUs, as a list; missing when there are none
 * /run/numastow/others/ID   a container without annotations ("PID START", then "cpus=LIST" when we
 *                           changed its set: what it was)
 *
 * /run/numastow/unsettled   while CPU sets of shared records change: the ledger may not say what is
 *
 * Two programs must not miss each other: a container that starts, and one that takes CPUs. The one
 * that starts enters itself and then reads `exclusive`; the other writes `exclusive` and then reads
 * who is there. At least one of them sees the other; both write the same set, under one lock.
 *
 * The ledger decides what is exclusive; the file `exclusive` only repeats it, for the hook of a
 * container without annotations, which has no time to open a database.
 */

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "ledger/ledger.h"
#include "node/cgroup.h"
#include "node/life.h"

#define STOW_EXCLUSIVE_PATH STOW_RUN_DIR "/exclusive"
#define STOW_OTHERS_DIR	    STOW_RUN_DIR "/others"

/* Enters a container without annotations and takes it off exclusive CPUs, if there are any: the
 * whole work of the hook for it. Returns 1 when its CPU set was changed. `was` (may be NULL): the
 * CPU set to go back to, for a container that numastow lets go while it runs. */
int stow_shared_enter(struct stow_root *root, const char *id, const struct stow_life *init,
		      const struct stow_idset *was, struct stow_err *err);

/* Strikes it out when it has ended: 1, or 0 when it was not entered or lives on (a late poststop
 * must not strike out the next container of that name). */
int stow_shared_leave(struct stow_root *root, const char *id, struct stow_err *err);

/* Strikes out everyone who has ended; returns how many. */
int stow_shared_sweep(struct stow_root *root, struct stow_err *err);

/* Makes every shared container's CPU set what it should be now. Tries them all, returns the first
 * failure; a container that ended meanwhile is no failure. */
int stow_shared_sync(struct stow_root *root, struct stow_ledger *ledger, struct stow_err *err);

/* The lock under which CPU sets of shared containers change: a descriptor to close. */
int stow_shared_lock(struct stow_root *root, struct stow_err *err);

/* Sets the CPUs of a pending shared record's container: its base less what is exclusive at this
 * moment; updates record->cpus. The caller holds the lock until the record is active in the ledger:
 * from then on stow_shared_sync() looks after it. */
int stow_shared_place(struct stow_root *root, struct stow_record *record,
		      const struct stow_cgroup *cgroup, struct stow_err *err);

/* CPUs that must not become exclusive because a container without annotations was started on a CPU
 * set of its own that lies within them. */
int stow_shared_pinned(struct stow_root *root, struct stow_idset *ret, struct stow_err *err);
