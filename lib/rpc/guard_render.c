/* SPDX-License-Identifier: Apache-2.0 */
/* A server's metrics, for Prometheus. In a file of its own, because clients have no metrics. */
#include <string.h>

#include "rpc/guard_internal.h"
#include "rpc/internal.h"
#include "rpc/metrics.h"

static const char *const class_names[] = { "stranger", "client", "trusted" };
static const char *const refusal_names[] = {
	[RPC_REFUSED_DESCRIPTORS] = "descriptors",
	[RPC_REFUSED_TOTAL] = "total",
	[RPC_REFUSED_PEER] = "peer",
	[RPC_REFUSED_EVICTED] = "evicted",
	[RPC_REFUSED_RECEIVING] = "receiving",
	[RPC_REFUSED_RESETS] = "resets",
	[RPC_REFUSED_CALLS] = "calls",
	[RPC_REFUSED_QUEUED] = "queued",
	[RPC_REFUSED_SLOW] = "slow",
	[RPC_REFUSED_CERTIFICATE] = "certificate",
	[RPC_REFUSED_GONE] = "gone",
	[RPC_REFUSED_HANDSHAKE] = "handshake",
};

static const char *name(char buf[128], const char *prefix, const char *rest)
{
	snprintf(buf, 128, "%s_%s", prefix, rest);
	return buf;
}

static void render_door(struct rpc_door *door, FILE *out, const char *prefix)
{
	size_t n[RPC_CLASSES], calls;
	char buf[128];

	pthread_mutex_lock(&rpc_guard_lock);
	memcpy(n, door->n, sizeof(n));
	calls = door->calls[RPC_CLIENT] + door->calls[RPC_TRUSTED];
	pthread_mutex_unlock(&rpc_guard_lock);
	stow_metric_head(out, name(buf, prefix, "connections"), "gauge",
			 "Connections, by what is known of the peer.");
	for (int i = 0; i < RPC_CLASSES; i++)
		stow_metric(out, buf, (double)n[i], "peer", class_names[i], NULL);
	stow_metric_head(out, name(buf, prefix, "calls"), "gauge", "Calls under way.");
	stow_metric(out, buf, (double)calls, NULL);
	stow_metric_head(out, name(buf, prefix, "receiving_bytes"), "gauge",
			 "Bytes received that are no whole message yet.");
	stow_metric(out, buf, (double)atomic_load(&door->receiving), NULL);
	stow_metric_head(out, name(buf, prefix, "queued_bytes"), "gauge",
			 "Bytes of answers that peers have not read yet.");
	stow_metric(out, buf, (double)atomic_load(&door->queued), NULL);
	stow_metric_head(out, name(buf, prefix, "rpc_refused_total"), "counter",
			 "Connections and calls refused or ended, by reason.");
	for (int i = 0; i < RPC_REFUSALS; i++)
		stow_metric(out, buf, (double)atomic_load(&door->refused[i]), "reason",
			    refusal_names[i], NULL);
}

void stow_rpc_server_render(struct stow_rpc_server *server, FILE *out, const char *prefix)
{
	render_door(rpc_server_door(server), out, prefix);
}
