/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What guard.c, who comes in, guard_keys.c, who they are, and guard_use.c, who takes how much,
 * share. */

#include <netinet/in.h>
#include <pthread.h>
#include <sys/queue.h>

#include "rpc/guard.h"

#define RPC_S	  UINT64_C(1000000000)
#define RPC_LEAST 8 /* of anything, that is always a peer's as long as there is some */

enum rpc_class { RPC_STRANGER, RPC_CLIENT, RPC_TRUSTED, RPC_CLASSES };

/* Calls that were given up, of late: a number that goes down with time. */
struct rpc_resets {
	unsigned int n;
	uint64_t at;
};

/* One peer, as long as it has a connection, or calls given up that are not forgotten. */
struct rpc_key {
	struct rpc_identity identity; /* what the tree is ordered by */
	size_t refs, n[RPC_CLASSES], calls;
	TAILQ_HEAD(rpc_of_key, rpc_connection) connections; /* the oldest first */
	struct rpc_resets resets;
	bool remembered;
	TAILQ_ENTRY(rpc_key) of_remembered;
};

struct rpc_origin { /* where a TCP connection comes from; what the tree is ordered by */
	uint8_t address[16];
	uint16_t port;
};

struct rpc_connection {
	struct rpc_origin origin;
	atomic_int refs;
	struct rpc_door *door;
	struct rpc_key *key;
	TAILQ_ENTRY(rpc_connection) of_key, of_strangers;
	int fd; /* -1: closed */
	bool has_origin;
	atomic_bool is_cut, is_parked;
	uint64_t parked_at;
	TAILQ_ENTRY(rpc_connection) of_parked;
	enum rpc_class class;
	uint64_t since;
	int64_t good_until; /* 0: there is no certificate */
	size_t calls, refused;
	struct rpc_resets resets; /* where its peer is only an address */
	_Atomic int64_t receiving;
	_Atomic uint64_t drained; /* when `receiving` last went down by itself */
	_Atomic int64_t queued;
};

struct rpc_door {
	struct rpc_door *next;
	struct stow_rpc_limits limits;
	uint64_t strangers_max, clients_max;
	_Atomic int port; /* 0: none */
	bool only_strangers;
	size_t n[RPC_CLASSES], open, calls[RPC_CLASSES];
	void *keys, *origins;				     /* trees, tsearch(3) */
	TAILQ_HEAD(rpc_strangers, rpc_connection) strangers; /* the oldest first */
	TAILQ_HEAD(rpc_remembered, rpc_key) remembered;	     /* the first that had no connection */
	size_t n_remembered;
	TAILQ_HEAD(rpc_parked, rpc_connection) parked; /* the first one first */
	_Atomic int64_t receiving, queued;
	_Atomic uint64_t refused[RPC_REFUSALS];
};

/* Held for whatever is not atomic. */
extern pthread_mutex_t rpc_guard_lock;

/* The connection with a descriptor that its owner holds open; NULL: none of a door. */
struct rpc_connection *rpc_guard_at(int fd);
/* The peer, which is made where there is none; NULL: out of memory. With the lock held. */
struct rpc_key *rpc_guard_key_of(struct rpc_door *door, const struct rpc_identity *identity);
/* Says that nothing may refer to it any more. With the lock held. */
void rpc_guard_drop_key(struct rpc_door *door, struct rpc_key *key);
/* How many are not forgotten. With the lock held. */
unsigned int rpc_guard_resets(struct rpc_resets *resets, uint64_t now);
/* Whether a peer has given up too many. With the lock held. */
bool rpc_guard_resets_on(struct rpc_key *key);
/* Reads no more of a connection, and ends it after a while: who is hung up on at once comes back at
 * once, and each handshake costs a millisecond or more. With the lock held. */
void rpc_guard_park(struct rpc_connection *connection, enum rpc_refusal why);
void rpc_guard_unpark(struct rpc_connection *connection);
/* Ends it, without counting why. With the lock held. */
void rpc_guard_end(struct rpc_connection *connection);
/* With the lock held. */
void rpc_guard_cut(struct rpc_connection *connection, enum rpc_refusal why);
/* What a peer may have of `most`, of which `taken` are taken: no more than its own limit, and than
 * what is left to all others. */
bool rpc_guard_has_room(uint64_t its, uint64_t own, uint64_t taken, uint64_t most, uint64_t least);
