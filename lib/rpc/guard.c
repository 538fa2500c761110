/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/parse.h"
#include "rpc/guard_internal.h"
#include "rpc/handshake.h"

#define HEADROOM  256	      /* descriptors that are left for the rest of the program */
#define UNTOUCHED (RPC_S / 4) /* a stranger this young may be in its handshake: not evicted */

/* Global to the process, as descriptors are. */
pthread_mutex_t rpc_guard_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rpc_door *_Atomic doors;
static _Atomic(struct rpc_connection *) *table; /* by descriptor */
static int table_size;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void)
{
	int size = rpc_hooks_start();

	table = calloc((size_t)size + 1, sizeof(*table));
	table_size = table ? size : 0;
}

/* --- addresses ------------------------------------------------------------ */

static int compare_origins(const void *a, const void *b)
{
	const struct rpc_origin *x = a, *y = b;
	int r = memcmp(x->address, y->address, sizeof(x->address));

	return r ? r : (int)x->port - (int)y->port;
}

/* IPv4 mapped to IPv6 counts as IPv4. */
static bool read_address(const struct sockaddr_storage *from, struct rpc_origin *ret)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)from;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;

	memset(ret, 0, sizeof(*ret));
	if (from->ss_family == AF_INET) {
		ret->address[10] = ret->address[11] = 0xff;
		memcpy(ret->address + 12, &in->sin_addr, 4);
		ret->port = ntohs(in->sin_port);
	} else if (from->ss_family == AF_INET6) {
		memcpy(ret->address, &in6->sin6_addr, 16);
		ret->port = ntohs(in6->sin6_port);
	}
	return from->ss_family == AF_INET || from->ss_family == AF_INET6;
}

/* A host has a whole IPv6 /64. */
static struct rpc_identity identity_of(const struct rpc_origin *peer)
{
	struct rpc_identity identity = { .kind = RPC_BY_ADDRESS };
	bool four = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)peer->address);

	memcpy(identity.bytes, peer->address, four ? 16 : 8);
	return identity;
}

/* --- doors ---------------------------------------------------------------- */

/* Compute the shares from the number of connections. */
static void divide(struct rpc_door *door, uint64_t most)
{
	door->limits.max_connections = most;
	door->strangers_max = door->only_strangers ? most * 3 / 4
			      : most / 8 > 64	   ? most / 8
						   : most / 2;
	door->clients_max = most - most / 4;
}

struct rpc_door *rpc_door_new(const struct stow_rpc_limits *limits, bool only_strangers)
{
	struct rpc_door *door = calloc(1, sizeof(*door));
	uint64_t most;

	pthread_once(&once, start);
	if (!door || !table) {
		free(door);
		return NULL;
	}
	most = table_size > 4 * HEADROOM ? (uint64_t)table_size - HEADROOM
					 : (uint64_t)table_size * 3 / 4;
	door->limits = *limits;
	door->only_strangers = only_strangers;
	divide(door, limits->max_connections < most ? limits->max_connections : most);
	TAILQ_INIT(&door->strangers);
	TAILQ_INIT(&door->remembered);
	TAILQ_INIT(&door->parked);
	pthread_mutex_lock(&rpc_guard_lock);
	door->next = doors;
	doors = door;
	pthread_mutex_unlock(&rpc_guard_lock);
	return door;
}

void rpc_door_bound(struct rpc_door *door, uint64_t connections)
{
	if (connections < door->limits.max_connections)
		divide(door, connections);
}

void rpc_door_open(struct rpc_door *door, int port)
{
	door->port = port;
}

void rpc_door_close(struct rpc_door *door)
{
	door->port = 0;
}

void rpc_door_count(struct rpc_door *door, enum rpc_refusal why)
{
	atomic_fetch_add(&door->refused[why], 1);
}

struct rpc_door *rpc_guard_door(int listener)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	struct rpc_origin own;

	if (!doors || getsockname(listener, (struct sockaddr *)&at, &len) < 0 ||
	    !read_address(&at, &own))
		return NULL;
	for (struct rpc_door *door = doors; door; door = door->next)
		if (door->port == own.port)
			return door;
	return NULL;
}

/* --- connections ---------------------------------------------------------- */

struct rpc_connection *rpc_connection_ref(struct rpc_connection *connection)
{
	atomic_fetch_add(&connection->refs, 1);
	return connection;
}

void rpc_connection_unref(struct rpc_connection *connection)
{
	if (!connection || atomic_fetch_sub(&connection->refs, 1) != 1)
		return;
	pthread_mutex_lock(&rpc_guard_lock);
	connection->key->refs--;
	rpc_guard_drop_key(connection->door, connection->key);
	pthread_mutex_unlock(&rpc_guard_lock);
	free(connection);
}

