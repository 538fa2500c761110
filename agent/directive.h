/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Carrying out a scheduler's directives. On the main thread. */

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
 * Carry out a directive, within the agent's own limits and mode. Return 0, or -errno with the
 * message for the scheduler: -EACCES beyond a limit, -ENOSYS for an unknown directive.
 */
int agent_directive_handle(const struct agent_directive_parts *parts, const PbDirective *directive,
			   struct stow_err *err);
