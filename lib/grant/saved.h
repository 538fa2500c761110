/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The values of a container's cgroup before numastow changed them, except cpuset.cpus and
 * cpuset.mems (see lib/grant/apply.h): limits, and on v1 cpuset.memory_migrate. It goes into the
 * ledger before the first write, so that a later program can undo the work of a hook that was
 * killed.
 */

#include "base/err.h"
#include "cgroup/cgroup.h"
#include "ledger/ledger.h"
#include "place/request.h"

/* Read every attribute that placing `request` may change into the record, but for those that it has
 * already. */
int stow_saved_capture(const struct stow_cgroup *cgroup, const struct stow_request *request,
		       struct stow_record *record, struct stow_err *err);

/* Return whether the record has the value of an attribute already. */
bool stow_saved_has(const struct stow_record *record, enum stow_controller controller,
		    const char *attribute);

/* Write all values back, last change first. Continue after a failure and return the first. */
int stow_saved_restore(const struct stow_cgroup *cgroup, const struct stow_record *record,
		       struct stow_err *err);
