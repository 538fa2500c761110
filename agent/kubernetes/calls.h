/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The DRAPlugin services, which kubelet calls. Each call has a thread of its own, because the API
 * server may answer slowly and gRPC's thread must not wait. kubelet gets an answer for each claim
 * of a call, so the failure of one does not affect the others.
 *
 * Every function may be called from any thread.
 */

#include <stdio.h>

#include "agent/kubernetes/prepare.h"
#include "agent/kubernetes/upkeep.h"
#include "rpc/rpc.h"

struct agent_calls;

/* `prepare` and `upkeep` must outlive the calls. */
int agent_calls_new(struct agent_prepare *prepare, struct agent_upkeep *upkeep,
		    struct agent_calls **ret, struct stow_err *err);
/* Wait for the threads of all calls, and free. Their servers must have been stopped. */
void agent_calls_free(struct agent_calls *calls);

/* Add the services to a server that has not started. */
int agent_calls_add(struct agent_calls *calls, struct stow_rpc_server *server,
		    struct stow_err *err);

/* Return 0 when a peer may call: root only, as which kubelet runs. It may be in other namespaces
 * than the agent, which may run in a pod. */
int agent_calls_may(const struct stow_rpc_peer *peer, const char *method, void *ctx,
		    struct stow_err *err);

/* Write counters for Prometheus; zeros when `calls` is NULL. */
void agent_calls_render(struct agent_calls *calls, FILE *out);
