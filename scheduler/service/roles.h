/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who may call what. A certificate says it in a URI among its alternative names:
 *
 *	numastow:agent/NODE	Report, for that node
 *	numastow:role/read	ListNodes, WatchNodes, ListReservations, ListDrains, Explain
 *	numastow:role/place	these, Place and Release
 *	numastow:role/drain	these, Fence, Unfence, DrainMemory and CancelDrain
 *
 * or the setting `role` says it of the certificate's name. Without TLS (loopback) everybody may do
 * everything.
 */

#include "base/err.h"
#include "rpc/rpc.h"

/* "NAME=ROLE"; -EINVAL says what a role is. */
int scheduler_role_check(const char *entry, struct stow_err *err);

/* -EACCES says who lacks what. `roles` may be NULL. An agent's node is checked with its first
 * report. */
int scheduler_may(const struct stow_rpc_peer *peer, const char *method, char *const *roles,
		  struct stow_err *err);
/* Whether the certificate is an agent's, of whatever node. */
bool scheduler_is_agent(const struct stow_rpc_peer *peer, char *const *roles);
int scheduler_may_report(const struct stow_rpc_peer *peer, const char *node, char *const *roles,
			 struct stow_err *err);
