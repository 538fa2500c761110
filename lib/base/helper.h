/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Helper programs. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Find a helper program of numastow: beside the running program (as in a build tree, or when both
 * are installed to one directory), or else in STOW_LIBEXECDIR. Return `buf`. */
const char *stow_helper_path(const char *name, char *buf, size_t size);

/* Waits for a child process at most `timeout` ns, then kills it. Either way it is
 * reaped, and *ret_status is what waitpid(2) says of it. 0, or -ETIMEDOUT: it was killed. */
int stow_helper_wait(pid_t pid, uint64_t timeout, int *ret_status);
