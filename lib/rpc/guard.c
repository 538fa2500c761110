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
#include "rpc/descriptors.h"
#include "rpc/guard_internal.h"

#define HEADROOM     256 /* descriptors that are left for the rest of the program */
#define SERVER_LOOKS 16	 /* connections to one server */
#define UNTOUCHED \
	(RPC_S / 4) /* an anonymous connection so young may be in its handshake: keep it */

/* Global to the process, as descriptors are. */
static struct rpc_guard *_Atomic guards;
static struct rpc_guard *_Atomic servers;	/* connections to them */
static _Atomic(struct rpc_connection *) *table; /* by descriptor */
static int table_size;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void)
{
	int size = rpc_descriptors_start();

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

/* --- guards ---------------------------------------------------------------- */

/* Compute the shares from the number of connections. */
static void divide(struct rpc_guard *guard, uint64_t most)
{
	guard->limits.max_connections = most;
	guard->anonymous_max = guard->only_anonymous ? most * 3 / 4
			       : most / 8 > 64	     ? most / 8
						     : most / 2;
	guard->clients_max = most - most / 4;
}

struct rpc_guard *rpc_guard_new(const struct stow_rpc_limits *limits, bool only_anonymous)
{
	struct rpc_guard *guard = calloc(1, sizeof(*guard));
	uint64_t most;

	pthread_once(&once, start);
	if (!guard || !table) {
		free(guard);
		return NULL;
	}
	most = table_size > 4 * HEADROOM ? (uint64_t)table_size - HEADROOM
					 : (uint64_t)table_size * 3 / 4;
	guard->limits = *limits;
	guard->only_anonymous = only_anonymous;
	divide(guard, limits->max_connections < most ? limits->max_connections : most);
	TAILQ_INIT(&guard->anonymous);
	TAILQ_INIT(&guard->remembered);
	TAILQ_INIT(&guard->parked);
	pthread_mutex_lock(&rpc_guard_lock);
	guard->next = guards;
	guards = guard;
	pthread_mutex_unlock(&rpc_guard_lock);
	return guard;
}

void rpc_guard_bound(struct rpc_guard *guard, uint64_t connections)
{
	if (connections < guard->limits.max_connections)
		divide(guard, connections);
}

struct rpc_guard *rpc_guard_of(int listener)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	struct rpc_origin own;

	if (!guards || getsockname(listener, (struct sockaddr *)&at, &len) < 0 ||
	    !read_address(&at, &own))
		return NULL;
	for (struct rpc_guard *guard = guards; guard; guard = guard->next)
		if (guard->port == own.port)
			return guard;
	return NULL;
}

/* --- connections ---------------------------------------------------------- */

static struct rpc_connection *take_ref(struct rpc_connection *connection)
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
	rpc_guard_drop_key(connection->guard, connection->key);
	pthread_mutex_unlock(&rpc_guard_lock);
	free(connection);
}

uint64_t rpc_connection_since(const struct rpc_connection *connection)
{
	return connection->since;
}

/* The caller holds the lock, here and in the static functions below. */
static bool is_young(const struct rpc_connection *c)
{
	return stow_clock_monotonic() - c->since < UNTOUCHED;
}

/* Evict the oldest anonymous connection, of a peer or of all. */
static bool evict_anonymous(struct rpc_guard *guard, const struct rpc_key *key)
{
	struct rpc_connection *c = TAILQ_FIRST(&guard->anonymous);

	if (key)
		TAILQ_FOREACH(c, &key->connections, of_key)
			if (c->class == RPC_ANONYMOUS && !c->is_cut)
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
		if (c->class != RPC_ANONYMOUS && !c->is_cut && c->calls == 0 && !is_young(c)) {
			rpc_guard_cut(c, RPC_REFUSED_EVICTED);
			return true;
		}
	return false;
}

