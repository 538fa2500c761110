/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "agent/agent.h"

/*
 * Does what a scheduler says, as far as the agent's own limits and mode allow. Returns 0, or -errno
 * with the line that the scheduler gets back: -EACCES beyond a limit, -ENOSYS for what this agent
 * does not know.
 */
int agent_obey(struct agent *agent, const PbDirective *directive, struct stow_err *err);
