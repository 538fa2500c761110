/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The stream to the scheduler: dialled for ever, with growing and jittered pauses, at one address
 * after the other until one answers. All on the agent's main thread, except what gRPC calls.
 */

#include "agent/agent.h"

int agent_link_new(struct agent *agent, struct agent_link **ret, struct stow_err *err);
/* Ends the stream and the connection. */
void agent_link_free(struct agent_link *link);

/* Dials, or sends a heartbeat, when it is time. Returns the time of the next of either. */
uint64_t agent_link_tick(struct agent_link *link, uint64_t now);
/* Says how a drain goes that the scheduler has ordered; nothing before its welcome, which says it
 * all. */
void agent_link_drain(struct agent_link *link, const PbDrainProgress *progress);
/* Forgets the pause and reads certificates again: after SIGHUP. */
void agent_link_redial(struct agent_link *link);

/* The pause before the dial after `failures` failed ones in a row; `random` is any number. */
uint64_t agent_link_pause(unsigned int failures, uint64_t random);
/* The same with `n` schedulers, each of which is tried before the pause; `welcomed`: the stream
 * that failed had been accepted. */
uint64_t agent_link_wait(unsigned int failures, size_t n, bool welcomed, uint64_t random);
