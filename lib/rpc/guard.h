/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who takes how much of a server. The C core accepts and reads by itself, and asks nobody; but it
 * calls accept4(2), recvmsg(2) and close(2) by name, and hooks.c defines these in the program. So
 * every connection is known here from its acceptance to its end, TLS or not, with what it has sent
 * that is not a whole message yet.
 *
 * A door is what a server listens on. Its connections are of three classes:
 *
 *	stranger	nothing is known but the address: no call of it was allowed yet
 *	client		a certificate, or a user of this machine
 *	trusted		an agent, or root: the service says so
 *
 * Strangers have a share of the places of their own, and the oldest makes room for the next;
 *clients leave a quarter of everything to the trusted. Within a class a peer gets no more than its
 *own limit, and no more than is left to all others: with m greedy peers each has 1/(m+1), and
 *whoever comes next finds something ("dynamic thresholds", as in the buffers of network switches).
 *
 * Any thread; the lock is a leaf: nothing is called with it held.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "rpc/limits.h"

struct rpc_door;
struct rpc_connection;

enum rpc_key_kind { RPC_BY_ADDRESS, RPC_BY_USER, RPC_BY_CERTIFICATE };

/* Who a peer is, for counting. */
struct rpc_identity {
	enum rpc_key_kind kind;
	uint8_t bytes[16]; /* an IPv4 address, the first half of an IPv6 one, a user, a digest */
};

/* Why a connection or a call was refused or ended. */
enum rpc_refusal {
	RPC_REFUSED_DESCRIPTORS, /* none left */
	RPC_REFUSED_TOTAL,
	RPC_REFUSED_PEER,      /* it has too many */
	RPC_REFUSED_EVICTED,   /* made room for the next */
	RPC_REFUSED_RECEIVING, /* too much that is no message */
	RPC_REFUSED_RESETS,    /* calls opened and reset without end */
	RPC_REFUSED_CALLS,
	RPC_REFUSED_QUEUED,
	RPC_REFUSED_SLOW,	 /* a request that did not become whole */
	RPC_REFUSED_CERTIFICATE, /* which is over, or of a CA that is none any more */
	RPC_REFUSED_GONE,	 /* the process that connected */
	RPC_REFUSED_HANDSHAKE,	 /* no TLS, no certificate, or none that is good */
	RPC_REFUSALS
};

/* A door for as long as the process lives: its connections may outlast its server. With
 * `only_strangers` nobody is ever known (HTTP without TLS). NULL: out of memory. */
struct rpc_door *rpc_door_new(const struct stow_rpc_limits *limits, bool only_strangers);
/* Before it is used: no more than that many connections. */
void rpc_door_bound(struct rpc_door *door, uint64_t connections);
/* From now on what is accepted on the TCP port is the door's. */
void rpc_door_open(struct rpc_door *door, int port);
/* The port is no door any more. */
void rpc_door_close(struct rpc_door *door);
void rpc_door_count(struct rpc_door *door, enum rpc_refusal why);

/* A connection on a unix socket, which was accepted by unix.c. -ENOBUFS: refused. */
int rpc_guard_admit_user(struct rpc_door *door, int fd, uid_t uid, bool trusted);
/* The connection with that descriptor, or from that address ("ipv4:127.0.0.1:4711"), with a
 * reference; NULL when it is gone. */
struct rpc_connection *rpc_guard_by_fd(struct rpc_door *door, int fd);
struct rpc_connection *rpc_guard_by_peer(struct rpc_door *door, const char *peer);
struct rpc_connection *rpc_connection_ref(struct rpc_connection *connection);
void rpc_connection_unref(struct rpc_connection *connection);

/* Whether nothing but its address is known of the peer. */
bool rpc_connection_is_strange(struct rpc_connection *connection);
/* A stranger is no stranger any more. -ENOBUFS: there are too many of it, or of them. */
int rpc_connection_known(struct rpc_connection *connection, const struct rpc_identity *identity,
			 bool trusted);
/* A call begins, or has ended. -ENOBUFS: too many at a time. */
int rpc_connection_begin(struct rpc_connection *connection);
void rpc_connection_end(struct rpc_connection *connection);
/* The same for one that is refused: whoever does not even read refusals is hung up on. */
void rpc_connection_begin_refused(struct rpc_connection *connection);
void rpc_connection_end_refused(struct rpc_connection *connection);
/* A call was given up by its caller before it was answered. A peer that does so without end is hung
 * up on, and does not come in again before it is forgotten. */
void rpc_connection_reset(struct rpc_connection *connection);
/* A message has become whole; one was sent. */
void rpc_connection_received(struct rpc_connection *connection, size_t size);
void rpc_connection_sent(struct rpc_connection *connection, size_t size);
/* Bytes are queued, or no longer are. -ENOBUFS: the peer has too many; then they are not counted. */
int rpc_connection_queue(struct rpc_connection *connection, size_t size);
void rpc_connection_unqueue(struct rpc_connection *connection, size_t size);
/* Ends it, by shutdown(2). */
void rpc_connection_cut(struct rpc_connection *connection, enum rpc_refusal why);
/* When it was accepted: monotonic, ns. */
uint64_t rpc_connection_since(const struct rpc_connection *connection);
/* Until when its certificate is good: seconds of the wall clock. */
void rpc_connection_good_until(struct rpc_connection *connection, int64_t seconds);
/* Ends connections that were accepted before that time, and those whose certificate is over. */
void rpc_door_expire(struct rpc_door *door, uint64_t before, int64_t seconds);

/* Ends connections that were parked long enough ago. */
void rpc_door_end_parked(struct rpc_door *door, uint64_t now);

/* --- for hooks.c ------------------------------------------------------------------------------- */

/* The door whose listening socket that is, or NULL. */
struct rpc_door *rpc_guard_door(int listener);
/* Whether what was accepted may stay. */
bool rpc_guard_admit(struct rpc_door *door, int fd, const struct sockaddr_storage *from);
/* Bytes have come; only the owner of a descriptor reads from it. */
void rpc_guard_bytes(int fd, size_t n);
enum rpc_reading {
	RPC_READS,
	RPC_PARKED, /* as if nothing came */
	RPC_ENDED,  /* what came before the end is not to be read */
};

enum rpc_reading rpc_guard_reading(int fd);
/* The descriptor is about to be closed. */
void rpc_guard_closing(int fd);

/* A stranger is refused: counts it, and says where it comes from. False: that is no door's. */
bool rpc_guard_refused(int fd, enum rpc_refusal why, struct rpc_identity *ret_who, char *address,
		       size_t size);

/* --- for guard.c ------------------------------------------------------------------------------- */

/* Raises the limit of descriptors as far as is allowed, and puts one by for hard times. Returns the
 * limit. */
int rpc_hooks_start(void);
