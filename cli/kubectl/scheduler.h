/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The fleet's scheduler, which is asked by numastow-fleet: this program links no gRPC. */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Return 0 when a scheduler is named, by an option (`given`) or in the file `config` (NULL:
 * /etc/numastow/client.yaml). -ENOTCONN: none is; the error says what `name` needs it for. */
int kubectl_scheduler_find(bool given, const char *config, const char *name, struct stow_err *err);

/* Run numastow-fleet with a NULL-terminated list of words; return its exit code. With `ret_text`,
 * what it prints is returned there, for the caller to free. */
int kubectl_scheduler_ask(char *const *words, char **ret_text, size_t *ret_len,
			  struct stow_err *err);
