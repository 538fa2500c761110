/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the watchdog and /healthz are told: a thread does, again and again, what a caller needs. It
 * takes the fleet's lock, has the store write something and waits for its word, connects to the
 * scheduler's own port and asks for its health. As long as such a round comes back within
 * PROBE_WITHIN the scheduler is alive. What the round heard (a store that refuses, a port that
 * does) is /healthz's business; the watchdog's is that it comes back.
 *
 * With TLS the connection shows the scheduler's own certificate. Where that is not good for a client
 * (extendedKeyUsage without clientAuth), the handshake's answer counts as having been accepted.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

struct scheduler;
struct scheduler_probe;

#define SCHEDULER_PROBE_EVERY  (3 * STOW_SECOND)
#define SCHEDULER_PROBE_WITHIN (12 * STOW_SECOND)

/* Starts the thread; the server listens already. */
int scheduler_probe_new(struct scheduler *s, struct scheduler_probe **ret, struct stow_err *err);
/* Waits for the round under way. NULL is fine. */
void scheduler_probe_free(struct scheduler_probe *probe);

/* Whether the last round came back in time. `why` (may be NULL) says what it waits for. */
bool scheduler_probe_alive(const struct scheduler_probe *probe, char *why, size_t size);
/* ... and heard nothing bad. */
bool scheduler_probe_well(struct scheduler_probe *probe, char *why, size_t size);
/* When the last good round ended: wall time in ns; 0: none yet. */
uint64_t scheduler_probe_last(const struct scheduler_probe *probe);
