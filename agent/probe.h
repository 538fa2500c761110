/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The agent's self-test. Its main loop calls its own socket every few seconds, over a new
 * connection, and records when the last call was answered. The main loop notifies the watchdog as
 * long as answers come. /healthz and /livez also fail when the main loop is stuck.
 *
 * struct agent_probe: for the main thread
 * struct agent_probe_signs: for any thread
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

/* --- the main thread ------------------------------------------------------ */

/* Create the probe; the loop runs it. `socket` is the path of the agent's socket, which must
 * listen already; it is copied. */
int agent_probe_new(struct agent_loop *loop, struct stow_rpc_loop *rpc, const char *socket,
		    struct agent_probe **ret, struct stow_err *err);
/* Free the probe, after the main loop has ended, and before `rpc` is freed. NULL is allowed. */
void agent_probe_free(struct agent_probe *probe);
/* Return the signs, which the probe owns. */
const struct agent_probe_signs *agent_probe_signs(const struct agent_probe *probe);

/* --- any thread ----------------------------------------------------------- */

/* Return whether the socket has answered lately. If not, `why` says for how long not. */
bool agent_probe_answered(const struct agent_probe_signs *signs, char *why, size_t size);
/* Return whether the main loop is running, not stuck. */
bool agent_probe_loop_runs(const struct agent_probe_signs *signs, char *why, size_t size);
