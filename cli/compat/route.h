/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which network interface leads to a host (rtnetlink(7)). */

#include "base/err.h"

#define COMPAT_INTERFACE_SIZE 16 /* IFNAMSIZ */

/* Find the interface for a host: an IPv4 or IPv6 address, or a name, which getent(1) resolves (a
 * static program cannot load the resolvers that the machine is configured for). */
int compat_route_interface(const char *host, char ret_name[static COMPAT_INTERFACE_SIZE],
			   struct stow_err *err);
