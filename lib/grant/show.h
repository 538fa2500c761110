/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The ledger as text and as JSON: for numastow, and for the agent, which shows it to users that may
 * not read the file. */

#include <stdbool.h>

#include "base/err.h"
#include "grant/grant.h"

/* Shows which container has what; the context's ledger may be NULL: none has anything. The text
 * consists of whole lines and is freed by the caller. */
int stow_show_ledger(const struct stow_grant_context *context, bool json, char **ret_text,
		     struct stow_err *err);

/* Shows what happened to the container whose id is, or begins with, `id`; NULL: the newest 100
 * events of all. -ENOENT: nothing is known about it. The text of one container ends with its
 * partition, if its CPUs are to be one. */
int stow_show_history(const struct stow_grant_context *context, const char *id, bool json,
		      char **ret_text, struct stow_err *err);

/* A time in ns since the epoch, as local time; an id of 64 hexadecimal digits cut to 12. Both
 * return `buf`. */
const char *stow_show_time(uint64_t ns, char *buf, size_t size);
const char *stow_show_id(const char *id, char *buf, size_t size);
