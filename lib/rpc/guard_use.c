/* SPDX-License-Identifier: Apache-2.0 */
/* Resource use: calls, bytes of unfinished messages, bytes that peers have not read. */
#include <errno.h>

#include "base/clock.h"
#include "rpc/guard_internal.h"

#define LOOK \
	(256 << 10) /* bytes: check the sums only in steps of this size, or if a half is used */
#define CALL_COST    256  /* bytes around a call's first message: headers, frames, TLS */
#define MESSAGE_COST 64	  /* ... around any other message */
#define DRAIN_RATE   4096 /* bytes a second that belong to no message: pings, window updates */
#define PEER_TIMES   4	  /* all connections of a peer together: this times one's limit */
#define PARKED	     (10 * RPC_S)
#define REFUSED_MAX  64 /* refusals at a time on one connection */

/* --- calls ---------------------------------------------------------------- */

/* Return whether the peer, which has `its`, may have one more of `most`. The caller holds the
 * lock. */
static bool has_room(const struct rpc_connection *c, size_t its, uint64_t own,
		     const size_t taken[RPC_CLASSES], uint64_t most)
{
	if (c->class == RPC_TRUSTED)
		return its < own && taken[RPC_CLIENT] + taken[RPC_TRUSTED] < most;
	return rpc_guard_has_room(its, own, taken[RPC_CLIENT], most - most / 4, RPC_LEAST);
}

static enum rpc_class counted_as(const struct rpc_connection *c)
{
	return c->class == RPC_TRUSTED ? RPC_TRUSTED : RPC_CLIENT;
}

/* Count a call that the peer gave up, or could not have: it costs as much as any other. The caller
 * holds the lock. */
static void waste(struct rpc_connection *c)
{
	/* A peer that comes back continues with its former count; another peer may have
	 * the same address now. */
	struct rpc_resets *resets =
		c->key->identity.kind == RPC_BY_ADDRESS ? &c->resets : &c->key->resets;

	if (rpc_guard_resets(resets, stow_clock_monotonic()) >= RPC_RESETS_MAX)
		rpc_guard_park(c, RPC_REFUSED_RESETS);
	else
		resets->n++;
}

int rpc_connection_begin(struct rpc_connection *c, bool watch)
{
	struct rpc_guard *guard = c->guard;
	const struct stow_rpc_limits *limits = &guard->limits;
	int r = 0;

	pthread_mutex_lock(&rpc_guard_lock);
	if (!has_room(c, c->key->calls,
		      c->key->identity.kind == RPC_BY_ADDRESS ? UINT64_MAX
							      : limits->max_calls_per_peer,
		      guard->calls, limits->max_calls))
		r = -ENOBUFS;
	else if (watch && !has_room(c, c->key->watches, limits->max_watches_per_peer,
				    guard->watches, limits->max_watches))
		r = -EUSERS;
	if (r == 0) {
		c->calls++;
		c->key->calls++;
		guard->calls[counted_as(c)]++;
		c->key->watches += watch;
		guard->watches[counted_as(c)] += watch;
	} else {
		rpc_guard_count(guard, r == -EUSERS ? RPC_REFUSED_WATCHES : RPC_REFUSED_CALLS);
		waste(c);
	}
	pthread_mutex_unlock(&rpc_guard_lock);
	return r;
}

void rpc_connection_end(struct rpc_connection *c, bool watch)
{
	pthread_mutex_lock(&rpc_guard_lock);
	c->calls--;
	c->key->calls--;
	c->guard->calls[counted_as(c)]--;
	c->key->watches -= watch;
	c->guard->watches[counted_as(c)] -= watch;
	pthread_mutex_unlock(&rpc_guard_lock);
}

void rpc_connection_begin_refused(struct rpc_connection *c)
{
	pthread_mutex_lock(&rpc_guard_lock);
	if (++c->refused > REFUSED_MAX)
		rpc_guard_park(c, RPC_REFUSED_CALLS);
	pthread_mutex_unlock(&rpc_guard_lock);
}

void rpc_connection_end_refused(struct rpc_connection *c)
{
	pthread_mutex_lock(&rpc_guard_lock);
	c->refused--;
	pthread_mutex_unlock(&rpc_guard_lock);
}

void rpc_guard_end_parked(struct rpc_guard *guard, uint64_t now)
{
	struct rpc_connection *c;

	pthread_mutex_lock(&rpc_guard_lock);
	while ((c = TAILQ_FIRST(&guard->parked)) && now - c->parked_at >= PARKED)
		rpc_guard_end(c);
	pthread_mutex_unlock(&rpc_guard_lock);
}

void rpc_connection_reset(struct rpc_connection *c)
{
	pthread_mutex_lock(&rpc_guard_lock);
	waste(c);
	pthread_mutex_unlock(&rpc_guard_lock);
}

/* --- bytes of unfinished messages ----------------------------------------- */

