/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The hook as a function: main() only chooses the root and prints the error. It reads its input
 * from `in`, may write to `out` (precreate), and fails closed: an error means that the container is
 * not to start, and that nothing has changed.
 */

#include "base/err.h"
#include "base/root.h"

enum hook_command { HOOK_APPLY, HOOK_RELEASE, HOOK_PRECREATE };

/* The command of that name; -EINVAL when there is none. */
int hook_command_parse(const char *word, enum hook_command *ret, struct stow_err *err);

/* createRuntime (or prestart), poststop, and Podman's precreate. */
int stow_hook_run(struct stow_root *root, enum hook_command command, int in, int out,
		  struct stow_err *err);
