/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Signals of a daemon, and its end. A thread takes SIGTERM, SIGINT and SIGHUP and hands them to the
 * main loop through a pipe. When the program has not ended within a grace after SIGTERM, whatever
 * its main loop is at, the thread says so and ends it: a lock that nobody gives back must not keep
 * a program alive.
 */

#include <stdint.h>

#include "base/err.h"

/* Blocks the signals (SIGPIPE is ignored), and starts the thread: before any other thread is made,
 * since they inherit the mask. Returns a descriptor to poll and to read one byte from for each
 * signal, its number; it does not block. `grace` in ns. */
int stow_signals_open(uint64_t grace, struct stow_err *err);
/* The next signal's number, or 0 when there is none. */
int stow_signals_next(int fd);
