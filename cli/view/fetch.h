/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

#include "base/err.h"

/* Get a page of a daemon on this machine by HTTP, within seconds, and keep its beginning in `buf`,
 * terminated. `address` is numbers, with a port: "127.0.0.1:7201", "[::1]:7201". 0, or a negative
 * errno: no connection, no answer, or another status than 200. */
int cli_fetch(const char *address, const char *path, char *buf, size_t size, struct stow_err *err);
