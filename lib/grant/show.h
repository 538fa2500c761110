/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The ledger as text and as JSON: for numastow, and for the agent, which shows it to users that may
 * not read the file. */

#include <stdbool.h>

#include "base/err.h"
#include "base/grid.h"
#include "grant/grant.h"

/* Show what each container has. The context's ledger may be NULL: then no container has anything.
 * The text consists of whole lines, of at most `width` columns, unless that is 0; the caller frees
 * it. `style`, which may be NULL, is that of the table of containers; JSON is always whole.
 * -EINVAL: it names an unknown column. */
int stow_show_ledger(const struct stow_grant_context *context, bool json, int width,
		     const struct stow_grid_style *style, char **ret_text, struct stow_err *err);

/* Print the names of that table's columns, for --help. */
void stow_show_columns(FILE *out);

/* Up to which event the history was read. A new ledger numbers its events anew, so the time belongs
 * to it. */
struct stow_show_read {
	int64_t seq; /* -1: nothing was read yet; 0: there was no event */
	uint64_t at;
};

/* What of the history is wanted. */
struct stow_show_asked {
	const char *id; /* the container whose id is, or begins with, this; NULL: all containers */
	uint64_t since; /* events at or after this time, in ns since 1970; 0: of the newest 100 if
			 * `id` is NULL, otherwise all */
	struct stow_show_read *after; /* NULL, or to read on: only events after this one, which
				       * becomes the newest event */
	bool json;
};

/* Show the history. Reading on without a new event gives an empty text. -ENOENT:
 * no container has such an id. The text of one container ends with the state of its partition, if
 * it wants one, unless it is read on. */
int stow_show_history(const struct stow_grant_context *context, const struct stow_show_asked *asked,
		      char **ret_text, struct stow_err *err);

/* Format a time in ns since the epoch as "2026-11-22 14:03:05" in local time. Return `buf`. */
const char *stow_show_time(uint64_t ns, char *buf, size_t size);
