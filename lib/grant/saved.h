/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a container's cgroup said before numastow touched it: one "attribute=value" a line. It goes
 * into the ledger before the first write, so that whoever comes after a killed hook can undo.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "node/cgroup.h"
#include "place/request.h"

/* Reads every attribute that placing `request` may change; the CPUs and nodes are `cpuset`'s, which
 * was read before. To be freed by the caller. */
int stow_saved_capture(const struct stow_cgroup *cgroup, const struct stow_cpuset *cpuset,
		       const struct stow_request *request, char **ret_saved, struct stow_err *err);

/* Writes everything back except cpuset.cpus, last change first, and goes on after a failure:
 * returns the first one. (The CPUs are also a matter of who is exclusive: lib/grant/shared.h.) */
int stow_saved_restore(const struct stow_cgroup *cgroup, const char *saved, struct stow_err *err);

/* The saved cpuset.cpus or cpuset.mems; the empty set when it was empty (v2: inherits). */
void stow_saved_idset(const char *saved, const char *attribute, struct stow_idset *ret);
