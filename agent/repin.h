/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Repins for callers on the local socket, each on a thread of its own with a ledger handle of its
 * own. They have a lock of their own; every function may be called from any thread.
 */

#include "agent/policy.h"
#include "agent/publisher.h"
#include "numastow/v1/agent.pb-c.h"
#include "rpc/rpc.h"

struct agent_repins;

/* Create the repins. `policy` and `publisher` must outlive them. */
int agent_repin_new(struct agent_policy *policy, struct agent_publisher *publisher,
		    struct agent_repins **ret, struct stow_err *err);
/* Cancel all repins, wait for them, and free. */
void agent_repin_free(struct agent_repins *repins);

/* Start a repin, which reports on the stream, and closes it at the end. If the caller closes the
 * stream, the repin is cancelled. -EBUSY: the container is being repinned already, or too many
 * are. */
int agent_repin_start(struct agent_repins *repins, struct stow_rpc_call *call,
		      const PbRepinRequest *request, struct stow_err *err);
/* Cancel all running repins, and wait until they are undone. */
void agent_repin_cancel_all(struct agent_repins *repins);
