/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "agent/agent.h"

/* Starts a repin on a thread of its own, which reports on the stream; its end ends the stream, and
 * the stream's end cancels it. -EBUSY: the container is being moved already, or too many are. */
int agent_repin_start(struct agent *agent, struct stow_rpc_call *call,
		      const PbRepinRequest *request, struct stow_err *err);
/* Cancels all and waits for them. */
void agent_repin_stop(struct agent *agent);
