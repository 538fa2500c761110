/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Collecting what ended containers and dead programs left behind, and giving everything back. */

#include "base/err.h"
#include "grant/adopt.h"
#include "grant/apply.h"
#include "grant/grant.h"

struct stow_gc_result {
	size_t expired;		    /* leases that ran out */
	size_t undone;		    /* grants whose hook, or repin, died at work */
	size_t reclaimed;	    /* grants of containers that ended without a poststop */
	size_t unmanaged;	    /* files of unmanaged containers that ended */
	uint64_t pages;		    /* hugepages taken out of pools */
	struct stow_adoption found; /* containers that never met the hook */
	struct stow_apply_result problems;
};

void stow_gc_result_done(struct stow_gc_result *result);

/* Reclaims what is provably dead, collects debts, finds containers that never met the hook, and
 * makes pools, CPU sets and memory nodes what the ledger says. `ret` is freed with
 * stow_gc_result_done(), also after a failure. Goes on after a failure and returns the first. Any
 * number of programs may run it at once. */
int stow_gc(const struct stow_grant_context *context, struct stow_gc_result *ret,
	    struct stow_err *err);

/* Undoes one grant while its container lives: original CPU set, nodes, limits; hugepages as far as
 * they are free. `kind` for the history. */
int stow_restore(const struct stow_grant_context *context, const struct stow_record *record,
		 const char *kind, const char *text, struct stow_err *err);

/* Undoes every placement, and gives unmanaged containers their CPU sets back. Goes on after a
 * failure and returns the first, else the number of grants undone. */
int stow_restore_all(const struct stow_grant_context *context, struct stow_err *err);

/* Enters the containers with exclusive CPUs, as the cgroups show them, into a new, empty ledger.
 * Returns how many. */
int stow_rebuild(const struct stow_grant_context *context, struct stow_err *err);