uint64_t rpc_connection_since(const struct rpc_connection *connection)
{
	return connection->since;
}

/* The caller holds the lock, here and in all functions below. */
static void uncount(struct rpc_connection *c)
{
	c->door->n[c->class]--;
	c->key->n[c->class]--;
	if (c->class == RPC_STRANGER)
		TAILQ_REMOVE(&c->door->strangers, c, of_strangers);
}

void rpc_guard_end(struct rpc_connection *c)
{
	/* In this order: in between it would be read. */
	atomic_store(&c->is_cut, true);
	rpc_guard_unpark(c);
	uncount(c);
	/* Its owner notices the end, and closes it; until then it counts as open. */
	rpc_handshake_shutdown(c->fd, SHUT_RDWR);
}

void rpc_guard_cut(struct rpc_connection *c, enum rpc_refusal why)
{
	if (c->is_cut || c->fd < 0)
		return;
	rpc_door_count(c->door, why);
	rpc_guard_end(c);
}

void rpc_connection_cut(struct rpc_connection *connection, enum rpc_refusal why)
{
	pthread_mutex_lock(&rpc_guard_lock);
	rpc_guard_cut(connection, why);
	pthread_mutex_unlock(&rpc_guard_lock);
}

static bool is_young(const struct rpc_connection *c)
{
	return stow_clock_monotonic() - c->since < UNTOUCHED;
}

/* Evict the oldest stranger, of a peer or of all. */
static bool evict_stranger(struct rpc_door *door, const struct rpc_key *key)
{
	struct rpc_connection *c = TAILQ_FIRST(&door->strangers);

	if (key)
		TAILQ_FOREACH(c, &key->connections, of_key)
	if (c->class == RPC_STRANGER && !c->is_cut)
		break;
	if (!c || is_young(c))
		return false;
	rpc_guard_cut(c, RPC_REFUSED_EVICTED);
	return true;
}

/* Evict the oldest of a peer's connections without a call, to make room for its next one. */
static bool evict_idle(const struct rpc_key *key)
{
	struct rpc_connection *c;

	TAILQ_FOREACH(c, &key->connections, of_key)
	if (c->class != RPC_STRANGER && !c->is_cut && c->calls == 0 && !is_young(c)) {
		rpc_guard_cut(c, RPC_REFUSED_EVICTED);
		return true;
	}
	return false;
}

static struct rpc_connection *add(struct rpc_door *door, struct rpc_key *key, enum rpc_class class,
				  int fd)
{
	struct rpc_connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->refs = 1;
	c->door = door;
	c->key = key;
	c->fd = fd;
	c->class = class;
	c->since = stow_clock_monotonic();
	atomic_store(&c->drained, c->since);
	door->open++;
	door->n[class]++;
	key->n[class]++;
	key->refs++;
	TAILQ_INSERT_TAIL(&key->connections, c, of_key);
	if (class == RPC_STRANGER)
		TAILQ_INSERT_TAIL(&door->strangers, c, of_strangers);
	atomic_store_explicit(&table[fd], c, memory_order_release);
	return c;
}

/* Return whether a stranger may connect, or why not. */
static bool makes_room(struct rpc_door *door, const struct rpc_key *key, enum rpc_refusal *why)
{
	uint64_t most = door->strangers_max;

	if (door->open >= door->limits.max_connections) {
		*why = RPC_REFUSED_TOTAL;
		return false;
	}
	*why = RPC_REFUSED_PEER;
	if (key->n[RPC_STRANGER] > 0 &&
	    !rpc_guard_has_room(key->n[RPC_STRANGER], door->limits.max_connections_per_peer,
				door->n[RPC_STRANGER], most, RPC_LEAST))
		return evict_stranger(door, key);
	*why = RPC_REFUSED_TOTAL;
	return door->n[RPC_STRANGER] < most || evict_stranger(door, NULL);
}

bool rpc_guard_admit(struct rpc_door *door, int fd, const struct sockaddr_storage *from)
{
	enum rpc_refusal why = RPC_REFUSED_TOTAL;
	struct rpc_connection *c = NULL, **at;
	struct rpc_identity identity;
	struct rpc_origin peer;
	struct rpc_key *key;

	if (fd >= table_size || !read_address(from, &peer))
		return false; /* it has gone already, or could not be watched */
	identity = identity_of(&peer);
	pthread_mutex_lock(&rpc_guard_lock);
	key = rpc_guard_key_of(door, &identity);
	if (key && makes_room(door, key, &why))
		c = add(door, key, RPC_STRANGER, fd);
	if (c) {
		c->origin = peer;
		/* The former connection with this origin has ended, or went to another address of
		 * this machine. */
		at = tfind(&c->origin, &door->origins, compare_origins);
		if (at) {
			(*at)->has_origin = false;
			tdelete(&c->origin, &door->origins, compare_origins);
		}
		c->has_origin = tsearch(c, &door->origins, compare_origins) != NULL;
	} else {
		rpc_door_count(door, why);
		if (key)
			rpc_guard_drop_key(door, key);
	}
	pthread_mutex_unlock(&rpc_guard_lock);
	return c != NULL;
}

