/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Garbage collection: reclaiming what ended containers and dead programs left behind; and undoing
 * all placements. */

#include "base/err.h"
#include "grant/adopt.h"
#include "grant/apply.h"
#include "grant/context.h"

struct stow_gc_result {
	size_t expired;	  /* leases that ran out */
	size_t undone;	  /* grants whose hook, or repin, was killed */
	size_t reclaimed; /* grants of containers that ended without a poststop */
	size_t unmanaged; /* files of unmanaged containers that ended */
	size_t strangers; /* files beside them that are no entries (stow_unmanaged_sweep()) */
	size_t groups;	  /* groups of programs that ended (lib/grant/program_group.h) */
	size_t threads;	  /* threads that had CPUs outside of their cpuset (lib/grant/threads.h) */
	uint64_t pages;	  /* hugepages taken out of pools */
	struct stow_adoption found; /* containers that no hook has seen */
	struct stow_apply_result problems;
};

void stow_gc_result_done(struct stow_gc_result *result);

/* Reclaim the records of ended containers and dead programs, collect debts, adopt containers that
 * no hook has seen, and make pools, CPU sets and memory nodes agree with the ledger. Free `ret`
 * with stow_gc_result_done(), also after a failure. Continue after a failure and return the first.
 * Any number of programs may run it at once. */
int stow_gc(const struct stow_grant_context *context, struct stow_gc_result *ret,
	    struct stow_err *err);

/* Undo one grant while its container runs: original CPU set, nodes, limits; hugepages as far as
 * they are free. `kind` and `text` go into the history. */
int stow_restore(const struct stow_grant_context *context, const struct stow_record *record,
		 const char *kind, const char *text, struct stow_err *err);

/* Undo every placement, and give unmanaged containers their CPU sets back. Continue after a failure
 * and return the first; otherwise return the number of grants undone. */
int stow_restore_all(const struct stow_grant_context *context, struct stow_err *err);

/* Enter the containers with exclusive CPUs, as the cgroups show them, into a new, empty ledger.
 * Return how many. */
int stow_rebuild(const struct stow_grant_context *context, struct stow_err *err);
