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

/* The hook's arguments. */
struct hook_call {
	enum hook_command command;
	const char *claim, *share; /* Kubernetes UIDs of a claim and of one of its shares, for a
				      container that was given that device; or both NULL */
};

/* Parse the arguments after the program's name: COMMAND [--claim UID --share ID]. -EINVAL: there
 * is no such command or option, an option is given twice or without the other one, or a value is
 * not a Kubernetes UID. The result points into `argv`. */
int hook_call_parse(int argc, char *const *argv, struct hook_call *ret, struct stow_err *err);

/* Run a command: apply for createRuntime (or prestart), release for poststop, precreate for
 * Podman's precreate. */
int stow_hook_run(struct stow_root *root, const struct hook_call *call, int in, int out,
		  struct stow_err *err);