/* Lower `receiving`, but not below 0: a surplus is not carried over. */
static void lower(struct rpc_connection *c, int64_t by)
{
	int64_t was = atomic_load(&c->receiving), is;

	do
		is = was > by ? was - by : 0;
	while (!atomic_compare_exchange_weak(&c->receiving, &was, is));
	atomic_fetch_sub(&c->guard->receiving, was - is);
}

/* Forget bytes over time, because pings and the like belong to no message: so many a second of a
 * peer, with however many connections. */
static void drain(struct rpc_connection *c)
{
	uint64_t now = stow_clock_monotonic(), then = atomic_load(&c->drained);
	size_t of_peer = 1;

	if (now - then < RPC_S || !atomic_compare_exchange_strong(&c->drained, &then, now))
		return;
	pthread_mutex_lock(&rpc_guard_lock);
	if (c->key->identity.kind != RPC_BY_ADDRESS)
		of_peer += c->key->n[RPC_CLIENT] + c->key->n[RPC_TRUSTED];
	pthread_mutex_unlock(&rpc_guard_lock);
	lower(c, (int64_t)((now - then) / RPC_S * DRAIN_RATE / of_peer));
}

/* Return whether the connection has received too much. The caller holds the lock. */
static bool is_too_much(const struct rpc_connection *c)
{
	const struct rpc_connection *other;
	const struct stow_rpc_limits *limits = &c->guard->limits;
	uint64_t its = 0, own = limits->max_receiving * PEER_TIMES;
	uint64_t all = (uint64_t)atomic_load(&c->guard->receiving);

	if ((uint64_t)atomic_load(&c->receiving) > limits->max_receiving)
		return true;
	if (c->key->identity.kind == RPC_BY_ADDRESS)
		own = UINT64_MAX;
	TAILQ_FOREACH(other, &c->key->connections, of_key)
		its += (uint64_t)atomic_load(&other->receiving);
	/* Trusted peers may have as much again in total. */
	return !rpc_guard_has_room(its, own, all,
				   limits->max_receiving_total * (c->class == RPC_TRUSTED ? 2 : 1),
				   LOOK);
}

void rpc_guard_use(struct rpc_connection *c, size_t n)
{
	int64_t was, all;

	drain(c);
	all = atomic_fetch_add(&c->guard->receiving, (int64_t)n);
	was = atomic_fetch_add(&c->receiving, (int64_t)n);
	if (was / LOOK == (was + (int64_t)n) / LOOK &&
	    (uint64_t)all < c->guard->limits.max_receiving_total / 2)
		return;
	pthread_mutex_lock(&rpc_guard_lock);
	if (is_too_much(c))
		rpc_guard_cut(c, RPC_REFUSED_RECEIVING);
	pthread_mutex_unlock(&rpc_guard_lock);
}

void rpc_connection_received(struct rpc_connection *c, size_t size, bool first)
{
	lower(c, (int64_t)(size + size / 128 + (first ? CALL_COST : MESSAGE_COST)));
}

/* A reader acknowledges what it has read: some bytes for each 32 KiB. */
void rpc_connection_sent(struct rpc_connection *c, size_t size)
{
	lower(c, (int64_t)(size / 256 + 128));
}

/* --- bytes that peers have not read --------------------------------------- */

int rpc_connection_queue(struct rpc_connection *c, size_t size)
{
	const struct stow_rpc_limits *limits = &c->guard->limits;
	const struct rpc_connection *other;
	uint64_t its = size, own = limits->max_queued;
	bool fits = true;

	if ((uint64_t)atomic_load(&c->queued) + size > LOOK ||
	    (uint64_t)atomic_load(&c->guard->queued) > limits->max_queued_total / 2) {
		pthread_mutex_lock(&rpc_guard_lock);
		if (c->key->identity.kind == RPC_BY_ADDRESS)
			own = UINT64_MAX;
		TAILQ_FOREACH(other, &c->key->connections, of_key)
			its += (uint64_t)atomic_load(&other->queued);
		fits = rpc_guard_has_room(
			its, own, (uint64_t)atomic_load(&c->guard->queued),
			limits->max_queued_total * (c->class == RPC_TRUSTED ? 2 : 1), LOOK);
		pthread_mutex_unlock(&rpc_guard_lock);
	}
	if (!fits) {
		rpc_guard_count(c->guard, RPC_REFUSED_QUEUED);
		return -ENOBUFS;
	}
	atomic_fetch_add(&c->queued, (int64_t)size);
	atomic_fetch_add(&c->guard->queued, (int64_t)size);
	return 0;
}

void rpc_connection_unqueue(struct rpc_connection *c, size_t size)
{
	atomic_fetch_sub(&c->queued, (int64_t)size);
	atomic_fetch_sub(&c->guard->queued, (int64_t)size);
}

void rpc_guard_totals(struct rpc_guard *guard, uint64_t *ret_connections, uint64_t *ret_refused)
{
	*ret_refused = 0;
	for (int i = 0; i < RPC_REFUSALS; i++)
		*ret_refused += atomic_load(&guard->refused[i]);
	pthread_mutex_lock(&rpc_guard_lock);
	*ret_connections = guard->open;
	pthread_mutex_unlock(&rpc_guard_lock);
}