static struct rpc_connection *add(struct rpc_guard *guard, struct rpc_key *key,
				  enum rpc_class class, int fd, bool plain)
{
	struct rpc_connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->refs = 1;
	c->guard = guard;
	c->key = key;
	c->fd = fd;
	c->class = class;
	atomic_store(&c->acked, plain ? 0 : RPC_ACKED);
	c->since = stow_clock_monotonic();
	atomic_store(&c->drained, c->since);
	guard->open++;
	guard->n[class]++;
	key->n[class]++;
	key->refs++;
	TAILQ_INSERT_TAIL(&key->connections, c, of_key);
	if (class == RPC_ANONYMOUS)
		TAILQ_INSERT_TAIL(&guard->anonymous, c, of_anonymous);
	atomic_store_explicit(&table[fd], c, memory_order_release);
	return c;
}

/* Return whether an anonymous peer may connect, or why not. */
static bool makes_room(struct rpc_guard *guard, const struct rpc_key *key, enum rpc_refusal *why)
{
	uint64_t most = guard->anonymous_max;

	if (guard->open >= guard->limits.max_connections) {
		*why = RPC_REFUSED_TOTAL;
		return false;
	}
	*why = RPC_REFUSED_PEER;
	if (key->n[RPC_ANONYMOUS] > 0 &&
	    !rpc_guard_has_room(key->n[RPC_ANONYMOUS], guard->limits.max_connections_per_peer,
				guard->n[RPC_ANONYMOUS], most, RPC_LEAST))
		return evict_anonymous(guard, key);
	*why = RPC_REFUSED_TOTAL;
	return guard->n[RPC_ANONYMOUS] < most || evict_anonymous(guard, NULL);
}

bool rpc_guard_admit(struct rpc_guard *guard, int fd, const struct sockaddr_storage *from)
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
	key = rpc_guard_key_of(guard, &identity);
	if (key && makes_room(guard, key, &why))
		c = add(guard, key, RPC_ANONYMOUS, fd, guard->plain);
	if (c) {
		c->origin = peer;
		/* The former connection with this origin has ended, or went to another address of
		 * this machine. */
		at = tfind(&c->origin, &guard->origins, compare_origins);
		if (at) {
			(*at)->has_origin = false;
			tdelete(&c->origin, &guard->origins, compare_origins);
		}
		c->has_origin = tsearch(c, &guard->origins, compare_origins) != NULL;
	} else {
		rpc_guard_count(guard, why);
		if (key)
			rpc_guard_drop_key(guard, key);
	}
	pthread_mutex_unlock(&rpc_guard_lock);
	return c != NULL;
}

/* Return whether a known peer may have one more connection; *why: why not. */
static bool takes(struct rpc_guard *guard, struct rpc_key *key, enum rpc_class class,
		  enum rpc_refusal *why)
{
	size_t its = key->n[RPC_CLIENT] + key->n[RPC_TRUSTED];
	/* Without TLS, peers at the same address cannot be told apart. */
	uint64_t own = key->identity.kind == RPC_BY_ADDRESS
			       ? UINT64_MAX
			       : guard->limits.max_connections_per_peer;

	*why = RPC_REFUSED_RESETS;
	if (rpc_guard_resets_on(key))
		return false;
	*why = RPC_REFUSED_PEER;
	if (its >= own)
		return evict_idle(key);
	*why = RPC_REFUSED_TOTAL;
	if (class == RPC_TRUSTED)
		return guard->n[RPC_CLIENT] + guard->n[RPC_TRUSTED] < guard->limits.max_connections;
	return rpc_guard_has_room(its, own, guard->n[RPC_CLIENT], guard->clients_max, RPC_LEAST) ||
	       evict_idle(key);
}

int rpc_guard_admit_user(struct rpc_guard *guard, int fd, uid_t uid, bool trusted)
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
	key = fd < table_size ? rpc_guard_key_of(guard, &identity) : NULL;
	if (key && takes(guard, key, class, &why))
		c = add(guard, key, class, fd, true);
	if (!c) {
		rpc_guard_count(guard, why);
		if (key)
			rpc_guard_drop_key(guard, key);
	}
	pthread_mutex_unlock(&rpc_guard_lock);
	return c ? 0 : -ENOBUFS;
}