/* Return whether a known peer may have one more connection, or set RPC_REFUSED_... */
static bool takes(struct rpc_door *door, struct rpc_key *key, enum rpc_class class,
		  enum rpc_refusal *why)
{
	size_t its = key->n[RPC_CLIENT] + key->n[RPC_TRUSTED];
	/* Without TLS, peers at the same address cannot be told apart. */
	uint64_t own = key->identity.kind == RPC_BY_ADDRESS ? UINT64_MAX
							    : door->limits.max_connections_per_peer;

	*why = RPC_REFUSED_RESETS;
	if (rpc_guard_resets_on(key))
		return false;
	*why = RPC_REFUSED_PEER;
	if (its >= own)
		return evict_idle(key);
	*why = RPC_REFUSED_TOTAL;
	if (class == RPC_TRUSTED)
		return door->n[RPC_CLIENT] + door->n[RPC_TRUSTED] < door->limits.max_connections;
	return rpc_guard_has_room(its, own, door->n[RPC_CLIENT], door->clients_max, RPC_LEAST) ||
	       evict_idle(key);
}

int rpc_guard_admit_user(struct rpc_door *door, int fd, uid_t uid, bool trusted)
{
	struct rpc_identity identity = { .kind = RPC_BY_USER };
	enum rpc_class class = trusted ? RPC_TRUSTED : RPC_CLIENT;
	enum rpc_refusal why = RPC_REFUSED_TOTAL;
	struct rpc_connection *c = NULL;
	struct rpc_key *key;

	memcpy(identity.bytes, &uid, sizeof(uid));
	/* Root in a container does not count as root. */
	identity.bytes[15] = trusted;
	pthread_mutex_lock(&rpc_guard_lock);
	key = fd < table_size ? rpc_guard_key_of(door, &identity) : NULL;
	if (key && takes(door, key, class, &why))
		c = add(door, key, class, fd);
	if (!c) {
		rpc_door_count(door, why);
		if (key)
			rpc_guard_drop_key(door, key);
	}
	pthread_mutex_unlock(&rpc_guard_lock);
	return c ? 0 : -ENOBUFS;
}

bool rpc_connection_is_strange(struct rpc_connection *connection)
{
	bool is;

	pthread_mutex_lock(&rpc_guard_lock);
	is = connection->class == RPC_STRANGER;
	pthread_mutex_unlock(&rpc_guard_lock);
	return is;
}

int rpc_connection_known(struct rpc_connection *c, const struct rpc_identity *identity,
			 bool trusted)
{
	enum rpc_class class = trusted ? RPC_TRUSTED : RPC_CLIENT;
	enum rpc_refusal why;
	struct rpc_key *key, *old;
	int r = 0;

	pthread_mutex_lock(&rpc_guard_lock);
	if (c->class != RPC_STRANGER || c->is_cut || c->fd < 0 || c->door->only_strangers) {
		pthread_mutex_unlock(&rpc_guard_lock);
		return 0;
	}
	old = c->key;
	key = identity ? rpc_guard_key_of(c->door, identity) : old;
	if (!key) {
		r = -ENOMEM;
	} else if (!takes(c->door, key, class, &why)) {
		r = -ENOBUFS;
		if (why == RPC_REFUSED_RESETS)
			rpc_guard_park(c, why);
		else
			rpc_guard_cut(c, why);
		if (key != old)
			rpc_guard_drop_key(c->door, key);
	} else {
		uncount(c);
		TAILQ_REMOVE(&old->connections, c, of_key);
		TAILQ_INSERT_TAIL(&key->connections, c, of_key);
		c->key = key;
		key->refs++;
		old->refs--;
		c->class = class;
		c->door->n[class]++;
		key->n[class]++;
		rpc_guard_drop_key(c->door, old);
	}
	pthread_mutex_unlock(&rpc_guard_lock);
	return r;
}

void rpc_guard_closing(int fd)
{
	struct rpc_connection *c;

	if (fd < 0 || fd >= table_size || !atomic_load_explicit(&table[fd], memory_order_relaxed))
		return;
	pthread_mutex_lock(&rpc_guard_lock);
	c = atomic_exchange(&table[fd], NULL);
	if (!c) {
		pthread_mutex_unlock(&rpc_guard_lock);
		return;
	}
	if (!c->is_cut)
		uncount(c);
	c->is_cut = true;
	rpc_guard_unpark(c);
	c->fd = -1;
	c->door->open--;
	if (c->has_origin)
		tdelete(&c->origin, &c->door->origins, compare_origins);
	c->has_origin = false;
	atomic_fetch_sub(&c->door->receiving, atomic_exchange(&c->receiving, 0));
	TAILQ_REMOVE(&c->key->connections, c, of_key);
	pthread_mutex_unlock(&rpc_guard_lock);
	rpc_connection_unref(c);
}

