/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

#include "base/err.h"

/* Get a page of a daemon on this machine by HTTP, and keep as much of it as fits in `buf`,
 * terminated. `address` is numbers, with a port: "127.0.0.1:7201", "[::1]:7201". -EPROTO: the
 * answer is not HTTP, or its status is not 200. Other errors: the address is not valid, or there is
 * no connection or no answer. */
int cli_fetch(const char *address, const char *path, char *buf, size_t size, struct stow_err *err);
