/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The hook as a function: main() only chooses the root and prints the error. The hook reads its
 * input from `in`, and may write to `out` (precreate). It fails closed: after an error the
 * container must not start, and nothing has changed.
 */

#include "base/err.h"
#include "base/root.h"

enum hook_command { HOOK_APPLY, HOOK_RELEASE, HOOK_PRECREATE };

/* Parse a command's name. -EINVAL: there is no such command. */
int hook_command_parse(const char *word, enum hook_command *ret, struct stow_err *err);

/* Run a command: apply for createRuntime (or prestart), release for poststop, precreate for
 * Podman's precreate. */
int stow_hook_run(struct stow_root *root, enum hook_command command, int in, int out,
		  struct stow_err *err);
