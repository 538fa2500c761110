/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Choosing the container that a text names. A whole id counts before a name, and a name before the
 * beginning of an id. A name is "web", or "NAMESPACE/POD/web". */

#include <stddef.h>

#include "base/err.h"

struct cli_match {
	const char *text;
	const void *whole, *named, *prefixed; /* containers that match so; NULL: none */
	size_t n_named, n_prefixed;
};

/* Look at a container; `name` may be NULL. The match keeps the pointer `container`. */
void cli_match_look(struct cli_match *match, const char *id, const char *name,
		    const void *container);
/* Return the container, or NULL with `err` set: -ENOENT, or -ENOTUNIQ if there are several. */
const void *cli_match_end(const struct cli_match *match, struct stow_err *err);
