/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a scheduler says, done. All of it on the main thread. */

#include "agent/config.h"
#include "agent/drain.h"
#include "agent/machine.h"
#include "agent/policy.h"
#include "numastow/v1/scheduler.pb-c.h"

struct agent_directive_parts {
	struct agent_machine *machine;
	struct agent_drains *drains;
	struct agent_policy *policy;
	const struct agent_config *config;
};

/*
 * Does what a scheduler says, as far as the agent's own limits and mode allow. Returns 0, or -errno
 * with the line that the scheduler gets back: -EACCES beyond a limit, -ENOSYS for what this agent
 * does not know.
 */
int agent_directive_obey(const struct agent_directive_parts *parts, const PbDirective *directive,
			 struct stow_err *err);
