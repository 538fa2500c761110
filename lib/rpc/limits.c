/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/limits.h"

#define S STOW_SECOND

void stow_rpc_limits_defaults(struct stow_rpc_limits *limits, uint64_t connections)
{
	*limits = (struct stow_rpc_limits){
		.max_connections = connections,
		.max_connections_per_peer = 256,
		.max_calls = 2 * connections,
		.max_calls_per_peer = 2048,
		.max_watches = connections / 8,
		.max_watches_per_peer = 128,
		.max_receiving = 8 << 20,
		.max_receiving_total = 256 << 20,
		.max_queued = 32 << 20,
		.max_queued_total = 256 << 20,
		.handshake_timeout = 10 * S,
		.request_timeout = 30 * S,
		.read_timeout = 60 * S,
		.connection_idle = 300 * S,
		.connection_age = 3600 * S,
	};
}
