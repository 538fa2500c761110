/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Helper programs. */

#include <stddef.h>
#include <sys/types.h>

/* Find a helper program of numastow: beside the running program (as in a build tree, or when both
 * are installed to one directory), or else in STOW_LIBEXECDIR. Return `buf`. */
const char *stow_helper_path(const char *name, char *buf, size_t size);

/* Wait for a child process at most `timeout_ms` milliseconds, then kill it. Reap it in both cases;
 * *ret_status is from waitpid(2). Return 0, or -ETIMEDOUT when it was killed. */
int stow_helper_wait(pid_t pid, int timeout_ms, int *ret_status);
