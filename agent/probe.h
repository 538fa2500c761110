/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether this agent is there for others: its main loop begins a call to its own socket every few
 * seconds, over a connection of its own, and notes when the last one was answered. The watchdog is
 * fed by the main loop as long as such answers come; /healthz says in addition when the main loop
 * is stuck.
 *
 * struct agent_probe		belongs to the main thread
 * struct agent_probe_signs	is for any thread
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/loop.h"
#include "base/clock.h"
#include "base/err.h"
#include "rpc/rpc.h"

struct agent_probe;
struct agent_probe_signs;

#define AGENT_PROBE_EVERY  (10 * STOW_SECOND)
#define AGENT_PROBE_WITHIN (60 * STOW_SECOND)

/* --- the main thread ---------------------------------------------------------------------------- */

/* `socket` is the path of the agent's socket, which listens already; it is copied. The loop does
 * the rest. */
int agent_probe_new(struct agent_loop *loop, struct stow_rpc_loop *rpc, const char *socket,
		    struct agent_probe **ret, struct stow_err *err);
/* When the main loop runs no more, and before `rpc` is freed. NULL is fine. */
void agent_probe_free(struct agent_probe *probe);
/* Belongs to the probe, and ends with it. */
const struct agent_probe_signs *agent_probe_signs(const struct agent_probe *probe);

/* --- any thread --------------------------------------------------------------------------------- */

/* Whether its socket has answered lately. `why` (may be NULL) says how long not. */
bool agent_probe_answered(const struct agent_probe_signs *signs, char *why, size_t size);
/* Whether the main loop comes round. */
bool agent_probe_comes_round(const struct agent_probe_signs *signs, char *why, size_t size);
