/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether this agent is there for others: its main loop begins a call to its own socket every few
 * seconds, over a connection of its own, and notes when the last one was answered. The watchdog is
 * fed by the main loop as long as such answers come; /healthz says in addition when the main loop
 * is stuck.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

struct agent;
struct agent_probe;

#define AGENT_PROBE_EVERY  (10 * STOW_SECOND)
#define AGENT_PROBE_WITHIN (60 * STOW_SECOND)

/* `socket` is the path of the agent's socket, which listens already; it is copied. */
int agent_probe_new(struct agent *agent, const char *socket, struct agent_probe **ret,
		    struct stow_err *err);
/* Main thread; before the loop is freed. NULL is fine. */
void agent_probe_free(struct agent_probe *probe);

/* Begins the next call when it is time to; returns when it is again. Main thread. */
uint64_t agent_probe_tick(struct agent_probe *probe, uint64_t now);
/* The main loop goes to sleep, or has woken. */
void agent_probe_sleeps(struct agent_probe *probe, bool sleeps);

/* Whether its socket has answered lately; any thread. `why` (may be NULL) says how long not. */
bool agent_probe_answered(const struct agent_probe *probe, char *why, size_t size);
/* Whether the main loop comes round; any thread. */
bool agent_probe_comes_round(const struct agent_probe *probe, char *why, size_t size);
