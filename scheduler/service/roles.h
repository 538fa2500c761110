/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Roles: which methods a client may call. A certificate gives its role in a URI among its subject
 * alternative names:
 *
 *	numastow:agent/NODE	Report, for that node
 *	numastow:role/read	ListNodes, WatchNodes, ListReservations, ListDrains, Explain
 *	numastow:role/place	these, Place and Release
 *	numastow:role/drain	these, Fence, Unfence, DrainMemory and CancelDrain
 *
 * or the setting `role` gives a role to a name of the certificate. Without TLS (loopback) every
 * client may call all methods.
 */

#include "base/err.h"
#include "rpc/rpc.h"

/* Check "NAME=ROLE". -EINVAL; `err` lists the roles. */
int scheduler_role_check(const char *entry, struct stow_err *err);

/* Check whether a peer may call a method. -EACCES; `err` names the peer and the role that it
 * lacks. `roles` may be NULL. The node of an agent is checked with its first report. */
int scheduler_may(const struct stow_rpc_peer *peer, const char *method, char *const *roles,
		  struct stow_err *err);
/* Return whether the certificate is an agent's, of any node. */
bool scheduler_is_agent(const struct stow_rpc_peer *peer, char *const *roles);
int scheduler_may_report(const struct stow_rpc_peer *peer, const char *node, char *const *roles,
			 struct stow_err *err);
