/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Adoption: containers that no hook has seen, because they are older than numastow, were started
 * while its hook was disabled, or were restored from a checkpoint. They are entered as
 * unmanaged containers (lib/grant/unmanaged.h), so that the applier keeps them off exclusive CPUs
 * and gives these CPUs back when they are free again.
 */

#include "base/err.h"
#include "grant/context.h"
#include "grant/discover.h"

struct stow_adoption {
	struct stow_adopted {
		char id[STOW_DISCOVER_ID + 1];
		uint64_t inode; /* of its cgroup: with the id, which container it is */
		bool entered;	/* false: it is not kept off exclusive CPUs */
		bool no_cpuset; /* not entered because its cgroup has no cpuset controller */
	} * list;
	size_t n;
	bool cut; /* true: there are more cgroups than STOW_DISCOVER_CGROUPS */
};

/* Return the outcome for users: "was started without the hook: it is kept off exclusive CPUs". */
const char *stow_adopted_text(const struct stow_adopted *container);
void stow_adoption_done(struct stow_adoption *adoption);

/* Find containers that are neither in the ledger (the context's may be NULL: then no container is)
 * nor entered as unmanaged, and enter them, unless the configuration has `adopt: no`. List all of
 * them in `ret`. On a machine without cpusets the list is empty. */
int stow_adopt(const struct stow_grant_context *context, struct stow_adoption *ret,
	       struct stow_err *err);
