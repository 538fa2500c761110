/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The service Agent on the machine's own socket. Access is decided by the peer's credentials from
 * the kernel: root of our namespaces changes things; it and the group `readers` see containers;
 * other users see the machine's numbers. Calls come on gRPC's threads.
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

/* Listen on the configured socket. The first report must be published. Main thread. */
int agent_local_new(const struct agent_config *config, struct stow_rpc_loop *rpc,
		    const struct agent_local_parts *parts, struct agent_local **ret,
		    struct stow_err *err);
/* End running calls; the caller has cancelled repins before. Main thread. */
void agent_local_free(struct agent_local *local);

/* Return the path of the socket. */
const char *agent_local_path(const struct agent_local *local);
/* Write metrics of the socket's calls and connections. Any thread. */
void agent_local_render(struct agent_local *local, FILE *out);

/* Find the group of the setting `readers`; (gid_t)-1 when it is not set. -EINVAL: there is no
 * such group. */
int agent_local_find_readers(const char *name, gid_t *ret, struct stow_err *err);
