/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Standard input, of any length, in bounded memory: a container that asks for nothing starts,
 * however much its annotations are.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct hook_input {
	char *text;
	size_t len;
	bool shortened;
};

/*
 * Read an OCI state. If it is longer than `max` bytes (HOOK_STATE_MAX; tests use others), shorten
 * it to the outermost members: objects and lists become empty, except that the annotations get one
 * member "numastow.io/" if any of them has this prefix. What is left out is not checked. Free with
 * hook_input_done().
 */
int hook_input_read(int fd, size_t max, struct hook_input *ret, struct stow_err *err);
void hook_input_done(struct hook_input *input);

/* Write a config.json to `fd`. */
int hook_write_config(int fd, const char *text, size_t len, struct stow_err *err);
/* Write a text, and then copy the rest of `in`. */
int hook_input_copy(int in, int out, const char *text, size_t len, struct stow_err *err);
