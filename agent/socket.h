/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Listening unix sockets. */

#include <sys/types.h>

#include "base/err.h"

/* Make a socket that listens at `path` with that mode, in place of one that an agent which has
 * ended left there. Return the descriptor. `what` names the setting in errors. */
int agent_socket_listen(const char *path, mode_t mode, const char *what, struct stow_err *err);
