/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where a daemon listens: "127.0.0.1:7200", "[::1]:7200", "0.0.0.0:7200"; numbers only, since a
 * name may mean something else tomorrow. */

#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"

/* -EINVAL says what an address looks like. Port 0 is any free one. */
int stow_address_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len,
		       struct stow_err *err);

/* Where a client goes: a name or an address, with a port, or without one, which is `port` then:
 * "scheduler.example", "[::1]:7200". -EINVAL says what is wrong with it. */
int stow_target_complete(const char *text, int port, char *ret, size_t size, struct stow_err *err);

/* Only programs of this machine can get there. */
bool stow_address_is_loopback(const struct sockaddr_storage *address);

/* In network byte order within, in ours here. */
int stow_address_port(const struct sockaddr_storage *address);
