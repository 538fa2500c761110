/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Helper programs. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Find a helper program of numastow: beside the running program (as in a build tree, or when both
 * are installed to one directory), or else in STOW_LIBEXECDIR. Return `buf`. */
const char *stow_helper_path(const char *name, char *buf, size_t size);

/* Wait for a child process at most `timeout` ns, then kill it. *ret_status is that of waitpid(2).
 * Return 0, or -ETIMEDOUT when it was killed. */
int stow_helper_wait(pid_t pid, uint64_t timeout, int *ret_status);
