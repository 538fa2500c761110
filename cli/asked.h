/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The annotations of a request, from the command line and from a file. */

#include <stddef.h>

#include "base/err.h"
#include "place/request.h"

struct cli_asked {
	struct stow_annotation annotations[256];
	char *keys[256]; /* those that had to be built */
	size_t n;
	struct json_object *file;
};

void cli_asked_done(struct cli_asked *asked);

/* "KEY=VALUE", the key with or without numastow.io/. Points into `argument`. */
int cli_asked_argument(struct cli_asked *asked, const char *argument, struct stow_err *err);

/* A JSON object of annotations, or anything with one under "annotations": an OCI state, a
 * config.json, a pod's metadata; "-" is standard input. Keys without our prefix are other people's
 * here. */
int cli_asked_file(struct cli_asked *asked, const char *path, struct stow_err *err);
