/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Carrying out a scheduler's directives. On the main thread. */

#include "agent/config.h"
#include "agent/drain.h"
#include "agent/machine.h"
#include "agent/policy.h"
#include "numastow/v1/scheduler.pb-c.h"
#include "rpc/log.h"

struct agent_directive_parts {
	struct agent_machine *machine;
	struct agent_drains *drains;
	struct agent_policy *policy;
	const struct agent_config *config;
};

/* The directive that is being carried out, and the limits of log lines. Zero at first. */
struct agent_directive_state {
	size_t next;	       /* reservation of a Welcome */
	size_t refused;	       /* reservations of the Welcome so far */
	struct stow_err first; /* why the first of them was */
	struct stow_log_limit reserve_log, fence_log;
};

/*
 * Carry out a directive, within the agent's own limits and mode. Return 0, or -errno with the
 * message for the scheduler: -EACCES beyond a limit, -ENOSYS for an unknown directive.
 * Return 1 when it is not finished at `until` (monotonic, ns), after some progress: call this again
 * with the same directive, after timers and descriptors had their turn.
 */
int agent_directive_handle(const struct agent_directive_parts *parts,
			   struct agent_directive_state *state, const PbDirective *directive,
			   uint64_t until, struct stow_err *err);
/* Forget the directive that is being carried out: its stream has ended. */
void agent_directive_forget(struct agent_directive_state *state);
