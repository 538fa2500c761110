/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The address that a daemon listens on: "127.0.0.1:7200", "[::1]:7200", "0.0.0.0:7200". Numbers
 * only, because a name may resolve differently tomorrow. */

#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"

/* Parse an address. -EINVAL: the message shows the form of an address. Port 0 is any free port. */
int stow_address_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len,
		       struct stow_err *err);

/* Complete the target of a client: a name or an address, with a port or without one, which then is
 * `port`: "scheduler.example", "[::1]:7200". -EINVAL says what is wrong with it. */
int stow_target_complete(const char *text, int port, char *ret, size_t size, struct stow_err *err);

/* Return whether only programs of this machine can connect to the address. */
bool stow_address_is_loopback(const struct sockaddr_storage *address);

/* Return whether the address stands for all addresses of the machine: 0.0.0.0 or [::]. */
bool stow_address_is_any(const struct sockaddr_storage *address);

/* Write where a program connects to itself that listens on `text`, with that port: loopback for
 * 0.0.0.0 and [::]. -EINVAL as for stow_address_parse(). */
int stow_address_of_self(const char *text, int port, char *ret, size_t size, struct stow_err *err);

/* Return the port in host byte order. */
int stow_address_port(const struct sockaddr_storage *address);
