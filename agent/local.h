/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The service Agent on the machine's own socket. Who may do what is decided from what the kernel
 * says of the peer: root of our namespaces changes things; it and the group `readers` see
 * containers; everybody else sees the machine's numbers.
 */

#include "agent/agent.h"

/* Listens on the configured socket. */
int agent_local_new(struct agent *agent, struct agent_local **ret, struct stow_err *err);
/* What the socket's callers take, for Prometheus. */
void agent_local_render(struct agent_local *local, FILE *out);
/* The group of the setting `readers`; (gid_t)-1 without one. -EINVAL: there is no such group. */
int agent_find_readers(const char *name, gid_t *ret, struct stow_err *err);
/* The path of its socket. */
const char *agent_local_path(const struct agent_local *local);
/* Ends calls under way; a repin is taken back. */
void agent_local_free(struct agent_local *local);

/* Pure decisions, for tests. `readers` is a group id or (gid_t)-1. */
bool agent_may_change(const struct stow_rpc_peer *peer);
bool agent_may_see_containers(const struct stow_rpc_peer *peer, gid_t readers);
