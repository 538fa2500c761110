/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Programs that are stowed like containers: `numastow run` moves itself into a cgroup of its own,
 * is planned and granted by the ledger, and then executes the program in the same process. The
 * grant is an ordinary record: its id and name are the program's name, its first process is the
 * calling one. No hook runs when the program ends: garbage collection, or the next container that
 * needs the room, takes everything back.
 *
 * The cgroup is a transient scope of systemd; without systemd, and on cgroup v1, a group of
 * lib/grant/program_group.h.
 */

#include "base/err.h"
#include "grant/apply.h"
#include "grant/grant.h"

#define STOW_PROGRAM_NAME_MAX 63

struct stow_program {
	const char *name; /* stow_program_check_name() */
	const struct stow_request *request;
	/* Move the calling process into a cgroup of its own. It may have the sets of `planned`
	 * already, and if it is a unit of systemd, the unit must have them; what the program gets
	 * is decided afterwards, and is usually the same. */
	int (*join)(void *ctx, const struct stow_made_sets *planned, struct stow_err *err);
	void *ctx;
};

/* What the calling process has. */
struct stow_placed {
	struct stow_record *record;
	struct stow_cgroup *cgroup;
	struct stow_idset cpus, mems;	   /* in effect, as read back */
	struct stow_apply_result problems; /* of other containers */
};

void stow_placed_done(struct stow_placed *placed);

/* Check that the name can be a container's id, a unit's and a cgroup's: 1 to STOW_PROGRAM_NAME_MAX
 * letters, digits, '_', '.' and '-', beginning with a letter or digit, and not like the id of a
 * container runtime (64 hexadecimal digits do not fit). -EINVAL. */
int stow_program_check_name(const char *name, struct stow_err *err);

/*
 * Place the calling process: plan, join, reserve, enact, and read back what has taken effect. The
 * cgroup is made for the plan, so that systemd is asked once; the record is made within the
 * transaction that plans again, for another program may have taken the room meanwhile.
 * -EEXIST: a container of that name has a grant, and runs. -ENOSPC with *ret_refusal: the request
 * does not fit. -EIO: the kernel gave other CPUs or NUMA nodes, because a cgroup above allows no
 * more. After a failure nothing is granted; the process may be in its new cgroup already. Free
 * `ret` with stow_placed_done(), also after a failure.
 */
int stow_program_place(const struct stow_grant_context *context, const struct stow_program *program,
		       struct stow_placed *ret, struct stow_refusal **ret_refusal,
		       struct stow_err *err);

/* Take back what the calling process was given, because the program could not be executed. */
int stow_program_undo(const struct stow_grant_context *context, const struct stow_record *record,
		      const char *text, struct stow_err *err);
