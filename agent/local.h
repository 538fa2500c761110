/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The service Agent on the machine's own socket. Who may do what is decided from what the kernel
 * says of the peer: root of our namespaces changes things; it and the group `readers` see
 * containers; everybody else sees the machine's numbers. Calls come on gRPC's threads.
 */

#include <stdbool.h>
#include <stdio.h>

#include "agent/config.h"
#include "agent/drain.h"
#include "agent/policy.h"
#include "agent/publisher.h"
#include "agent/repin.h"
#include "rpc/rpc.h"

struct agent_local;

struct agent_local_parts { /* for any thread, and outlive it */
	struct stow_root *root;
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_repins *repins;
	struct agent_drain_table *drains;
};

/* Listens on the configured socket, once a first report is published. Main thread. */
int agent_local_new(const struct agent_config *config, struct stow_rpc_loop *rpc,
		    const struct agent_local_parts *parts, struct agent_local **ret,
		    struct stow_err *err);
/* Ends calls under way; repins are cancelled before. Main thread. */
void agent_local_free(struct agent_local *local);

/* The path of its socket. */
const char *agent_local_path(const struct agent_local *local);
/* What the socket's callers asked and take, for Prometheus. Any thread. */
void agent_local_render(struct agent_local *local, FILE *out);

/* The group of the setting `readers`; (gid_t)-1 without one. -EINVAL: there is no such group. */
int agent_local_find_readers(const char *name, gid_t *ret, struct stow_err *err);

/* Pure decisions, for tests. `readers` is a group id or (gid_t)-1. */
bool agent_local_may_change(const struct stow_rpc_peer *peer);
bool agent_local_may_see_containers(const struct stow_rpc_peer *peer, gid_t readers);
