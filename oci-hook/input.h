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
 * Read an OCI state. Of one that is longer than `max` bytes (HOOK_STATE_MAX; tests have others),
 * leave out what is within its annotations, except one annotation "numastow.io/" if there is any
 * with this prefix, and what is within other members' values. What is left out is not checked.
 * Release with hook_input_done().
 */
int hook_input_read(int fd, size_t max, struct hook_input *ret, struct stow_err *err);
void hook_input_done(struct hook_input *input);

/* Write a config.json to `fd`. */
int hook_write_config(int fd, const char *text, size_t len, struct stow_err *err);
/* Write a text, and then copy the rest of `in`. */
int hook_input_copy(int in, int out, const char *text, size_t len, struct stow_err *err);
