/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The cgroups of programs (lib/grant/program.h) where systemd does not make a scope: one below
 * STOW_PROGRAMS_GROUP in each hierarchy. numastow-run makes them, with libcgroup; garbage
 * collection removes them when they are empty. Both hold the lock of stow_programs_lock(), so that
 * a group is not removed before its first process is in it.
 */

#include "base/err.h"
#include "base/root.h"

#define STOW_PROGRAMS_GROUP "/numastow"

/* Take the lock under which groups are made and removed. Return a descriptor to close. */
int stow_programs_lock(struct stow_root *root, struct stow_err *err);

/* Remove the group of one program from all hierarchies, with the empty groups below it. The caller
 * holds the lock. -EBUSY: it has processes. */
int stow_program_remove(struct stow_root *root, const char *name, struct stow_err *err);

/* Remove the groups of all programs that have ended. Return how many; -errno only for a failure
 * of the lock. */
int stow_programs_sweep(struct stow_root *root, struct stow_err *err);
