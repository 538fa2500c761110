/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The self-test behind the watchdog and /healthz. A thread periodically does what calls need: it
 * takes the fleet's lock, has the store write a row and waits for the result, connects to the
 * scheduler's own port and checks its health. The scheduler is alive as long as each round ends
 * within SCHEDULER_PROBE_WITHIN; the watchdog and /livez depend on that only. An error in a round
 * (of the store or the port) makes /healthz fail.
 *
 * With TLS a round fails, too, when the certificate has expired, because no peer can connect then.
 * When its files cannot be used, those that were read last stay in use until the next start: a
 * warning, which /healthz shows as well.
 *
 * The connection uses the scheduler's own certificate. If that is not valid for clients
 * (extendedKeyUsage without clientAuth), the handshake's rejection counts as an answer.
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

/* Start the thread; the server must listen already. */
int scheduler_probe_new(struct scheduler *s, struct scheduler_probe **ret, struct stow_err *err);
/* Wait for the running round, and free the probe. NULL is allowed. */
void scheduler_probe_free(struct scheduler_probe *probe);

/* Return whether the last round ended in time. If not, `why` (may be NULL) tells what it waits
 * for. */
bool scheduler_probe_alive(const struct scheduler_probe *probe, char *why, size_t size);
/* Return whether the last round ended in time, and without an error. If it did, `why` is "" or what
 * will be an error at the next start. */
bool scheduler_probe_well(struct scheduler_probe *probe, char *why, size_t size);
/* Return when the scheduler's certificate expires, as its file was in the last round: seconds since
 * the epoch; 0: without TLS, or it cannot be read. */
int64_t scheduler_probe_certificate_expires(const struct scheduler_probe *probe);
/* Return when the last successful round ended: wall time in ns; 0: none yet. */
uint64_t scheduler_probe_last(const struct scheduler_probe *probe);
