/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The annotations of a request, from the command line and a file. */

#include <stddef.h>

#include "base/err.h"
#include "place/request.h"

struct cli_asked {
	struct stow_annotation annotations[256];
	char *keys[256]; /* keys that were allocated */
	size_t n;
	struct json_object *file;
};

void cli_asked_done(struct cli_asked *asked);

/* Add "KEY=VALUE", the key with or without numastow.io/. Keeps pointers into `argument`. */
int cli_asked_argument(struct cli_asked *asked, const char *argument, struct stow_err *err);

/* Add the annotations of a JSON file: an object of annotations, or one that has them under
 * "annotations", as an OCI state, a config.json or a pod's metadata. "-" is standard input.
 * Ignores keys without the prefix numastow.io/. */
int cli_asked_file(struct cli_asked *asked, const char *path, struct stow_err *err);
