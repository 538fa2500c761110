/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A guard divides a server's resources among its peers. The C core accepts and reads by itself,
 * without asking the program; but it calls accept4(2), recvmsg(2) and close(2) by name, and hooks.c
 * defines these in the program. So a guard knows every connection from its acceptance to its end,
 * with TLS or without, and how many bytes of unfinished messages it has sent.
 *
 * Each listening server has a guard. Its connections have three classes:
 *
 *	anonymous	only the address is known: no call was allowed yet
 *	client		a certificate, or a user of this machine
 *	trusted		an agent, or root: the service decides this
 *
 * Anonymous connections have a share of their own, and the oldest of them is closed for a new one.
 * A quarter of everything is reserved for trusted peers. Within a class a peer gets no more than
 * its own limit, and no more than what is left for all other peers: with m greedy peers each
 * gets 1/(m+1), and a new peer still finds room ("dynamic thresholds", as in the buffers of network
 * switches).
 *
 * One more guard has the connections to servers that the program calls: what a server sends that is
 * no whole message is kept by the core, without a limit of its own.
 *
 * Safe for any thread. The lock is a leaf: no function is called with it held.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "rpc/ack.h"
#include "rpc/limits.h"

struct rpc_guard;
struct rpc_connection;

enum rpc_key_kind { RPC_BY_ADDRESS, RPC_BY_USER, RPC_BY_CERTIFICATE, RPC_BY_SERVER };

/* A peer's identity, for counting. */
struct rpc_identity {
	enum rpc_key_kind kind;
	uint8_t bytes[16]; /* an IPv4 address, the first half of an IPv6 address, a user, a digest */
	uint32_t port;	   /* of a server, whose address is whole */
};

/* Why a connection or a call was refused or ended. */
enum rpc_refusal {
	RPC_REFUSED_DESCRIPTORS, /* none left */
	RPC_REFUSED_TOTAL,
	RPC_REFUSED_PEER,      /* the peer has too many */
	RPC_REFUSED_EVICTED,   /* it made room for the next */
	RPC_REFUSED_RECEIVING, /* too many bytes of unfinished messages */
	RPC_REFUSED_RESETS,    /* too many calls opened and reset, or refused */
	RPC_REFUSED_CALLS,
	RPC_REFUSED_WATCHES,
	RPC_REFUSED_QUEUED,
	RPC_REFUSED_SLOW,	 /* a request that was not completed in time */
	RPC_REFUSED_UNREAD,	 /* an answer, or a stream's message, that was not read in time */
	RPC_REFUSED_CERTIFICATE, /* expired, or of a CA that is no longer trusted */
	RPC_REFUSED_GONE,	 /* the connecting process has ended */
	RPC_REFUSED_HANDSHAKE,	 /* no TLS, or no valid certificate */
	RPC_REFUSALS
};

/* Make a guard. It lives as long as the process, because its connections may outlast its server.
 * With `only_anonymous` all connections stay anonymous (HTTP without TLS). NULL: out of memory. */
struct rpc_guard *rpc_guard_new(const struct stow_rpc_limits *limits, bool only_anonymous);
/* Limit the number of connections, before the guard is used. */
void rpc_guard_bound(struct rpc_guard *guard, uint64_t connections);
/* From now on, count connections that are accepted on the TCP port. `plain`: they are of gRPC,
 * without TLS. */
void rpc_guard_open(struct rpc_guard *guard, int port, bool plain);
/* Stop counting new connections. */
void rpc_guard_close(struct rpc_guard *guard);
void rpc_guard_count(struct rpc_guard *guard, enum rpc_refusal why);

/* Admit a connection on a unix socket, which unix.c has accepted. -ENOBUFS: refused. */
int rpc_guard_admit_user(struct rpc_guard *guard, int fd, uid_t uid, bool trusted);
/* Return the connection with that descriptor, or from that address ("ipv4:127.0.0.1:4711"), with a
 * reference; NULL when it is gone. */
struct rpc_connection *rpc_guard_by_fd(struct rpc_guard *guard, int fd);
struct rpc_connection *rpc_guard_by_peer(struct rpc_guard *guard, const char *peer);
void rpc_connection_unref(struct rpc_connection *connection);

