/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Declarations shared by guard.c (admission), guard_use.c (resource use) and guard_peers.c. */

#include <netinet/in.h>
#include <pthread.h>
#include <sys/queue.h>

#include "base/clock.h"

#include "rpc/guard.h"

#define RPC_S	       STOW_SECOND
#define RPC_RESETS_MAX 1000 /* calls that a peer gave up */
#define RPC_LEAST      8    /* of anything: a peer may have so many as long as there are any */

enum rpc_class { RPC_ANONYMOUS, RPC_CLIENT, RPC_TRUSTED, RPC_CLASSES };

/* A count of calls that were given up; it decreases over time. */
struct rpc_resets {
	unsigned int n;
	uint64_t at;
};

/* One peer, as long as it has a connection, or given-up calls that still count. */
struct rpc_key {
	struct rpc_identity identity; /* sort key of the tree */
	size_t refs, n[RPC_CLASSES], calls, watches;
	TAILQ_HEAD(rpc_of_key, rpc_connection) connections; /* the oldest first */
	struct rpc_resets resets;
	bool remembered;
	TAILQ_ENTRY(rpc_key) of_remembered;
};

struct rpc_origin { /* the origin of a TCP connection; sort key of the tree */
	uint8_t address[16];
	uint16_t port;
};

struct rpc_connection {
	struct rpc_origin origin;
	atomic_int refs;
	struct rpc_guard *guard;
	struct rpc_key *key;
	TAILQ_ENTRY(rpc_connection) of_key, of_anonymous;
	int fd; /* -1: closed */
	bool has_origin;
	atomic_bool is_cut, is_parked;
	uint64_t parked_at;
	TAILQ_ENTRY(rpc_connection) of_parked;
	enum rpc_class class;
	uint64_t since;
	int64_t good_until; /* 0: no certificate */
	size_t calls, refused;
	struct rpc_resets resets; /* of a peer that is only an address */
	_Atomic int64_t receiving;
	_Atomic uint64_t drained; /* when `receiving` was last lowered over time */
	_Atomic int64_t queued;
	rpc_acked acked;
};

struct rpc_guard {
	struct rpc_guard *next;
	struct stow_rpc_limits limits;
	uint64_t anonymous_max, clients_max;
	_Atomic int port; /* 0: none */
	bool only_anonymous, plain;
	size_t n[RPC_CLASSES], open, calls[RPC_CLASSES], watches[RPC_CLASSES];
	void *keys, *origins;				     /* trees, tsearch(3) */
	TAILQ_HEAD(rpc_anonymous, rpc_connection) anonymous; /* the oldest first */
	TAILQ_HEAD(rpc_remembered, rpc_key) remembered; /* in the order of their last connection */
	size_t n_remembered;
	TAILQ_HEAD(rpc_parked, rpc_connection) parked; /* the oldest first */
	_Atomic int64_t receiving, queued;
	_Atomic uint64_t refused[RPC_REFUSALS];
};

/* Protects everything that is not atomic. */
extern pthread_mutex_t rpc_guard_lock;

/* Return the peer, created if it is new; NULL: out of memory. The caller holds the lock. */
struct rpc_key *rpc_guard_key_of(struct rpc_guard *guard, const struct rpc_identity *identity);
/* Drop a peer that no connection refers to any more: keep it while its given-up calls count, else
 * free it. The caller holds the lock. */
void rpc_guard_drop_key(struct rpc_guard *guard, struct rpc_key *key);
/* Return how many given-up calls still count. The caller holds the lock. */
unsigned int rpc_guard_resets(struct rpc_resets *resets, uint64_t now);
/* Return whether a peer has given up too many calls. The caller holds the lock. */
bool rpc_guard_resets_on(struct rpc_key *key);
/* Park a connection: read no more from it, and end it after a while. A peer that is disconnected at
 * once comes back at once, and each handshake costs a millisecond or more. The caller holds the
 * lock. */
void rpc_guard_park(struct rpc_connection *connection, enum rpc_refusal why);
void rpc_guard_unpark(struct rpc_connection *connection);
/* Count bytes of unfinished messages that have come. */
void rpc_guard_use(struct rpc_connection *connection, size_t n);
/* Take the connection out of the counts. The caller holds the lock. */
void rpc_guard_uncount(struct rpc_connection *connection);
/* End the connection without counting a reason. The caller holds the lock. */
void rpc_guard_end(struct rpc_connection *connection);
/* End the connection. The caller holds the lock. */
void rpc_guard_cut(struct rpc_connection *connection, enum rpc_refusal why);
/* Return whether a peer that has `its` may have more of `most`, of which `taken` are taken: within
 * its own limit `own`, and within what is left for all other peers. */
bool rpc_guard_has_room(uint64_t its, uint64_t own, uint64_t taken, uint64_t most, uint64_t least);