/* --- finding -------------------------------------------------------------- */

struct rpc_connection *rpc_guard_at(int fd)
{
	if (fd < 0 || fd >= table_size)
		return NULL;
	return atomic_load_explicit(&table[fd], memory_order_acquire);
}

enum rpc_reading rpc_guard_reading(int fd)
{
	const struct rpc_connection *c = rpc_guard_at(fd);

	if (!c)
		return RPC_READS;
	return atomic_load(&c->is_cut)	    ? RPC_ENDED
	       : atomic_load(&c->is_parked) ? RPC_PARKED
					    : RPC_READS;
}

struct rpc_connection *rpc_guard_by_fd(struct rpc_door *door, int fd)
{
	struct rpc_connection *c;

	pthread_mutex_lock(&rpc_guard_lock);
	c = rpc_guard_at(fd);
	if (c && c->door == door)
		rpc_connection_ref(c);
	else
		c = NULL;
	pthread_mutex_unlock(&rpc_guard_lock);
	return c;
}

/* Parse "ipv4:127.0.0.1:4711", "ipv6:%5B::1%5D:4711", as the core writes them. */
static bool parse_origin(const char *text, struct rpc_origin *ret)
{
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN];
	size_t len;
	uint64_t port;

	memset(ret, 0, sizeof(*ret));
	if (!colon || stow_parse_u64(colon + 1, 65535, &port, NULL) < 0)
		return false;
	ret->port = (uint16_t)port;
	if (strncmp(text, "ipv4:", 5) == 0) {
		text += 5;
		len = (size_t)(colon - text);
	} else if (strncmp(text, "ipv6:%5B", 8) == 0 && colon - text > 11) {
		text += 8;
		len = strcspn(text, "%]"); /* up to a scope or the bracket */
	} else {
		return false;
	}
	if (len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	if (strchr(host, ':'))
		return inet_pton(AF_INET6, host, ret->address) == 1;
	ret->address[10] = ret->address[11] = 0xff;
	return inet_pton(AF_INET, host, ret->address + 12) == 1;
}

struct rpc_connection *rpc_guard_by_peer(struct rpc_door *door, const char *peer)
{
	struct rpc_connection **at, *c = NULL;
	struct rpc_origin origin;

	if (!parse_origin(peer, &origin))
		return NULL;
	pthread_mutex_lock(&rpc_guard_lock);
	at = tfind(&origin, &door->origins, compare_origins);
	if (at)
		c = rpc_connection_ref(*at);
	pthread_mutex_unlock(&rpc_guard_lock);
	return c;
}

bool rpc_guard_refused(int fd, enum rpc_refusal why, struct rpc_identity *ret_who, char *address,
		       size_t size)
{
	const struct rpc_connection *c;
	struct rpc_origin origin;
	char host[INET6_ADDRSTRLEN] = "?";
	bool found;

	pthread_mutex_lock(&rpc_guard_lock);
	c = rpc_guard_at(fd);
	found = c && c->has_origin;
	if (found) {
		origin = c->origin;
		rpc_door_count(c->door, why);
	}
	pthread_mutex_unlock(&rpc_guard_lock);
	if (!found)
		return false;
	*ret_who = identity_of(&origin);
	if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)origin.address)) {
		inet_ntop(AF_INET, origin.address + 12, host, sizeof(host));
		snprintf(address, size, "ipv4:%s:%u", host, origin.port);
	} else {
		inet_ntop(AF_INET6, origin.address, host, sizeof(host));
		snprintf(address, size, "ipv6:[%s]:%u", host, origin.port);
	}
	return true;
}

/* --- expired certificates ------------------------------------------------- */

void rpc_connection_good_until(struct rpc_connection *connection, int64_t seconds)
{
	pthread_mutex_lock(&rpc_guard_lock);
	connection->good_until = seconds;
	pthread_mutex_unlock(&rpc_guard_lock);
}

void rpc_door_expire(struct rpc_door *door, uint64_t before, int64_t seconds)
{
	pthread_mutex_lock(&rpc_guard_lock);
	for (int fd = 0; fd < table_size; fd++) {
		struct rpc_connection *c = rpc_guard_at(fd);

		if (c && c->door == door &&
		    (c->since < before || (c->good_until && c->good_until < seconds)))
			rpc_guard_cut(c, RPC_REFUSED_CERTIFICATE);
	}
	pthread_mutex_unlock(&rpc_guard_lock);
}