bool rpc_connection_is_over(struct rpc_connection *connection)
{
	return atomic_load(&connection->is_cut) || atomic_load(&connection->is_parked);
}

bool rpc_connection_is_anonymous(struct rpc_connection *connection)
{
	bool is;

	pthread_mutex_lock(&rpc_guard_lock);
	is = connection->class == RPC_ANONYMOUS;
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
	if (c->class != RPC_ANONYMOUS || c->is_cut || c->fd < 0 || c->guard->only_anonymous) {
		pthread_mutex_unlock(&rpc_guard_lock);
		return 0;
	}
	old = c->key;
	key = identity ? rpc_guard_key_of(c->guard, identity) : old;
	if (!key) {
		r = -ENOMEM;
	} else if (!takes(c->guard, key, class, &why)) {
		r = -ENOBUFS;
		if (why == RPC_REFUSED_RESETS)
			rpc_guard_park(c, why);
		else
			rpc_guard_cut(c, why);
		if (key != old)
			rpc_guard_drop_key(c->guard, key);
	} else {
		rpc_guard_uncount(c);
		TAILQ_REMOVE(&old->connections, c, of_key);
		TAILQ_INSERT_TAIL(&key->connections, c, of_key);
		c->key = key;
		key->refs++;
		old->refs--;
		c->class = class;
		c->guard->n[class]++;
		key->n[class]++;
		rpc_guard_drop_key(c->guard, old);
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
		rpc_guard_uncount(c);
	c->is_cut = true;
	rpc_guard_unpark(c);
	c->fd = -1;
	c->guard->open--;
	if (c->has_origin)
		tdelete(&c->origin, &c->guard->origins, compare_origins);
	c->has_origin = false;
	atomic_fetch_sub(&c->guard->receiving, atomic_exchange(&c->receiving, 0));
	TAILQ_REMOVE(&c->key->connections, c, of_key);
	pthread_mutex_unlock(&rpc_guard_lock);
	rpc_connection_unref(c);
}

/* --- finding -------------------------------------------------------------- */

/* Return the connection of a descriptor that its owner holds open; NULL: no guard counts it. */
static struct rpc_connection *at_fd(int fd)
{
	if (fd < 0 || fd >= table_size)
		return NULL;
	return atomic_load_explicit(&table[fd], memory_order_acquire);
}

/* --- servers -------------------------------------------------------------- */

void rpc_guard_for_servers(const struct stow_rpc_limits *limits)
{
	struct rpc_guard *guard = servers, *none = NULL;

	if (!guard) {
		guard = rpc_guard_new(limits, false);
		atomic_compare_exchange_strong(&servers, &none, guard);
		return;
	}
	pthread_mutex_lock(&rpc_guard_lock);
	if (limits->max_receiving > guard->limits.max_receiving)
		guard->limits = *limits;
	pthread_mutex_unlock(&rpc_guard_lock);
}

static struct rpc_identity identity_of_server(const struct rpc_origin *server)
{
	struct rpc_identity identity = { .kind = RPC_BY_SERVER, .port = server->port };

	memcpy(identity.bytes, server->address, sizeof(server->address));
	return identity;
}

/* Return the connection to a server, counted from now on; NULL: it is not on TCP. */
static struct rpc_connection *add_server(int fd)
{
	struct sockaddr_storage at = { 0 };
	socklen_t len = sizeof(at);
	struct rpc_connection *c = NULL;
	struct rpc_identity identity;
	struct rpc_origin server;
	struct rpc_key *key;

	if (!servers || fd >= table_size || getpeername(fd, (struct sockaddr *)&at, &len) < 0 ||
	    !read_address(&at, &server))
		return NULL;
	identity = identity_of_server(&server);
	pthread_mutex_lock(&rpc_guard_lock);
	key = rpc_guard_key_of(servers, &identity);
	if (key) {
		c = add(servers, key, RPC_CLIENT, fd, false);
		rpc_guard_drop_key(servers, key);
	}
	pthread_mutex_unlock(&rpc_guard_lock);
	return c;
}

void rpc_guard_server_said(const char *peer, size_t received, size_t sent, bool ended)
{
	struct rpc_connection *c, *most = NULL;
	struct rpc_identity identity;
	struct rpc_origin server;
	unsigned int looked = 0;
	struct rpc_key *key;

	if (!servers || !parse_origin(peer, &server))
		return;
	identity = identity_of_server(&server);
	pthread_mutex_lock(&rpc_guard_lock);
	key = rpc_guard_key_of(servers, &identity);
	/* Which of several connections it was is not known: the sum is right. Of very many, as a
	 * simulated fleet has them, each is looked at in its turn. */
	for (c = key ? TAILQ_FIRST(&key->connections) : NULL; c && looked < SERVER_LOOKS;
	     c = TAILQ_NEXT(c, of_key), looked++)
		if (!most || c->receiving > most->receiving)
			most = c;
	if (looked == SERVER_LOOKS) {
		TAILQ_REMOVE(&key->connections, most, of_key);
		TAILQ_INSERT_TAIL(&key->connections, most, of_key);
	}
	if (most && (received || ended))
		rpc_connection_received(most, received, ended);
	if (most && sent)
		rpc_connection_sent(most, sent);
	if (key)
		rpc_guard_drop_key(servers, key);
	pthread_mutex_unlock(&rpc_guard_lock);
}

/* --- reading -------------------------------------------------------------- */

void rpc_guard_bytes(int fd, size_t n)
{
	struct rpc_connection *c = at_fd(fd);

	if (!c)
		c = add_server(fd);
	if (c)
		rpc_guard_use(c, n);
}

enum rpc_reading rpc_guard_reading(int fd)
{
	const struct rpc_connection *c = at_fd(fd);

	if (!c)
		return RPC_READS;
	return atomic_load(&c->is_cut)	    ? RPC_ENDED
	       : atomic_load(&c->is_parked) ? RPC_PARKED
					    : RPC_READS;
}

rpc_acked *rpc_guard_acked(int fd)
{
	struct rpc_connection *c = at_fd(fd);

	return c && (atomic_load(&c->acked) & ~RPC_WROTE) < RPC_ACKED ? &c->acked : NULL;
}

struct rpc_connection *rpc_guard_by_fd(struct rpc_guard *guard, int fd)
{
	struct rpc_connection *c;

	pthread_mutex_lock(&rpc_guard_lock);
	c = at_fd(fd);
	if (c && c->guard == guard)
		take_ref(c);
	else
		c = NULL;
	pthread_mutex_unlock(&rpc_guard_lock);
	return c;
}

struct rpc_connection *rpc_guard_by_peer(struct rpc_guard *guard, const char *peer)
{
	struct rpc_connection **at, *c = NULL;
	struct rpc_origin origin;

	if (!parse_origin(peer, &origin))
		return NULL;
	pthread_mutex_lock(&rpc_guard_lock);
	at = tfind(&origin, &guard->origins, compare_origins);
	if (at)
		c = take_ref(*at);
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
	c = at_fd(fd);
	found = c && c->has_origin;
	if (found) {
		origin = c->origin;
		rpc_guard_count(c->guard, why);
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

void rpc_guard_expire(struct rpc_guard *guard, uint64_t before, int64_t seconds)
{
	pthread_mutex_lock(&rpc_guard_lock);
	for (int fd = 0; fd < table_size; fd++) {
		struct rpc_connection *c = at_fd(fd);

		if (c && c->guard == guard &&
		    (c->since < before || (c->good_until && c->good_until < seconds)))
			rpc_guard_cut(c, RPC_REFUSED_CERTIFICATE);
	}
	pthread_mutex_unlock(&rpc_guard_lock);
}
