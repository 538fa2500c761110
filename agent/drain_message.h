/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A drain between lib/drain and drain.proto. What goes out is bounded: names are cut, and of the
 * long lists the first are told, so that no message comes near STOW_RPC_MESSAGE_MAX.
 */

#include "drain/drain.h"
#include "numastow/v1/drain.pb-c.h"

#define AGENT_DRAIN_BLOCKS_MAX	 4096
#define AGENT_DRAIN_AFFECTED_MAX 1024
#define AGENT_DRAIN_CULPRITS_MAX 64
#define AGENT_DRAIN_NOTES_MAX	 64

/* Messages are the caller's, to be freed with stow_rpc_message_free(); NULL when memory has run
 * out. */

PbDrainPlan *agent_drain_plan_message(const struct stow_drain_plan *plan);
/* With the plan, if it has one. `block_size` (0: not known) tells in which block a page is. */
PbDrainProgress *agent_drain_progress_message(const struct stow_drain_progress *progress,
					      uint64_t block_size);
/* As the ledger has it; without the name of the machine. */
PbDrain *agent_drain_row_message(const struct stow_drain_row *row);
/* A copy of any message. */
void *agent_drain_copy(const void *message);

/* What a caller wants. Strings stay the message's. -EINVAL names the field. */
int agent_drain_spec(const PbDrainSpec *in, struct stow_drain_spec *ret, struct stow_err *err);
