/* SPDX-License-Identifier: Apache-2.0 */
/* A server's metrics, for Prometheus. In a file of its own, because clients have no metrics. */
#include <string.h>

#include "rpc/guard_internal.h"
#include "rpc/metrics.h"
#include "rpc/server_internal.h"

static const char *const class_names[] = { "anonymous", "client", "trusted" };
static const char *const refusal_names[] = {
	[RPC_REFUSED_DESCRIPTORS] = "descriptors",
	[RPC_REFUSED_TOTAL] = "total",
	[RPC_REFUSED_PEER] = "peer",
	[RPC_REFUSED_EVICTED] = "evicted",
	[RPC_REFUSED_RECEIVING] = "receiving",
	[RPC_REFUSED_RESETS] = "resets",
	[RPC_REFUSED_CALLS] = "calls",
	[RPC_REFUSED_WATCHES] = "watches",
	[RPC_REFUSED_QUEUED] = "queued",
	[RPC_REFUSED_SLOW] = "slow",
	[RPC_REFUSED_UNREAD] = "unread",
	[RPC_REFUSED_CERTIFICATE] = "certificate",
	[RPC_REFUSED_GONE] = "gone",
	[RPC_REFUSED_HANDSHAKE] = "handshake",
};

static const char *name(char buf[128], const char *prefix, const char *rest)
{
	snprintf(buf, 128, "%s_%s", prefix, rest);
	return buf;
}

static void render_guard(struct rpc_guard *guard, FILE *out, const char *prefix)
{
	size_t n[RPC_CLASSES], calls, watches;
	char buf[128];

	pthread_mutex_lock(&rpc_guard_lock);
	memcpy(n, guard->n, sizeof(n));
	calls = guard->calls[RPC_CLIENT] + guard->calls[RPC_TRUSTED];
	watches = guard->watches[RPC_CLIENT] + guard->watches[RPC_TRUSTED];
	pthread_mutex_unlock(&rpc_guard_lock);
	stow_metric_head(out, name(buf, prefix, "connections"), "gauge",
			 "Connections, by class of the peer: anonymous, client or trusted.");
	for (int i = 0; i < RPC_CLASSES; i++)
		stow_metric(out, buf, (double)n[i], "peer", class_names[i], NULL);
	stow_metric_head(out, name(buf, prefix, "calls"), "gauge", "Calls under way.");
	stow_metric(out, buf, (double)calls, NULL);
	stow_metric_head(out, name(buf, prefix, "watches"), "gauge",
			 "Calls under way that follow changes.");
	stow_metric(out, buf, (double)watches, NULL);
	stow_metric_head(out, name(buf, prefix, "receiving_bytes"), "gauge",
			 "Bytes of unfinished messages.");
	stow_metric(out, buf, (double)atomic_load(&guard->receiving), NULL);
	stow_metric_head(out, name(buf, prefix, "queued_bytes"), "gauge",
			 "Bytes of answers that peers have not read yet.");
	stow_metric(out, buf, (double)atomic_load(&guard->queued), NULL);
	stow_metric_head(out, name(buf, prefix, "rpc_refused_total"), "counter",
			 "Connections and calls refused or ended, by reason.");
	for (int i = 0; i < RPC_REFUSALS; i++)
		stow_metric(out, buf, (double)atomic_load(&guard->refused[i]), "reason",
			    refusal_names[i], NULL);
}

void stow_rpc_server_render(struct stow_rpc_server *server, FILE *out, const char *prefix)
{
	render_guard(server->guard, out, prefix);
}
