/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Repins that callers on the local socket ask for, each on a thread of its own with a ledger handle
 * of its own. The jobs are under a lock of their own: every function may be called from any thread.
 */

#include "agent/policy.h"
#include "agent/publisher.h"
#include "numastow/v1/agent.pb-c.h"
#include "rpc/rpc.h"

struct agent_repins;

/* Both must outlive it. */
int agent_repin_new(struct agent_policy *policy, struct agent_publisher *publisher,
		    struct agent_repins **ret, struct stow_err *err);
/* Cancels all, waits for them, and takes no more. */
void agent_repin_free(struct agent_repins *repins);

/* Starts a repin, which reports on the stream; its end ends the stream, and the stream's end
 * cancels it. -EBUSY: the container is being moved already, or too many are. */
int agent_repin_start(struct agent_repins *repins, struct stow_rpc_call *call,
		      const PbRepinRequest *request, struct stow_err *err);
/* Cancels all that are under way and waits for them: they are taken back. */
void agent_repin_cancel_all(struct agent_repins *repins);
