/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Limits on what peers may use of a server, and for how long: settings of every program that has
 * one. Most are counted for each peer (a user on a unix socket, a certificate, or else an address)
 * and in total. lib/rpc/guard.h describes how a total is divided.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

#include "rpc/settings.h"

struct stow_rpc_limits {
	uint64_t max_connections; /* in total; at most the number of available descriptors */
	uint64_t max_connections_per_peer;
	uint64_t max_calls; /* at a time, in total */
	uint64_t max_calls_per_peer;
	uint64_t max_watches; /* calls that follow changes, among these, in total */
	uint64_t max_watches_per_peer;
	uint64_t max_receiving; /* bytes of unfinished messages, on one connection */
	uint64_t max_receiving_total;
	uint64_t max_queued; /* bytes that a peer has not read yet */
	uint64_t max_queued_total;
	uint64_t handshake_timeout; /* ns */
	uint64_t request_timeout;   /* ns until a request's message must be complete */
	uint64_t read_timeout;	    /* ns until an answer, or a stream's message, must be read */
	uint64_t connection_idle;   /* ns without a call; 0: for ever */
	uint64_t connection_age;    /* ns, of a TCP connection; 0: for ever */
};

/* Set the defaults for a program that expects that many connections. */
void stow_rpc_limits_defaults(struct stow_rpc_limits *limits, uint64_t connections);

/* The settings, for a program's table; `at` is the offset of its struct stow_rpc_limits. `n`,
 * `calls`, `watches`, `receiving` and `queued` are the defaults of the totals, in words. The age is
 * for servers on TCP. */
#define STOW_RPC_LIMIT_(name, type, at, field, low, high, arg, help)                            \
	{                                                                                       \
		name, STOW_SETTING_##type, (at) + offsetof(struct stow_rpc_limits, field), low, \
			high, NULL, arg, help                                                   \
	}
#define STOW_RPC_LIMIT_SETTINGS(at, n, calls, watches, receiving, queued)                          \
	STOW_RPC_LIMIT_("max-connections", NUMBER, at, max_connections, 16, 1000000, "N",          \
			"connections in total (" n ")"),                                           \
		STOW_RPC_LIMIT_("max-connections-per-peer", NUMBER, at, max_connections_per_peer,  \
				1, 1000000, "N",                                                   \
				"connections of one user, certificate or address (256)"),          \
		STOW_RPC_LIMIT_("max-calls", NUMBER, at, max_calls, 16, 10000000, "N",             \
				"calls at a time, in total (" calls ")"),                          \
		STOW_RPC_LIMIT_("max-calls-per-peer", NUMBER, at, max_calls_per_peer, 1, 10000000, \
				"N", "calls at a time of one user or certificate (2048)"),         \
		STOW_RPC_LIMIT_("max-watches", NUMBER, at, max_watches, 16, 1000000, "N",          \
				"calls that follow changes, in total (" watches ")"),              \
		STOW_RPC_LIMIT_("max-watches-per-peer", NUMBER, at, max_watches_per_peer, 1,       \
				1000000, "N",                                                      \
				"such calls of one user, certificate or address (128)"),           \
		STOW_RPC_LIMIT_("max-receiving", SIZE, at, max_receiving, 5 << 20,                 \
				UINT64_C(1) << 40, "SIZE",                                         \
				"unfinished messages on one connection (8Mi)"),                    \
		STOW_RPC_LIMIT_("max-receiving-total", SIZE, at, max_receiving_total, 16 << 20,    \
				UINT64_C(1) << 40, "SIZE",                                         \
				"unfinished messages on all connections (" receiving ")"),         \
		STOW_RPC_LIMIT_("max-queued", SIZE, at, max_queued, 5 << 20, UINT64_C(1) << 40,    \
				"SIZE", "answers that one peer has not read yet (32Mi)"),          \
		STOW_RPC_LIMIT_("max-queued-total", SIZE, at, max_queued_total, 16 << 20,          \
				UINT64_C(1) << 40, "SIZE",                                         \
				"answers that all peers have not read yet (" queued ")"),          \
		STOW_RPC_LIMIT_("handshake-timeout", DURATION, at, handshake_timeout,              \
				STOW_SECOND / 10, 600 * STOW_SECOND, "TIME",                       \
				"limit for the handshake of a connection (10s)"),                  \
		STOW_RPC_LIMIT_("request-timeout", DURATION, at, request_timeout,                  \
				STOW_SECOND / 10, 3600 * STOW_SECOND, "TIME",                      \
				"limit for a request's message to arrive (30s)"),                  \
		STOW_RPC_LIMIT_("read-timeout", DURATION, at, read_timeout, STOW_SECOND / 10,      \
				3600 * STOW_SECOND, "TIME",                                        \
				"limit for a peer to read an answer or a stream's message (1m)"),  \
		STOW_RPC_LIMIT_("connection-idle", DURATION, at, connection_idle, 0,               \
				86400 * STOW_SECOND, "TIME",                                       \
				"close a connection after so long without a call; 0: never (5m)")
#define STOW_RPC_AGE_SETTING(at)                                                                   \
	STOW_RPC_LIMIT_("connection-age", DURATION, at, connection_age, 0, 31536000 * STOW_SECOND, \
			"TIME", "renew a TCP connection after so long; 0: never (1h)")
