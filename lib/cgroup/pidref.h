/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A reference to a process: its number and its start time, in clock ticks since boot (field 22 of
 * /proc/PID/stat, proc(5)). The two together never repeat until reboot.
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

/* Make a reference to a process. -ESRCH: there is no such process. A zombie counts as ended: it
 * runs nothing and holds nothing. */
int stow_pidref_read(struct stow_root *root, pid_t pid, struct stow_pidref *ret,
		     struct stow_err *err);

/* Return whether the process still runs. False only when it has provably ended; when /proc cannot
 * be read, return true, because releasing what is in use is worse than keeping what is not. */
bool stow_pidref_alive(struct stow_root *root, const struct stow_pidref *ref);

/* Send a signal to exactly that process (pidfd_open(2), Linux 5.3), on the live machine. -ESRCH: it
 * has ended, even if another process has its number by now. */
int stow_pidref_signal(struct stow_root *root, const struct stow_pidref *ref, int signal);

/* Return whether this thread is a worker of an io_uring, which the kernel made. False when it is
 * not known. */
bool stow_process_is_io_worker(struct stow_root *root, pid_t tid);

/*
 * Return whether the process is a container's first one while its runtime creates the container: it
 * has executed no program since it was forked (flags in /proc/PID/stat, proc(5)), and its root
 * directory is still the machine's. The runtime runs createRuntime hooks in this state, before
 * pivot_root(2) (OCI runtime-spec, config.md). A restored process has executed no program either,
 * but has the container's root directory. False when it is not known.
 */
bool stow_process_is_created(struct stow_root *root, pid_t pid);
