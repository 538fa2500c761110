/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Signals of a daemon, and its end. A thread receives SIGTERM, SIGINT and SIGHUP and hands them to
 * the main loop through a pipe. When the program has not exited within a grace period after
 * SIGTERM, whatever its main loop is doing, the thread logs this and ends it: a lock that is never
 * released must not keep a program alive. Also the watchdog of systemd.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Block the signals (ignore SIGPIPE), and start the thread. Call it before any other thread is
 * made, since threads inherit the mask. Return a descriptor to poll, from which to read one byte
 * for each signal, its number; it does not block. `grace` in ns. */
int stow_signals_open(uint64_t grace, struct stow_err *err);
/* Return the next signal's number, or 0 when there is none. */
int stow_signals_next(int fd);

/* Notify the watchdog when nothing is wrong (`why` is NULL); otherwise log why it is not notified,
 * once: `*logged` tells that it was. */
void stow_watchdog_notify(const char *why, bool *logged);