/* Return whether it ends, or is parked before that: its calls are not worth an answer. */
bool rpc_connection_is_over(struct rpc_connection *connection);
/* Return whether only the peer's address is known. */
bool rpc_connection_is_anonymous(struct rpc_connection *connection);
/* Make an anonymous connection that of a client or a trusted peer. -ENOBUFS: the peer, or the
 * class, has too many connections. */
int rpc_connection_known(struct rpc_connection *connection, const struct rpc_identity *identity,
			 bool trusted);
/* Count the beginning and the end of a call, which may be a watch. -ENOBUFS: too many calls at a
 * time; -EUSERS: too many watches. */
int rpc_connection_begin(struct rpc_connection *connection, bool watch);
void rpc_connection_end(struct rpc_connection *connection, bool watch);
/* Count the beginning and the end of a refused call: a connection whose refusals are not even read
 * is parked, and then ended. */
void rpc_connection_begin_refused(struct rpc_connection *connection);
void rpc_connection_end_refused(struct rpc_connection *connection);
/* Count a call that the caller gave up before it was answered; a refused rpc_connection_begin()
 * counts, too. A peer that does so without end is disconnected, and is not admitted again before
 * that is forgotten. */
void rpc_connection_reset(struct rpc_connection *connection);
/* Count a complete message received, which may be the first of its call, or a message sent. */
void rpc_connection_received(struct rpc_connection *connection, size_t size, bool first);
void rpc_connection_sent(struct rpc_connection *connection, size_t size);
/* Count bytes queued, or no longer queued. -ENOBUFS: the peer has too many; then nothing is
 * counted. */
int rpc_connection_queue(struct rpc_connection *connection, size_t size);
void rpc_connection_unqueue(struct rpc_connection *connection, size_t size);
/* Return when it was accepted: monotonic, ns. */
uint64_t rpc_connection_since(const struct rpc_connection *connection);
/* Set when its certificate expires: seconds of the wall clock. */
void rpc_connection_good_until(struct rpc_connection *connection, int64_t seconds);
/* End connections that were accepted before that time, and those whose certificate has expired. */
void rpc_guard_expire(struct rpc_guard *guard, uint64_t before, int64_t seconds);

/* End connections that have been parked long enough. */
void rpc_guard_end_parked(struct rpc_guard *guard, uint64_t now);

/* Count the open connections, and those that were refused or ended since the start. */
void rpc_guard_totals(struct rpc_guard *guard, uint64_t *ret_connections, uint64_t *ret_refused);

/* From now on, end the connection to a server on TCP that sends more than 16 MiB of unfinished
 * messages, and one of the largest that is accepted. Out of memory: there is no limit. */
void rpc_guard_servers(size_t message_max);
/* Count what a server's call has received and sent: a message, or with `ended` the whole call. */
void rpc_guard_server_said(const char *peer, size_t received, size_t sent, bool ended);

/* --- for hooks.c ---------------------------------------------------------- */

/* Return the guard of a listening socket, or NULL. */
struct rpc_guard *rpc_guard_of(int listener);
/* Return whether an accepted connection may stay. */
bool rpc_guard_admit(struct rpc_guard *guard, int fd, const struct sockaddr_storage *from);
/* Make `servers` the guard of connections that no other one has. */
void rpc_guard_for_servers(const struct stow_rpc_limits *limits);
/* Bytes have come; only the owner of a descriptor reads from it. */
void rpc_guard_bytes(int fd, size_t n);
enum rpc_reading {
	RPC_READS,
	RPC_PARKED, /* as if nothing was received */
	RPC_ENDED,  /* the connection ends; do not read what was received before */
};

enum rpc_reading rpc_guard_reading(int fd);
/* Return the count of ack.h of a connection of gRPC without TLS, until it is acknowledged; NULL. */
rpc_acked *rpc_guard_acked(int fd);
/* Handle a descriptor that is about to be closed. */
void rpc_guard_closing(int fd);

/* Count a refused anonymous connection, and return its address. False: no guard counts it. */
bool rpc_guard_refused(int fd, enum rpc_refusal why, struct rpc_identity *ret_who, char *address,
		       size_t size);
