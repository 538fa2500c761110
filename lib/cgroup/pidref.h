/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether a process that we knew is still that process: its number and its start time, in clock
 * ticks since boot (field 22 of /proc/PID/stat, proc(5)), together never repeat until reboot.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/root.h"

struct stow_pidref {
	pid_t pid; /* 0: none */
	uint64_t start;
};

/* -ESRCH when there is no such process. A zombie is dead: it runs nothing and holds nothing. */
int stow_pidref_read(struct stow_root *root, pid_t pid, struct stow_pidref *ret,
		     struct stow_err *err);

/* True only when provably still running; when /proc cannot be read the answer is true, because
 * releasing what is in use is worse than keeping what is not. */
bool stow_pidref_alive(struct stow_root *root, const struct stow_pidref *ref);

/* Sends a signal to exactly that process (pidfd_open(2), Linux 5.3), on the live machine. -ESRCH:
 * it has ended, also when another process has its number by now. */
int stow_pidref_signal(struct stow_root *root, const struct stow_pidref *ref, int signal);
