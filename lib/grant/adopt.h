/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Containers that never met the hook, because they are older than numastow, were started while it
 * was switched off, or came back from a checkpoint: they are entered as unmanaged ones
 * (lib/grant/unmanaged.h), so that the applier keeps them off exclusive CPUs and gives these back
 * at the end.
 */

#include "base/err.h"
#include "grant/discover.h"
#include "grant/grant.h"

struct stow_adoption {
	struct stow_adopted {
		char id[STOW_DISCOVER_ID + 1];
		uint64_t inode; /* of its cgroup: with the id, which container it is */
		bool entered;	/* else: it runs where it likes */
		bool no_cpuset; /* because its cgroup has no cpuset controller */
	} * list;
	size_t n;
	bool cut; /* there were more cgroups than are looked into */
};

/* What became of it, for people: "never met the hook: kept off exclusive CPUs". */
const char *stow_adopted_text(const struct stow_adopted *container);
void stow_adoption_done(struct stow_adoption *adoption);

/* Looks for containers that are neither in the ledger (the context's may be NULL: then nobody is)
 * nor entered, and enters them, unless the configuration says `adopt: no`. The list has them. On a
 * machine without cpusets there are none. */
int stow_adopt(const struct stow_grant_context *context, struct stow_adoption *ret,
	       struct stow_err *err);
