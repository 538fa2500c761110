/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether a container may keep the sets that another tool has given to it: only if they contain
 * nothing that other containers have or were promised.
 */

#include <stdbool.h>

#include "grant/cpuview.h"
#include "grant/grant.h"

/* Return whether the record's container may have these CPUs. */
bool stow_fit_cpus(const struct stow_grant_context *context, const struct stow_cpu_view *view,
		   const struct stow_record *record, const struct stow_idset *cpus);

/* Return whether the record's memory fits onto these nodes, and if so move its shares there in the
 * record. Hugepages, and memory of several nodes, do not move: `nodes` must contain their nodes. */
bool stow_fit_nodes(const struct stow_grant_context *context, struct stow_record *record,
		    const struct stow_idset *nodes);

/* Set the record's shares to the CPUs that it has now: a later repin asks for these. Fails only
 * with -ENOMEM. */
int stow_fit_count(const struct stow_grant_context *context, struct stow_record *record,
		   const struct stow_idset *cpus);
