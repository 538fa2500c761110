/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether sets that another tool has given to a container can stay: they take nothing that others
 * have or were promised.
 */

#include <stdbool.h>

#include "grant/cpuview.h"
#include "grant/grant.h"

/* Says whether the record's container may have these CPUs. */
bool stow_fit_cpus(const struct stow_grant_context *context, const struct stow_cpu_view *view,
		   const struct stow_record *record, const struct stow_idset *cpus);

/* Says whether the record's memory fits onto these nodes, and moves it there in the record.
 * Hugepages and memory of several nodes do not move: their nodes must be among the new ones. */
bool stow_fit_nodes(const struct stow_grant_context *context, struct stow_record *record,
		    const struct stow_idset *nodes);

/* Counts the record's shares anew by the CPUs that it has now: what the next repin asks for.
 * -ENOMEM is the only failure. */
int stow_fit_count(const struct stow_grant_context *context, struct stow_record *record,
		   const struct stow_idset *cpus);
