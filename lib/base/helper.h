/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Programs that ours start. */

#include <stddef.h>
#include <sys/types.h>

/* Where a program of ours is that this one starts: beside this one (as in a build tree, and for
 * what is installed to the same directory), else in STOW_LIBEXECDIR. Returns `buf`. */
const char *stow_helper_path(const char *name, char *buf, size_t size);

/* Waits for a child process at most `timeout_ms` milliseconds, then kills it. Either way it is
 * reaped, and *ret_status is what waitpid(2) says of it. 0, or -ETIMEDOUT: it was killed. */
int stow_helper_wait(pid_t pid, int timeout_ms, int *ret_status);
